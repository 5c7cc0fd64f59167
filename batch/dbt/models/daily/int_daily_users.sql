-- Daily and monthly active users.
WITH
user_days AS (SELECT activity_date AS day, user_id FROM {{ ref('fact_user_activity') }} GROUP BY day, user_id),
dau AS (SELECT day, count() AS n FROM user_days GROUP BY day),
mau AS (SELECT addDays(u.day, back) AS day, uniqExact(u.user_id) AS n
        FROM user_days AS u ARRAY JOIN range(30) AS back GROUP BY addDays(u.day, back))
SELECT days.day AS day, 'dau' AS metric, '' AS dimension, '' AS dimension_value, toNullable(toFloat64(ifNull(dau.n, 0))) AS value
FROM {{ ref('int_days') }} AS days LEFT JOIN dau ON dau.day = days.day
UNION ALL
SELECT days.day, 'mau', '', '', toNullable(toFloat64(ifNull(mau.n, 0)))
FROM {{ ref('int_days') }} AS days LEFT JOIN mau ON mau.day = days.day
