-- MRR and its movements, ARPU and customer lifetime value.
WITH
movements AS (
    SELECT day, sum(after_e4 - before_e4) AS net_e4,
           sumIf(after_e4, before_e4 <= 0 AND after_e4 > 0) AS new_e4,
           sumIf(after_e4 - before_e4, before_e4 > 0 AND after_e4 > before_e4) AS expansion_e4,
           sumIf(before_e4 - after_e4, after_e4 > 0 AND after_e4 < before_e4) AS contraction_e4,
           sumIf(before_e4, before_e4 > 0 AND after_e4 <= 0) AS churn_e4
    FROM {{ ref('int_subscription_movements') }} GROUP BY day
),
-- A customer has a subscription that is worth something; gained and lost between the ends of days.
user_days AS (
    SELECT user_id, day, sum(toInt32(after_e4 > 0) - toInt32(before_e4 > 0)) AS change
    FROM {{ ref('int_subscription_movements') }} GROUP BY user_id, day
),
customer_steps AS (
    SELECT day, countIf(before = 0 AND after > 0) AS gained, countIf(before > 0 AND after = 0) AS lost
    FROM (
        SELECT day, sum(change) OVER (PARTITION BY user_id ORDER BY day) AS after, after - change AS before FROM user_days
    ) GROUP BY day
),
-- Every day from the first change on, so that what happened before the first row of all is known too.
calendar AS (
    SELECT arrayJoin(arrayMap(n -> addDays(first, n), range(toUInt32(dateDiff('day', first, last) + 1)))) AS day
    FROM (
        SELECT least((SELECT min(day) FROM {{ ref('int_days') }}), ifNull((SELECT min(day) FROM customer_steps), toDate('2149-01-01')))
                   AS first,
               (SELECT max(day) FROM {{ ref('int_days') }}) AS last
    ) WHERE first <= last
),
running AS (
    SELECT c.day AS day, sum(ifNull(m.net_e4, 0)) OVER (ORDER BY c.day) AS mrr_e4,
           ifNull(m.new_e4, 0) AS new_e4, ifNull(m.expansion_e4, 0) AS expansion_e4,
           ifNull(m.contraction_e4, 0) AS contraction_e4, ifNull(m.churn_e4, 0) AS churn_e4,
           sum(toInt64(ifNull(s.gained, 0)) - toInt64(ifNull(s.lost, 0))) OVER (ORDER BY c.day) AS customers,
           sum(ifNull(s.lost, 0)) OVER (ORDER BY c.day ROWS BETWEEN 89 PRECEDING AND CURRENT ROW) AS lost_90
    FROM calendar AS c LEFT JOIN movements AS m ON m.day = c.day LEFT JOIN customer_steps AS s ON s.day = c.day
),
churn AS (
    SELECT r.day AS day, r.lost_90 AS lost, sum(e.customers) AS exposed
    FROM (SELECT day, lost_90, arrayJoin([30, 60, 90]) AS back FROM running) AS r
    LEFT JOIN running AS e ON e.day = subtractDays(r.day, r.back)
    GROUP BY day, lost
),
net AS (
    SELECT day, sum(paid_e4 - refunded_e4) OVER (ORDER BY day ROWS BETWEEN 29 PRECEDING AND CURRENT ROW) AS net_30_e4
    FROM {{ ref('int_daily_money') }}
),
mau AS (SELECT day, value AS n FROM {{ ref('int_daily_users') }} WHERE metric = 'mau'),
worth AS (
    SELECT net.day AS day, {{ usd_value('net.net_30_e4') }} / nullIf(mau.n, 0) AS arpu,
           arpu / nullIf(churn.lost / nullIf(churn.exposed, 0), 0) AS clv
    FROM net LEFT JOIN mau ON mau.day = net.day LEFT JOIN churn ON churn.day = net.day
)
SELECT d.day AS day, m.1 AS metric, '' AS dimension, '' AS dimension_value, m.2::Nullable(Float64) AS value
FROM {{ ref('int_days') }} AS d JOIN running AS r ON r.day = d.day
ARRAY JOIN [('mrr_usd', {{ usd_value('r.mrr_e4') }}), ('mrr_new_usd', {{ usd_value('r.new_e4') }}),
            ('mrr_expansion_usd', {{ usd_value('r.expansion_e4') }}),
            ('mrr_contraction_usd', {{ usd_value('r.contraction_e4') }}), ('mrr_churn_usd', {{ usd_value('r.churn_e4') }})] AS m
UNION ALL
SELECT day, 'arpu_usd', '', '', arpu FROM worth
UNION ALL
SELECT day, 'clv_usd', '', '', clv FROM worth
