-- Changes of the application's database (Debezium): the envelopes as they came, and one typed row a change.
--
-- No view leads from bronze.cdc to silver: what a column means is said by each record's own schema part (base64 decimals
-- with their scale, three units of time), so the archive decodes the change and inserts the row itself, right after the
-- insert into bronze and repeated with it. Nothing is cast here, so nothing can be rejected here: what the decoder does
-- not take is a dead letter, with its reason in bronze.cdc.error.

CREATE TABLE IF NOT EXISTS bronze.cdc
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8; empty: a tombstone',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Silver: (id, position) is the change's identity, so that one delivered again is the same row. Read with FINAL, in the order
-- of position, never of arrival. Every column of a row but its id may be null; of a deleted one they are what the
-- database logged of it, which can be nothing.
--
-- A snapshot's position is where the log stood when it began: a change that begins right there is newer than what the
-- snapshot read, so of two rows with one position the one that is no snapshot's wins, then the first offset.
--
-- No partitions: a key may not lie in two of them, and nothing else about a change is known for sure to be the same when
-- it comes again. The history of users and channels is kept until somebody is erased.

CREATE TABLE IF NOT EXISTS silver.cdc_users
(
    id                 Int64,
    email              Nullable(String) CODEC(ZSTD(1)),
    username           Nullable(String) CODEC(ZSTD(1)),
    subscription_tier  LowCardinality(Nullable(String)),
    channels_limit     Nullable(Int64),
    daily_video_limit  Nullable(Int64),
    monthly_budget_e4  Nullable(Int64) COMMENT '1/10000 USD, rounded half to even',
    created_at         Nullable(DateTime64(3, 'UTC')),
    last_active_at     Nullable(DateTime64(3, 'UTC')),
    op                 LowCardinality(String) COMMENT 'c created, u updated, d deleted, r read by a snapshot',
    deleted            Bool,
    position           UInt64 COMMENT 'source.lsn: the order of changes',
    source_ts          DateTime64(3, 'UTC') COMMENT 'when the source committed it; of a snapshot, when it was read',
    snapshot           Bool,
    topic              LowCardinality(String),
    partition          UInt32,
    log_id             LowCardinality(String),
    offset             UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at        DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins         UInt64 MATERIALIZED if(snapshot, 0, 9223372036854775808) + (9223372036854775807 - offset)
                       COMMENT 'the version: a change before a snapshot of it, then the first offset'
)
ENGINE = ReplacingMergeTree(first_wins)
ORDER BY (id, position)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS silver.cdc_channels
(
    id                 Int64,
    user_id            Nullable(Int64),
    channel_name       Nullable(String) CODEC(ZSTD(1)),
    niche              LowCardinality(Nullable(String)),
    youtube_channel_id Nullable(String) CODEC(ZSTD(1)),
    is_active          Nullable(Bool),
    auto_publish       Nullable(Bool),
    created_at         Nullable(DateTime64(3, 'UTC')),
    updated_at         Nullable(DateTime64(3, 'UTC')),
    op                 LowCardinality(String) COMMENT 'c created, u updated, d deleted, r read by a snapshot',
    deleted            Bool,
    position           UInt64 COMMENT 'source.lsn: the order of changes',
    source_ts          DateTime64(3, 'UTC') COMMENT 'when the source committed it; of a snapshot, when it was read',
    snapshot           Bool,
    topic              LowCardinality(String),
    partition          UInt32,
    log_id             LowCardinality(String),
    offset             UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at        DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins         UInt64 MATERIALIZED if(snapshot, 0, 9223372036854775808) + (9223372036854775807 - offset)
                       COMMENT 'the version: a change before a snapshot of it, then the first offset'
)
ENGINE = ReplacingMergeTree(first_wins)
ORDER BY (id, position)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS silver.cdc_subscriptions
(
    id                 Int64,
    user_id            Nullable(Int64),
    plan               LowCardinality(Nullable(String)),
    status             LowCardinality(Nullable(String)),
    mrr_e4             Nullable(Int64) COMMENT '1/10000 USD, rounded half to even',
    started_at         Nullable(DateTime64(3, 'UTC')),
    cancelled_at       Nullable(DateTime64(3, 'UTC')),
    op                 LowCardinality(String) COMMENT 'c created, u updated, d deleted, r read by a snapshot',
    deleted            Bool,
    position           UInt64 COMMENT 'source.lsn: the order of changes',
    source_ts          DateTime64(3, 'UTC') COMMENT 'when the source committed it; of a snapshot, when it was read',
    snapshot           Bool,
    topic              LowCardinality(String),
    partition          UInt32,
    log_id             LowCardinality(String),
    offset             UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at        DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins         UInt64 MATERIALIZED if(snapshot, 0, 9223372036854775808) + (9223372036854775807 - offset)
                       COMMENT 'the version: a change before a snapshot of it, then the first offset'
)
ENGINE = ReplacingMergeTree(first_wins)
ORDER BY (id, position)
TTL toDateTime(ingested_at) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000;
