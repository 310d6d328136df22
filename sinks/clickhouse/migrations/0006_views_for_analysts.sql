-- All times of a row are in one zone, the platform's: a day of any of them is a Shanghai day. (The indexes and the
-- partition are used all the same: toTimeZone changes no instant.)
CREATE OR REPLACE VIEW entries AS
SELECT
    * REPLACE (
        lower(hex(block_hash)) AS block_hash,
        toTimeZone(block_time, 'Asia/Shanghai') AS block_time,
        toTimeZone(broker_time, 'Asia/Shanghai') AS broker_time,
        toTimeZone(time, 'Asia/Shanghai') AS time
    ),
    shard AS partition
FROM ledger_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, use_skip_indexes_if_final = 1;

-- A day is the Asia/Shanghai day on which the platform decided. `people` are persons for whom something was
-- recorded: a refused record may name anybody.
CREATE OR REPLACE VIEW app_per_day AS
SELECT
    toDate(time) AS day,
    app,
    count() AS records,
    countIf(e.points_milli > 0) AS credited,
    uniqExactIf(uid, verdict IN ('credited', 'credited_in_part', 'cap_reached', 'recorded_only')) AS people,
    sum(e.reduction_mg) AS reduction_mg,
    sum(e.points_milli) AS points_milli
FROM entries AS e
WHERE app != ''
GROUP BY day, app;

CREATE OR REPLACE VIEW app_per_hour AS
SELECT
    toStartOfHour(time) AS hour,
    app,
    count() AS records,
    countIf(e.points_milli > 0) AS credited,
    uniqExactIf(uid, verdict IN ('credited', 'credited_in_part', 'cap_reached', 'recorded_only')) AS people,
    sum(e.reduction_mg) AS reduction_mg,
    sum(e.points_milli) AS points_milli
FROM entries AS e
WHERE app != ''
GROUP BY hour, app;

-- By the day of the behaviour, which decides the version; what was recorded, each behaviour once.
CREATE OR REPLACE VIEW methodology_per_day AS
SELECT
    toDate(occurred_at) AS behaviour_day,
    methodology,
    methodology_version,
    app,
    count() AS behaviours,
    uniqExact(uid) AS people,
    sum(e.reduction_mg) AS reduction_mg,
    sum(e.points_milli) AS points_milli
FROM entries AS e
WHERE verdict IN ('credited', 'credited_in_part', 'cap_reached', 'recorded_only')
GROUP BY behaviour_day, methodology, methodology_version, app;

CREATE OR REPLACE VIEW verdicts_per_day AS
SELECT toDate(time) AS day, app, verdict, count() AS records
FROM entries
GROUP BY day, app, verdict;
