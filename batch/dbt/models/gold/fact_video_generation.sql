{{ config(
    materialized='incremental', incremental_strategy='append', full_refresh=false,
    engine='ReplacingMergeTree(updated_at)', order_by='video_id', partition_by='toYYYYMM(created_date)',
    ttl='created_date + INTERVAL 2 YEAR', settings={'ttl_only_drop_parts': 1, 'non_replicated_deduplication_window': 0},
    post_hook='{{ mark_built() }}') }}

-- One row a video, whatever the order of its events: computed again whole when anything of it came. Of each field the newest
-- event that has it counts, newest by (occurred_at, rank of the status, event_id).
WITH
touched AS (
    {% if only_new() -%}
    SELECT video_id FROM {{ source('silver', 'video_status') }} WHERE ingested_at >= {{ watermark() }}
    UNION DISTINCT
    SELECT assumeNotNull(video_id) FROM {{ source('silver', 'cost_events') }}
    WHERE ingested_at >= {{ watermark() }} AND isNotNull(video_id)
    UNION DISTINCT
    SELECT video_id FROM {{ source('silver', 'video_status') }}
    WHERE youtube_video_id IN (SELECT youtube_video_id FROM {{ source('silver', 'youtube_videos') }}
                               WHERE fetched_at >= {{ watermark() }}
                               UNION DISTINCT
                               SELECT youtube_video_id FROM {{ source('silver', 'youtube_analytics_daily') }}
                               WHERE fetched_at >= {{ watermark() }})
    UNION DISTINCT
    -- An older record of an id can come later and be of another video: the row that it replaces in silver leaves no trace there.
    -- Kafka keeps records for 7 days.
    SELECT video_id FROM {{ this }} WHERE updated_at >= now64(3, 'UTC') - INTERVAL 8 DAY
    {%- else -%}
    SELECT DISTINCT video_id FROM {{ source('silver', 'video_status') }}
    {%- endif %}
),
statuses AS (
    SELECT *, (occurred_at, indexOf(['requested', 'started', 'failed', 'completed', 'published'], status::String),
               toString(event_id)) AS age
    FROM {{ source('silver', 'video_status') }} FINAL
    WHERE video_id IN (SELECT video_id FROM touched)
),
videos AS (
    SELECT video_id,
           argMax(s.channel_id, age) AS channel_id, argMax(s.user_id, age) AS user_id,
           argMax(s.requested_at, age) AS requested_at,
           argMax(s.started_at, age) AS started_at, argMax(s.completed_at, age) AS completed_at,
           argMax(s.published_at, age) AS published_at,
           argMax(s.quality_score, age) AS quality_score, argMax(s.status, age)::String AS status,
           argMax(s.video_type::Nullable(String), age) AS video_type, argMax(s.niche::Nullable(String), age) AS niche,
           argMax(s.youtube_video_id, age) AS youtube_video_id, argMax(s.title, age) AS title,
           argMax(s.duration_seconds, age) AS duration_seconds, argMax(s.error, age) AS error
    FROM statuses AS s GROUP BY video_id
),
costs AS (
    SELECT assumeNotNull(video_id) AS video_id, sum(amount_e4) AS total_e4,
           sumIf(amount_e4, component = 'script') AS script_e4, sumIf(amount_e4, component = 'voice') AS voice_e4,
           sumIf(amount_e4, component = 'image') AS image_e4, sumIf(amount_e4, component = 'processing') AS processing_e4,
           sumIf(amount_e4, component = 'other') AS other_e4
    FROM {{ source('silver', 'cost_events') }} FINAL
    WHERE isNotNull(video_id) AND assumeNotNull(video_id) IN (SELECT video_id FROM touched)
    GROUP BY video_id
),
statistics AS (
    SELECT youtube_video_id, argMax(view_count, fetched_at) AS views, argMax(like_count, fetched_at) AS likes,
           argMax(comment_count, fetched_at) AS comments
    FROM {{ source('silver', 'youtube_videos') }} GROUP BY youtube_video_id
),
retention AS (
    -- Mean share of a video that was watched, weighted by views, over all its days; of each day what was fetched last.
    SELECT youtube_video_id, sum(day_views * day_percentage) / nullIf(sum(day_views), 0) AS retention_rate
    FROM (SELECT assumeNotNull(y.youtube_video_id) AS youtube_video_id, day, argMax(y.views, fetched_at) AS day_views,
                 argMax(y.average_view_percentage, fetched_at) AS day_percentage
          FROM {{ source('silver', 'youtube_analytics_daily') }} AS y WHERE y.youtube_video_id != ''
          GROUP BY youtube_video_id, day)
    WHERE isNotNull(day_percentage)
    GROUP BY youtube_video_id
),
computed AS (
    SELECT
        v.video_id AS video_id, v.channel_id AS channel_id, v.user_id AS user_id,
        v.requested_at AS requested_at, v.started_at AS started_at, v.completed_at AS completed_at,
        v.published_at AS published_at,
        (toUnixTimestamp64Milli(v.completed_at) - toUnixTimestamp64Milli(v.requested_at)) / 1000 AS generation_time_seconds,
        {{ usd('ifNull(c.total_e4, 0)') }}::Decimal(18, 4) AS total_cost,
        v.quality_score AS quality_score,
        v.status::LowCardinality(String) AS status,
        v.video_type::LowCardinality(Nullable(String)) AS video_type,
        v.niche::LowCardinality(Nullable(String)) AS niche,
        {{ usd('ifNull(c.script_e4, 0)') }}::Decimal(18, 4) AS script_cost,
        {{ usd('ifNull(c.voice_e4, 0)') }}::Decimal(18, 4) AS voice_cost,
        {{ usd('ifNull(c.image_e4, 0)') }}::Decimal(18, 4) AS image_cost,
        {{ usd('ifNull(c.processing_e4, 0)') }}::Decimal(18, 4) AS processing_cost,
        {{ usd('ifNull(c.other_e4, 0)') }}::Decimal(18, 4) AS other_cost,
        ifNull(s.views, 0) AS views, ifNull(s.likes, 0) AS likes, ifNull(s.comments, 0) AS comments,
        r.retention_rate AS retention_rate,
        v.youtube_video_id AS youtube_video_id, v.title AS title, v.duration_seconds AS duration_seconds, v.error AS error,
        toDate(v.requested_at) AS created_date
    FROM videos AS v
    LEFT JOIN costs AS c ON c.video_id = v.video_id
    LEFT JOIN statistics AS s ON s.youtube_video_id = v.youtube_video_id
    LEFT JOIN retention AS r ON r.youtube_video_id = v.youtube_video_id
)
SELECT *, cityHash64(tuple(*)) AS row_hash, now64(3, 'UTC') AS updated_at
FROM computed
{% if is_incremental() -%}
-- What is there already is not written again: a build without news writes nothing.
WHERE (video_id, row_hash) NOT IN (SELECT video_id, row_hash FROM {{ this }} FINAL)
{%- endif %}
