-- Money of a day, in 1/10000 USD: payments, refunds, costs.
SELECT days.day AS day, ifNull(b.paid_e4, 0) AS paid_e4, ifNull(b.refunded_e4, 0) AS refunded_e4, ifNull(c.e4, 0) AS cost_e4
FROM {{ ref('int_days') }} AS days
LEFT JOIN (
    SELECT toDate(occurred_at) AS day, sumIf(assumeNotNull(amount_e4), kind = 'payment') AS paid_e4,
           sumIf(assumeNotNull(amount_e4), kind = 'refund') AS refunded_e4
    FROM {{ source('silver', 'billing') }} FINAL WHERE kind IN ('payment', 'refund') GROUP BY day
) AS b ON b.day = days.day
LEFT JOIN (SELECT toDate(occurred_at) AS day, sum(amount_e4) AS e4 FROM {{ source('silver', 'cost_events') }} FINAL GROUP BY day)
    AS c ON c.day = days.day
