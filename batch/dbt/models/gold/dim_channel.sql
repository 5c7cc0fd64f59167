{{ config(materialized='table', engine='MergeTree', order_by='(channel_id, valid_from)',
          settings={'non_replicated_deduplication_window': 0}) }}

-- Slowly changing dimension of channels: attributes and settings make versions; YouTube's and our numbers do not.
WITH
changes AS (
    SELECT id, position, source_ts, deleted, created_at, updated_at, user_id, channel_name, niche, youtube_channel_id, is_active,
           auto_publish
    FROM {{ source('silver', 'cdc_channels') }} FINAL
),
versions AS (
    {{ scd2('changes', ['user_id', 'channel_name', 'niche', 'youtube_channel_id', 'is_active', 'auto_publish']) }}
),
newest AS (
    SELECT id, argMax(created_at, position) AS created_at, argMax(updated_at, position) AS updated_at FROM changes GROUP BY id
),
made AS (SELECT channel_id, count() AS n FROM {{ ref('fact_video_generation') }} FINAL GROUP BY channel_id),
youtube AS (
    SELECT youtube_channel_id AS youtube_id, argMax(view_count, fetched_at) AS views,
           argMax(subscriber_count, fetched_at) AS subscribers
    FROM {{ source('silver', 'youtube_channels') }} GROUP BY youtube_id
)
SELECT
    versions.id AS channel_id, user_id, channel_name, niche, youtube_channel_id, is_active, auto_publish,
    ifNull(made.n, 0) AS total_videos, ifNull(youtube.views, 0) AS total_views,
    ifNull(youtube.subscribers, 0) AS subscriber_count,
    newest.created_at AS created_at, newest.updated_at AS updated_at,
    valid_from, valid_to, is_current
FROM versions
LEFT JOIN newest ON newest.id = versions.id
LEFT JOIN made ON made.channel_id = versions.id
LEFT JOIN youtube ON youtube.youtube_id = versions.youtube_channel_id
