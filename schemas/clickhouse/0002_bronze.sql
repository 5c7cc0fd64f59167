-- Bronze: every record as it came, valid or not, keyed by where it lay in Kafka, so that a repeated write changes nothing.
--
-- Partitions and TTL follow ingested_at, not kafka_timestamp: a producer can put any time into the latter, and one
-- insert would then touch any number of partitions (ClickHouse refuses more than 100), or lose rows to the TTL at once.

CREATE TABLE IF NOT EXISTS bronze.user_events
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS bronze.video_status
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS bronze.cost_events
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
