-- MRR of a day is that of the day before, and what came and went.
SELECT day FROM (
    SELECT day, anyIf(value, metric = 'mrr_usd') AS mrr,
           anyIf(value, metric = 'mrr_new_usd') + anyIf(value, metric = 'mrr_expansion_usd')
           - anyIf(value, metric = 'mrr_contraction_usd') - anyIf(value, metric = 'mrr_churn_usd') AS net,
           lagInFrame(mrr) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before,
           row_number() OVER (ORDER BY day) AS nth
    FROM {{ ref('daily_metrics') }} FINAL WHERE grain = 'day' GROUP BY day
) WHERE nth > 1 AND abs(before + net - mrr) > 0.001
