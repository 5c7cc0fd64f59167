-- Every change of a subscription's MRR (1/10000 USD) with what it was before, in order of (occurred_at, event_id).
SELECT subscription_id, user_id, day, before_e4, after_e4
FROM (
    SELECT subscription_id, toDate(occurred_at) AS day, mrr_e4 AS after_e4,
           lagInFrame(mrr_e4, 1, 0) OVER (PARTITION BY subscription_id ORDER BY occurred_at, id
                                          ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before_e4,
           last_value(user_id) OVER (PARTITION BY subscription_id ORDER BY occurred_at, id
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS user_id
    FROM (
        SELECT b.subscription_id AS subscription_id, b.user_id AS user_id, b.occurred_at AS occurred_at,
               toString(b.event_id) AS id,
               if(b.kind = 'subscription_cancelled', 0, ifNull(b.mrr_e4, 0))::Int64 AS mrr_e4
        FROM {{ source('silver', 'billing') }} AS b FINAL
        WHERE b.kind IN ('subscription_started', 'subscription_changed', 'subscription_cancelled')
    )
)
WHERE before_e4 != after_e4
