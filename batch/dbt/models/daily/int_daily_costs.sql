-- Burn rate, in all and by component, and revenue per dollar spent.
WITH parts AS (
    SELECT toDate(occurred_at) AS day, component, sum(amount_e4) AS e4
    FROM {{ source('silver', 'cost_events') }} FINAL GROUP BY day, component
)
SELECT day, 'daily_burn_rate_usd' AS metric, '' AS dimension, '' AS dimension_value,
       toNullable({{ usd_value('cost_e4') }}) AS value
FROM {{ ref('int_daily_money') }}
UNION ALL
SELECT day, 'cost_efficiency', '', '', if(cost_e4 > 0, (paid_e4 - refunded_e4) / cost_e4, NULL) FROM {{ ref('int_daily_money') }}
UNION ALL
SELECT d.day, 'daily_burn_rate_usd', 'component', d.component, toNullable({{ usd_value('ifNull(parts.e4, 0)') }})
FROM (SELECT day, arrayJoin(['script', 'voice', 'image', 'processing', 'other']) AS component FROM {{ ref('int_days') }}) AS d
LEFT JOIN parts ON parts.day = d.day AND parts.component = d.component
