{{ config(
    materialized='incremental', incremental_strategy='append', full_refresh=false,
    engine='ReplacingMergeTree(updated_at)', order_by='day', ttl='day + INTERVAL 3 YEAR',
    settings={'non_replicated_deduplication_window': 0}) }}

-- The ledger's revenue, YouTube's beside it, and costs, USD a day.
WITH
youtube AS (
    SELECT day, sum(e4) AS e4 FROM (
        SELECT day, youtube_channel_id, argMax(estimated_revenue_e4, fetched_at) AS e4
        FROM {{ source('silver', 'youtube_analytics_daily') }} WHERE youtube_video_id = '' GROUP BY day, youtube_channel_id
    ) GROUP BY day
),
computed AS (
    SELECT m.day AS day, {{ usd('m.paid_e4') }}::Decimal(18, 4) AS subscription,
           {{ usd('m.refunded_e4') }}::Decimal(18, 4) AS refunds,
           {{ usd('ifNull(y.e4, 0)') }}::Decimal(18, 4) AS youtube, {{ usd('m.cost_e4') }}::Decimal(18, 4) AS cost
    FROM {{ ref('int_daily_money') }} AS m LEFT JOIN youtube AS y ON y.day = m.day
)
SELECT *, now64(3, 'UTC') AS updated_at FROM computed
{% if is_incremental() -%}
WHERE (day, subscription, refunds, youtube, cost) NOT IN (SELECT day, subscription, refunds, youtube, cost FROM {{ this }} FINAL)
{%- endif %}
