{{ config(materialized='table', engine='MergeTree', order_by='(user_id, valid_from)',
          settings={'non_replicated_deduplication_window': 0}) }}

-- Slowly changing dimension of users: what they are and may do makes versions; what they did is the same in all their versions.
WITH
changes AS (
    SELECT id, position, source_ts, deleted, created_at, last_active_at, email, username, subscription_tier, channels_limit,
           daily_video_limit, monthly_budget_e4
    FROM {{ source('silver', 'cdc_users') }} FINAL
),
versions AS (
    {{ scd2('changes', ['email', 'username', 'subscription_tier', 'channels_limit', 'daily_video_limit', 'monthly_budget_e4']) }}
),
newest AS (
    SELECT id, argMax(created_at, position) AS created_at, argMax(last_active_at, position) AS last_active_at
    FROM changes GROUP BY id
),
active AS (SELECT user_id, max(activity_timestamp) AS at FROM {{ ref('fact_user_activity') }} GROUP BY user_id),
videos AS (SELECT video_id, user_id, completed_at FROM {{ ref('fact_video_generation') }} FINAL),
made AS (SELECT user_id, count() AS n FROM videos WHERE isNotNull(completed_at) GROUP BY user_id),
spent AS (
    -- A cost without a user belongs to the user of its video.
    SELECT ifNull(c.user_id, v.user_id) AS user_id, sum(c.amount_e4) AS e4
    FROM {{ source('silver', 'cost_events') }} AS c FINAL
    LEFT JOIN videos AS v ON v.video_id = c.video_id
    WHERE isNotNull(ifNull(c.user_id, v.user_id))
    GROUP BY user_id
)
SELECT
    versions.id AS user_id, email, username, subscription_tier, channels_limit, daily_video_limit,
    {{ usd('monthly_budget_e4') }}::Nullable(Decimal(10, 2)) AS monthly_budget,
    {{ usd('ifNull(spent.e4, 0)') }}::Decimal(18, 4) AS total_spent,
    ifNull(made.n, 0) AS videos_generated,
    newest.created_at AS created_at,
    if(isNull(newest.last_active_at) OR active.at > newest.last_active_at, ifNull(active.at, newest.last_active_at),
       newest.last_active_at) AS last_active_at,
    valid_from, valid_to, is_current
FROM versions
LEFT JOIN newest ON newest.id = versions.id
LEFT JOIN active ON active.user_id = versions.id
LEFT JOIN made ON made.user_id = versions.id
LEFT JOIN spent ON spent.user_id = versions.id
