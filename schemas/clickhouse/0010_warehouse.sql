-- What the batch side needs beside silver: up to when each gold model is built, and YouTube's numbers (loaded by the sidecar).

CREATE TABLE IF NOT EXISTS meta.build_marks
(
    model            LowCardinality(String) COMMENT 'database.table of a model of batch/dbt',
    built_at         DateTime64(6, 'UTC') COMMENT 'begin of a build that ended: all that was ingested before is in the model',
    marked_at        DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(marked_at)
ORDER BY (model, built_at)
TTL toDateTime(built_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;

-- One row a video, or channel, and fetch: earlier values are kept, the newest fetch counts.
CREATE TABLE IF NOT EXISTS silver.youtube_videos
(
    youtube_video_id   String,
    youtube_channel_id String,
    title              Nullable(String) CODEC(ZSTD(1)),
    published_at       Nullable(DateTime64(3, 'UTC')),
    duration_seconds   Nullable(UInt32),
    privacy_status     LowCardinality(Nullable(String)) COMMENT 'public, unlisted, private; gone: YouTube knows it no more',
    view_count         UInt64,
    like_count         UInt64,
    comment_count      UInt64,
    fetched_at         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fetched_at)
ORDER BY (youtube_video_id, fetched_at)
TTL toDateTime(fetched_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.youtube_channels
(
    youtube_channel_id String,
    title              Nullable(String),
    view_count         UInt64,
    subscriber_count   UInt64,
    video_count        UInt64,
    fetched_at         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fetched_at)
ORDER BY (youtube_channel_id, fetched_at)
TTL toDateTime(fetched_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.youtube_analytics_daily
(
    day                     Date COMMENT 'a day of Pacific time, as YouTube counts',
    youtube_channel_id      String,
    youtube_video_id        String COMMENT 'empty: the channel as a whole',
    views                   UInt64,
    engaged_views           Nullable(UInt64) COMMENT 'what views meant before every start counted',
    watch_time_minutes      UInt64,
    average_view_percentage Nullable(Float64),
    likes                   UInt64,
    comments                UInt64,
    shares                  UInt64,
    subscribers_gained      UInt64,
    subscribers_lost        UInt64,
    estimated_revenue_e4    Nullable(Int64) COMMENT '1/10000 USD; asked for apart, so it may come later',
    fetched_at              DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (youtube_channel_id, youtube_video_id, day, fetched_at)
TTL day + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
