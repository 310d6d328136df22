-- A claim is one behaviour of one person: the first valid report of it takes it, all later ones are
-- `already_claimed` and leave nothing but their own row. A day is the Asia/Shanghai day of the behaviour; as a trip
-- may cross midnight, a claim holds for the days beside its own, too. Losers are few: they are the side of a
-- join that is held in memory.

-- One row per claim: who has it, and who came too late for it.
CREATE OR REPLACE VIEW claims AS
WITH lost AS (
    SELECT
        l.shard AS shard, l.uid AS uid, l.app AS app, l.time AS time,
        -- A report may meet a claim of the day before and one of the day after: the older one decided.
        min((w.seq, w.row)) AS winner
    FROM entries AS w
    INNER JOIN (
        SELECT shard, seq, row, app, time, uid, methodology, source_txn, occurred_at
        FROM entries
        WHERE verdict = 'already_claimed'
    ) AS l
        ON l.shard = w.shard AND l.uid = w.uid AND l.methodology = w.methodology AND l.source_txn = w.source_txn
    WHERE w.claim_member != 0
        AND abs(toDate(w.occurred_at) - toDate(l.occurred_at)) <= 1
        -- A methodology without a transaction takes the time for its claim key.
        AND (w.source_txn != '' OR w.occurred_at = l.occurred_at)
    GROUP BY l.shard, l.seq, l.row, l.uid, l.app, l.time
)
SELECT
    w.uid AS uid,
    w.methodology AS methodology,
    w.source_txn AS source_txn,
    toDate(w.occurred_at) AS behaviour_day,
    w.app AS app,
    w.report_id AS report_id,
    w.verdict AS verdict,
    w.shard AS shard,
    w.seq AS seq,
    w.row AS row,
    w.time AS time,
    w.reduction_mg AS reduction_mg,
    w.points_milli AS points_milli,
    l.lost_reports AS lost_reports,
    l.lost_apps AS lost_apps,
    l.first_lost_at AS first_lost_at
FROM entries AS w
LEFT JOIN (
    SELECT
        shard, uid, winner,
        count() AS lost_reports,
        arraySort(groupUniqArray(app)) AS lost_apps,
        min(time) AS first_lost_at
    FROM lost
    GROUP BY shard, uid, winner
) AS l ON l.shard = w.shard AND l.uid = w.uid AND l.winner.1 = w.seq AND l.winner.2 = w.row
WHERE w.claim_member != 0;

-- One row per record whose id (app, report_id) had been answered before for another person or content. `differs`
-- names the columns. A shard refuses such a record as `duplicate`, and keeps of it only whom it named; the same id
-- of a person in another shard it cannot know. What was refused before its id is remembered (malformed, too late,
-- ...) is no content of that id.
CREATE OR REPLACE VIEW conflicting_ids AS
WITH answered AS (
    SELECT
        app, report_id, shard, seq, row, time, verdict, uid,
        ['uid', 'methodology', 'occurred_at', 'unit', 'activity', 'source_txn', 'region', 'inputs'] AS names,
        [uid, methodology, toString(occurred_at), unit, toString(activity), source_txn, region, inputs] AS content
    FROM entries
    WHERE (id_member != 0 OR verdict = 'duplicate')
        -- By hash, as it holds 8 bytes an id instead of 40; ids that only share a hash are told apart below.
        AND sipHash64(app, report_id) IN (
            SELECT sipHash64(app, report_id) AS id
            FROM entries
            WHERE id_member != 0 OR verdict = 'duplicate'
            GROUP BY id
            HAVING count() > 1
        )
)
SELECT
    app,
    report_id,
    arrayFilter(
        (name, said, said_first) -> said != said_first AND (name = 'uid' OR verdict != 'duplicate'),
        names, content, first_content
    ) AS differs,
    shard, seq, row, time, verdict, uid,
    first_place.1 AS first_shard,
    first_place.2 AS first_seq,
    first_place.3 AS first_row,
    first_place.4 AS first_time,
    first_place.5 AS first_verdict,
    first_place.6 AS first_uid
FROM (
    SELECT
        *,
        first_value(content) OVER by_id AS first_content,
        first_value((shard, seq, row, time, verdict, uid)) OVER by_id AS first_place
    FROM answered
    WINDOW by_id AS (PARTITION BY app, report_id ORDER BY time, shard, seq, row)
)
WHERE notEmpty(differs);

-- One row per pair of persons who were both recorded for the same transaction: candidates for a correction.
-- Claims bind within a person; a transaction number that a reader gives twice in a second is an innocent case.
CREATE OR REPLACE VIEW claimed_by_two_persons AS
WITH shared AS (
    SELECT
        methodology, source_txn, toDate(occurred_at) AS behaviour_day,
        uid, app, report_id, verdict, shard, seq, row, time, reduction_mg, points_milli
    FROM entries
    WHERE claim_member != 0
        AND source_txn != ''
        AND sipHash64(methodology, source_txn) IN (
            SELECT sipHash64(methodology, source_txn) AS txn
            FROM entries
            WHERE claim_member != 0 AND source_txn != ''
            GROUP BY txn
            HAVING min(sipHash64(uid)) != max(sipHash64(uid))
        )
)
SELECT
    a.methodology AS methodology,
    a.source_txn AS source_txn,
    a.uid AS first_uid,
    a.app AS first_app,
    a.report_id AS first_report_id,
    a.behaviour_day AS first_day,
    a.verdict AS first_verdict,
    a.shard AS first_shard,
    a.seq AS first_seq,
    a.row AS first_row,
    a.time AS first_time,
    a.points_milli AS first_points_milli,
    b.uid AS second_uid,
    b.app AS second_app,
    b.report_id AS second_report_id,
    b.behaviour_day AS second_day,
    b.verdict AS second_verdict,
    b.shard AS second_shard,
    b.seq AS second_seq,
    b.row AS second_row,
    b.time AS second_time,
    b.points_milli AS second_points_milli
FROM shared AS a
INNER JOIN shared AS b ON b.methodology = a.methodology AND b.source_txn = a.source_txn
WHERE a.uid != b.uid
    AND abs(a.behaviour_day - b.behaviour_day) <= 1
    AND (a.time, a.shard, a.seq, a.row) < (b.time, b.shard, b.seq, b.row);
