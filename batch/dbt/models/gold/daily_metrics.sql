{{ config(
    materialized='incremental', incremental_strategy='append', full_refresh=false,
    engine='ReplacingMergeTree(updated_at)', order_by='(metric, grain, dimension, dimension_value, day)',
    partition_by='toYear(day)', ttl='day + INTERVAL 2 YEAR',
    settings={'non_replicated_deduplication_window': 0}) }}

-- Every daily metric of the catalogue, a row a day; the month's row is that of its last day. Values that are there already are
-- not written again. Days older than the horizon keep what they have.
WITH
by_day AS (
    {% for part in ['int_daily_users', 'int_daily_videos', 'int_daily_costs', 'int_daily_revenue', 'int_daily_operations'] -%}
    SELECT day, metric, dimension, dimension_value, value FROM {{ ref(part) }}
    {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
),
all_grains AS (
    SELECT day, metric, 'day' AS grain, dimension, dimension_value, value FROM by_day
    UNION ALL
    SELECT toStartOfMonth(day) AS day, metric, 'month' AS grain, '' AS dimension, '' AS dimension_value, value
    FROM by_day
    WHERE metric IN ('mau', 'arpu_usd', 'clv_usd', 'mrr_usd') AND dimension = ''
    ORDER BY by_day.day DESC LIMIT 1 BY metric, toStartOfMonth(by_day.day)
)
SELECT day, metric::LowCardinality(String) AS metric, grain::LowCardinality(String) AS grain,
       dimension::LowCardinality(String) AS dimension, dimension_value::String AS dimension_value,
       value::Nullable(Float64) AS value, now64(3, 'UTC') AS updated_at
FROM all_grains
{% if is_incremental() -%}
WHERE (metric, grain, dimension, dimension_value, day, ifNull(toString(value), 'null')) NOT IN (
    SELECT metric, grain, dimension, dimension_value, day, ifNull(toString(value), 'null') FROM {{ this }} FINAL
)
{%- endif %}
