-- One row per range of offsets that a broker deleted before they were read: what is lost has a row that says so. Keyed by
-- the range and by who missed it, so that a repeated write changes nothing.
CREATE TABLE IF NOT EXISTS meta.lost_offsets
(
    topic      LowCardinality(String),
    partition  UInt32,
    log_id     LowCardinality(String),
    first      UInt64 COMMENT 'the first offset of the range',
    last       UInt64 COMMENT 'the last one; markers of transactions among them were no events',
    found_at   DateTime64(3, 'UTC') COMMENT 'when a worker came to read them',
    reason     LowCardinality(String) COMMENT 'deleted_before_counted (windows), deleted_before_archived (bronze, silver)'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, log_id, first, last, reason, found_at)
TTL toDateTime(found_at) + INTERVAL 1110 DAY
SETTINGS non_replicated_deduplication_window = 10000;
