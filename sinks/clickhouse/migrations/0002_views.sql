-- All views read `entries`, which is right whether or not duplicate rows were merged. A row and its duplicate
-- are always in the same partition, so FINAL need not compare months with each other.
CREATE OR REPLACE VIEW entries AS
SELECT * REPLACE (lower(hex(block_hash)) AS block_hash), shard AS partition
FROM ledger_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Every lot ever issued: a person's points with one last valid day; 0 when used up or expired.
CREATE OR REPLACE VIEW lots AS
SELECT shard, uid, expires_on, sum(e.points_milli) AS points_milli
FROM entries AS e
WHERE e.points_milli != 0
GROUP BY shard, uid, expires_on;

CREATE OR REPLACE VIEW balances AS
SELECT
    uid,
    shard,
    sum(points_milli) AS balance_milli,
    toDecimal64(balance_milli, 3) / 1000 AS points,
    minOrNullIf(expires_on, points_milli != 0) AS next_expiry,
    countIf(points_milli != 0) AS lots
FROM lots
GROUP BY uid, shard;

CREATE OR REPLACE VIEW points_by_expiry_month AS
SELECT
    toStartOfMonth(expires_on) AS expiry_month,
    uniqExact(uid) AS people,
    sum(l.points_milli) AS points_milli
FROM lots AS l
WHERE l.points_milli != 0
GROUP BY expiry_month;

-- A day is the Asia/Shanghai day on which the platform decided.
CREATE OR REPLACE VIEW app_per_day AS
SELECT
    toDate(time, 'Asia/Shanghai') AS day,
    app,
    count() AS records,
    countIf(e.points_milli > 0) AS credited,
    uniqExactIf(uid, uid != '') AS people,
    sum(e.reduction_mg) AS reduction_mg,
    sum(e.points_milli) AS points_milli
FROM entries AS e
WHERE app != ''
GROUP BY day, app;

CREATE OR REPLACE VIEW verdicts_per_day AS
SELECT toDate(time, 'Asia/Shanghai') AS day, app, verdict, count() AS records
FROM entries
GROUP BY day, app, verdict;
