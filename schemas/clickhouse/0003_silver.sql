-- Silver: typed events, one row per event_id, the first offset wins.
--
-- Partitions are days of occurred_at, and months for what comes more than 35 days late: 400 old days in one insert took
-- 7 s as 400 parts. Read with FINAL, and never with do_not_merge_across_partitions_select_final: the partition is no
-- function of the key. TTL follows ingested_at, so that an old event which comes late is kept as long as any other.

CREATE TABLE IF NOT EXISTS silver.user_activity
(
    event_id         UUID,
    schema_version   LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    user_id          Int64,
    activity_type    LowCardinality(String),
    resource_type    LowCardinality(Nullable(String)),
    resource_id      Nullable(Int64),
    session_id       Nullable(UUID),
    ip_address       Nullable(String) CODEC(ZSTD(1)),
    user_agent       Nullable(String) CODEC(ZSTD(1)),
    response_time_ms Nullable(Int64),
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins       UInt64 MATERIALIZED 18446744073709551615 - offset COMMENT 'the version: the first offset is the highest',
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first_wins)
PARTITION BY if(occurred_at < ingested_at - INTERVAL 35 DAY,
                toYYYYMM(greatest(occurred_at, toDateTime64('2020-01-01 00:00:00', 3, 'UTC'))), toYYYYMMDD(occurred_at))
ORDER BY event_id
TTL toDateTime(ingested_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.video_status
(
    event_id         UUID,
    schema_version   LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    video_id         Int64,
    channel_id       Int64,
    user_id          Int64,
    status           LowCardinality(String),
    requested_at     DateTime64(3, 'UTC'),
    started_at       Nullable(DateTime64(3, 'UTC')),
    completed_at     Nullable(DateTime64(3, 'UTC')),
    published_at     Nullable(DateTime64(3, 'UTC')),
    youtube_video_id Nullable(String),
    video_type       LowCardinality(Nullable(String)),
    niche            LowCardinality(Nullable(String)),
    title            Nullable(String) CODEC(ZSTD(1)),
    duration_seconds Nullable(Int64),
    quality_score    Nullable(Float64),
    error            Nullable(String) CODEC(ZSTD(1)),
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins       UInt64 MATERIALIZED 18446744073709551615 - offset COMMENT 'the version: the first offset is the highest',
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first_wins)
PARTITION BY if(occurred_at < ingested_at - INTERVAL 35 DAY,
                toYYYYMM(greatest(occurred_at, toDateTime64('2020-01-01 00:00:00', 3, 'UTC'))), toYYYYMMDD(occurred_at))
ORDER BY event_id
TTL toDateTime(ingested_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.cost_events
(
    event_id         UUID,
    schema_version   LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    video_id         Nullable(Int64),
    channel_id       Nullable(Int64),
    user_id          Nullable(Int64),
    component        LowCardinality(String),
    amount_e4        Int64 COMMENT '1/10000 USD, rounded half to even; negative: a correction',
    corrects         Nullable(UUID),
    provider         LowCardinality(Nullable(String)),
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins       UInt64 MATERIALIZED 18446744073709551615 - offset COMMENT 'the version: the first offset is the highest',
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first_wins)
PARTITION BY toYYYYMM(greatest(occurred_at, toDateTime64('2020-01-01 00:00:00', 3, 'UTC')))
ORDER BY event_id
TTL toDateTime(ingested_at) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Rows without an error in bronze that cannot be cast: our decoder and these casts disagree, which a person must see.
CREATE TABLE IF NOT EXISTS silver.rejected
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64,
    kafka_timestamp  DateTime64(3, 'UTC'),
    ingested_at      DateTime64(3, 'UTC'),
    reason           String,
    payload          String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
