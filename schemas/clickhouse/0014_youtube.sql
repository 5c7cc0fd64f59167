-- YouTube: pages as received, what was spent on them, and which of them are in silver.
--
-- A page is one insert of one block into one partition, so it is there whole or not at all: item 0 is the page itself (its
-- answer without the items), items from 1 on are what it listed. So what is stored here is never asked for again, whoever is
-- killed and when.

CREATE TABLE IF NOT EXISTS bronze.youtube
(
    load               LowCardinality(String) COMMENT 'what it was fetched for: day/2026-11-22',
    unit               String COMMENT 'what was asked for, e.g. playlist/UC...',
    page               UInt32 COMMENT 'from 0 on within the unit',
    item               UInt32 COMMENT '0: the page itself; from 1 on: its items in order',
    method             LowCardinality(String) COMMENT 'youtube.videos.list and so on',
    youtube_channel_id String COMMENT 'whose data it is; empty: of several channels',
    as_owner           Bool COMMENT 'asked with the token of the channel''s owner, who sees private videos too',
    request            String CODEC(ZSTD(1)) COMMENT 'JSON: the parameters, without key and token',
    etag               String CODEC(ZSTD(1)) COMMENT 'of the item; empty if it has none',
    payload            String CODEC(ZSTD(1)) COMMENT 'JSON as received, unknown fields too',
    error              String CODEC(ZSTD(1)) COMMENT 'empty, or path and reason why silver does not have the item',
    fetched_at         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(fetched_at)
ORDER BY (load, unit, page, item)
TTL toDateTime(fetched_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- The pages that silver has. One that is in bronze and not here is derived again before anything else is asked for.
CREATE TABLE IF NOT EXISTS meta.youtube_units
(
    load               LowCardinality(String),
    unit               String,
    page               UInt32,
    items              UInt32,
    written            UInt32 COMMENT 'rows that it brought to silver; an unchanged value brings none',
    invalid            UInt32 COMMENT 'items that are in bronze alone, with their error',
    done_at            DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(done_at)
ORDER BY (load, unit, page)
TTL toDateTime(done_at) + INTERVAL 100 DAY
SETTINGS non_replicated_deduplication_window = 10000;

-- Written before a request is sent: a killed process may have spent what it wrote down, and never more.
CREATE TABLE IF NOT EXISTS meta.youtube_quota
(
    pacific_day        Date COMMENT 'Google counts by days of Pacific time',
    api                LowCardinality(String) COMMENT 'youtube (units), youtubeAnalytics (queries)',
    kind               LowCardinality(String) COMMENT 'planned, spent, refused (Google says that nothing is left)',
    id                 String COMMENT 'spent: one a request; else the load',
    load               LowCardinality(String),
    method             LowCardinality(String),
    units              UInt32,
    at                 DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (pacific_day, api, kind, id)
TTL pacific_day + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

-- An owner may hide these counts, and then YouTube leaves them out.
ALTER TABLE silver.youtube_videos
    MODIFY COLUMN privacy_status LowCardinality(Nullable(String)) COMMENT 'public, unlisted, private; gone: YouTube knows it no more; hidden: gone or private, an API key cannot tell',
    MODIFY COLUMN like_count Nullable(UInt64) COMMENT 'YouTube''s count; NULL if hidden',
    MODIFY COLUMN comment_count Nullable(UInt64) COMMENT 'YouTube''s count; NULL if comments are off';

ALTER TABLE silver.youtube_channels
    MODIFY COLUMN subscriber_count Nullable(UInt64) COMMENT 'YouTube''s count, rounded by it; NULL if hidden';

-- Likes and comments that were taken back count below zero.
ALTER TABLE silver.youtube_analytics_daily
    MODIFY COLUMN likes Int64 COMMENT 'YouTube''s count of the day; what was taken back is subtracted',
    MODIFY COLUMN comments Int64 COMMENT 'YouTube''s count of the day; what was taken back is subtracted',
    MODIFY COLUMN engaged_views Nullable(UInt64) COMMENT 'what views meant before every start of a Short counted';
