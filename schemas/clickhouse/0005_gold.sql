-- Gold of the stream: published windows, entity totals, alerts.

-- One row per window and version; read with FINAL or through gold.windows_latest. Costs stay 3 years, others 2.
CREATE TABLE IF NOT EXISTS gold.windows
(
    metric           LowCardinality(String),
    window           LowCardinality(String) COMMENT '1m, 5m, 1h, 1d',
    window_start     DateTime('UTC'),
    dimension        LowCardinality(String) COMMENT 'empty: the total',
    dimension_value  String,
    value            Nullable(Float64) COMMENT 'in the unit of the metric (money in USD); NULL where the catalogue says so',
    count            UInt64,
    sum_e4           Int64 COMMENT 'the sum underneath in 1/10000 of the unit, exact',
    status           LowCardinality(String) COMMENT 'open, final, corrected',
    late             UInt64 COMMENT 'events taken in after the end of the window',
    version          UInt64 COMMENT 'grows with what is known; the highest wins',
    updated_at       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(greatest(window_start, toDateTime('2020-01-01 00:00:00', 'UTC')))
ORDER BY (metric, window, dimension, dimension_value, window_start)
TTL window_start + toIntervalDay(if(metric LIKE '%cost%', 1095, 730))
SETTINGS non_replicated_deduplication_window = 10000;

-- The partition is a function of the key here, so FINAL need not merge across partitions.
CREATE VIEW IF NOT EXISTS gold.windows_latest AS
SELECT metric, window, window_start, dimension, dimension_value, value, count, sum_e4, status, late, version, updated_at
FROM gold.windows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Running totals by entity, for instance cost_per_video_usd by video_id.
CREATE TABLE IF NOT EXISTS gold.entities
(
    metric           LowCardinality(String),
    entity           String,
    value            Nullable(Float64),
    count            UInt64,
    sum_e4           Int64,
    version          UInt64,
    updated_at       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (metric, entity)
SETTINGS non_replicated_deduplication_window = 10000;

-- Every change of state of every alert instance (schemas/alerts.AlertTransition), and the notifier's delivery records.
CREATE TABLE IF NOT EXISTS gold.alerts
(
    transition_id    String COMMENT 'deterministic: a repeat has the same',
    fingerprint      String COMMENT 'hash of rule and labels',
    seq              UInt64,
    kind             LowCardinality(String) COMMENT 'transition, or delivery',
    rule             LowCardinality(String),
    severity         LowCardinality(String),
    state            LowCardinality(String) COMMENT 'inactive, pending, firing, resolved',
    labels           Map(String, String),
    metric           LowCardinality(String),
    window           LowCardinality(String),
    window_start     DateTime64(3, 'UTC'),
    window_end       DateTime64(3, 'UTC'),
    value            Nullable(Float64),
    threshold        Float64,
    operator         LowCardinality(String),
    unit             LowCardinality(String),
    summary          String,
    event_time       DateTime64(3, 'UTC') COMMENT 'when, by the data',
    recorded_at      DateTime64(3, 'UTC') COMMENT 'when, by the wall clock',
    version          UInt64,
    started_at       DateTime64(3, 'UTC'),
    inhibited_by     String,
    delivered_at     DateTime64(3, 'UTC'),
    delivery         String COMMENT 'slack, log, inhibited, or failed: reason'
)
ENGINE = ReplacingMergeTree(recorded_at)
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (fingerprint, seq, transition_id, kind)
TTL toDateTime(recorded_at) + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000;
