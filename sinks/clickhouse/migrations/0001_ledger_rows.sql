-- One row per ledger row. (shard, seq, row) is its place in the ledger for ever, so a row that was written twice
-- is the same row twice: the engine folds them at a merge, and the views before it (FINAL).
-- A text that the ledger leaves empty is ''; a time or day that it leaves out is 1970-01-01.
CREATE TABLE IF NOT EXISTS ledger_rows
(
    shard               UInt16                          COMMENT 'partition of every topic',
    seq                 UInt64                          COMMENT 'number of the block in the chain of its shard',
    row                 UInt32                          COMMENT 'number of the row in its block',
    block_hash          LowCardinality(FixedString(32)) COMMENT 'SHA-256 of the block, which covers all before it',
    block_rows          UInt32                          COMMENT 'rows of the block',
    block_time          DateTime64(3, 'UTC')            COMMENT 'time of the shard at the end of the block',
    ledger_offset       Int64                           COMMENT 'of the block in the topic `ledger`',
    release             LowCardinality(String)          COMMENT 'of the software that decided',
    rules               LowCardinality(String)          COMMENT 'version:sha256 of the rules that decided',
    app                 LowCardinality(String)          COMMENT 'who reported; empty for the platform itself',
    topic               LowCardinality(String)          COMMENT 'where the record came from',
    source              Int16                           COMMENT 'index of the topic in the block, -1 for none',
    topic_id            LowCardinality(String)          COMMENT 'Kafka''s id of that topic, as a topic may be made again',
    offset              Int64                           COMMENT 'of the record in its topic and partition',
    last_offset         Int64                           COMMENT 'of the last record that a row about a range speaks of',
    kind                LowCardinality(String)          COMMENT 'report, a command, or what the platform did itself',
    verdict             LowCardinality(String)          COMMENT 'what became of the record',
    broker_time         DateTime64(3, 'UTC')            COMMENT 'when the broker took the record',
    time                DateTime64(3, 'UTC')            COMMENT 'time of the shard at this row',
    uid                 String                          COMMENT 'pseudonymous id of the person',
    report_id           String                          COMMENT 'the id that the app gave',
    methodology         LowCardinality(String)          COMMENT '方法学',
    methodology_version Int16,
    exchange_version    Int16                           COMMENT 'of the exchange rule 碳积分兑换规则',
    occurred_at         DateTime64(3, 'Asia/Shanghai')  COMMENT 'when the behaviour happened',
    unit                LowCardinality(String)          COMMENT 'of the activity',
    activity            Int64,
    reduction_mg        Int64                           COMMENT 'mg CO2e',
    points_milli        Int64                           COMMENT 'change of the balance in 1/1000 point',
    expires_on          Date32                          COMMENT 'last valid day (Asia/Shanghai) of these points',
    lots                Array(Tuple(expires_on Date32, points_milli Int64)) COMMENT 'of a row that touches several lots',
    balance_milli       Int64                           COMMENT 'of the person after this row',
    tells_balance       UInt8                           COMMENT 'whether the app was told the balance',
    certifiable         UInt8                           COMMENT '0 if the report declares another mechanism',
    id_member           Int64                           COMMENT 'keyed hash of (app, report_id); 0 if not remembered',
    claim_member        Int64                           COMMENT 'keyed hash of the behaviour; 0 if no claim',
    source_txn          String                          COMMENT 'transaction of the operator, such as a gate',
    region              LowCardinality(String)          COMMENT 'administrative division code',
    inputs              String                          COMMENT 'rarer inputs as JSON',
    detail              String                          COMMENT 'field and rule of a refusal',
    bytes_size          Int32                           COMMENT 'of a record whose bytes are not kept',
    bytes_hash          String                          COMMENT 'keyed hash of these bytes, in hexadecimal',
    by                  LowCardinality(String)          COMMENT 'who gave a command',
    approved_by         LowCardinality(String)          COMMENT 'who approved it',
    reason              String                          COMMENT 'why',
    -- A person's rows are spread over all runs of the shard: 1 granule of 100 is read needlessly.
    INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_occurred_at occurred_at TYPE minmax GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (shard, seq, row)
-- The window counts inserts of all shards: 10,000 are 500 million rows in full runs.
-- A run (12 MiB) is written as one file, to be synced once, not as two files for each of 49 columns.
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_bytes_for_wide_part = 67108864;
