-- One row per refused record, or batch of them, that was neither replayed nor dismissed since. A test compares
-- the verdicts with the code's. (topic_id, partition, offset) is the record's place for ever; a replay and a
-- dismissal name it in `inputs`.
CREATE OR REPLACE VIEW dead_letters_open AS
SELECT
    e.app AS app, e.topic AS topic, e.topic_id AS topic_id, e.shard AS partition, e.offset AS offset,
    e.last_offset AS last_offset, e.verdict AS verdict, e.detail AS detail, e.report_id AS report_id,
    e.broker_time AS broker_time, e.bytes_size AS bytes_size, e.bytes_hash AS bytes_hash
FROM entries AS e
LEFT JOIN (
    SELECT
        JSONExtractString(inputs, 'topic_id') AS topic_id,
        JSONExtractUInt(inputs, 'partition') AS partition,
        groupArray(if(
            kind = 'replay',
            (JSONExtractInt(inputs, 'offset'), JSONExtractInt(inputs, 'offset')),
            (JSONExtractInt(inputs, 'first'), JSONExtractInt(inputs, 'last'))
        )) AS ranges
    FROM entries
    WHERE kind = 'replay' OR (kind = 'dismiss' AND verdict = 'command_applied')
    GROUP BY topic_id, partition
) AS settled ON settled.topic_id = e.topic_id AND settled.partition = e.shard
WHERE e.verdict IN (
        'too_large', 'malformed', 'unsupported_version', 'personal_data', 'forbidden_operation', 'misrouted',
        'unreadable_batch', 'internal_error'
    )
    AND startsWith(e.topic, 'intake.')
    AND NOT arrayExists(range -> range.1 <= e.offset AND e.last_offset <= range.2, settled.ranges);
