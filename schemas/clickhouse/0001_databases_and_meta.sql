-- The four databases, and the tables of our own books: window cells, dead letters, jobs, quality, data sets.
--
-- Every MergeTree of streamproc names non_replicated_deduplication_window: its default is 0, which deduplicates
-- nothing, and a view's target needs its own (a retried insert would double the rows behind the view).

CREATE DATABASE IF NOT EXISTS meta;
CREATE DATABASE IF NOT EXISTS bronze;
CREATE DATABASE IF NOT EXISTS silver;
CREATE DATABASE IF NOT EXISTS gold;

-- Cells: one absolute value of one window as seen from one source; the higher version wins (schemas/results.Cell).
-- They are kept as long as silver can bring in late events (180 days, costs 3 years) and a margin; entity totals
-- (size 'all') for ever. A small granule makes a point lookup by key read 512 rows instead of 8192.
-- fsync: measured, an insert of 10 to 1000 cells takes 10 to 40 ms with it and 7 to 11 ms without; at a few inserts a
-- second in a task of their own that is nothing, and the cells survive a power cut even where the broker is memory only.
CREATE TABLE IF NOT EXISTS meta.window_sources
(
    measure          LowCardinality(String),
    dimension        LowCardinality(String),
    dimension_value  String,
    size             LowCardinality(String) COMMENT '1m, 5m, 1h, 1d, or all (entity totals)',
    start_ms         Int64 COMMENT 'epoch ms of the start of the window; for all: of the log day that the part covers',
    start            DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(start_ms, 'UTC'),
    source           String COMMENT 'topic/partition/log_id, or reconcile/DAY',
    version          UInt64 COMMENT 'last source offset that the cell includes',
    data             String CODEC(ZSTD(1)) COMMENT 'the accumulator as bytes',
    written_at       DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(greatest(start_ms, 1577836800000), 'UTC'))
ORDER BY (measure, dimension, dimension_value, size, start_ms, source)
TTL written_at + INTERVAL 195 DAY DELETE WHERE size != 'all' AND measure NOT LIKE '%cost%',
    written_at + INTERVAL 1110 DAY DELETE WHERE size != 'all' AND measure LIKE '%cost%'
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 512,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per dead letter, keyed by its source offset: a repeated write changes nothing.
CREATE TABLE IF NOT EXISTS meta.dead_letters
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64,
    error            String COMMENT 'for a person: what is wrong and where',
    reason           LowCardinality(String) COMMENT 'malformed, unknown_version, future_event, too_large',
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(3)) COMMENT 'the original bytes, which need not be UTF-8',
    kafka_timestamp  DateTime64(3, 'UTC'),
    recorded_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(recorded_at)
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(recorded_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- What was replayed, by source offset: a second replay of the same letter finds it here and does nothing.
CREATE TABLE IF NOT EXISTS meta.dead_letter_replays
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64,
    target_topic     LowCardinality(String),
    target_partition UInt32,
    target_offset    UInt64,
    replayed_at      DateTime64(3, 'UTC'),
    replayed_by      String
)
ENGINE = ReplacingMergeTree(replayed_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(replayed_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS meta.job_runs
(
    job              LowCardinality(String),
    logical_date     Date COMMENT 'the day that the run is for',
    run_id           UUID,
    attempt          UInt16,
    status           LowCardinality(String) COMMENT 'running, done, failed, skipped',
    started_at       DateTime64(3, 'UTC'),
    finished_at      Nullable(DateTime64(3, 'UTC')),
    rows             UInt64,
    error            String,
    details          String COMMENT 'JSON: figures of the job itself',
    version          UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(logical_date)
ORDER BY (job, logical_date, run_id)
TTL logical_date + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS meta.quality_results
(
    check_name       LowCardinality(String),
    dataset          LowCardinality(String),
    checked_at       DateTime64(3, 'UTC'),
    run_id           UUID,
    status           LowCardinality(String) COMMENT 'passed, warned, failed, error',
    severity         LowCardinality(String),
    observed         Nullable(Float64),
    expected         String,
    failing_rows     UInt64,
    details          String
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(checked_at)
ORDER BY (dataset, check_name, checked_at, run_id)
TTL toDateTime(checked_at) + INTERVAL 1 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

-- The metadata store: what lies where, which version, which partitions.
CREATE TABLE IF NOT EXISTS meta.datasets
(
    dataset          String COMMENT 'database.table, or the path of an archive',
    layer            LowCardinality(String) COMMENT 'bronze, silver, gold, meta, archive',
    purpose          String,
    owner            LowCardinality(String),
    schema_version   String,
    location         String,
    partitions       UInt64,
    rows             UInt64,
    bytes            UInt64,
    newest           Nullable(DateTime64(3, 'UTC')),
    retention_days   UInt32,
    updated_at       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY dataset
SETTINGS non_replicated_deduplication_window = 10000;
