{{ config(materialized='table', engine='MergeTree', order_by='(cohort_week, weeks_since)',
          settings={'non_replicated_deduplication_window': 0}) }}

-- Cohorts by ISO week of a user's first event, and which share of each comes back in which week.
WITH
weeks AS (SELECT DISTINCT user_id, toMonday(activity_date) AS week FROM {{ ref('fact_user_activity') }}),
firsts AS (SELECT user_id, min(week) AS cohort_week FROM weeks GROUP BY user_id),
cohorts AS (SELECT cohort_week, count() AS users FROM firsts GROUP BY cohort_week),
returned AS (
    SELECT f.cohort_week AS cohort_week, dateDiff('week', f.cohort_week, w.week) AS weeks_since, count() AS n
    FROM weeks AS w JOIN firsts AS f ON f.user_id = w.user_id GROUP BY cohort_week, weeks_since
),
grid AS (
    SELECT cohort_week, users, arrayJoin(range(toUInt32(dateDiff('week', cohort_week, last_week) + 1))) AS weeks_since
    FROM (SELECT cohort_week, users, (SELECT toMonday(max(last)) FROM {{ ref('int_days') }}) AS last_week FROM cohorts)
)
SELECT g.cohort_week AS cohort_week, g.weeks_since::UInt32 AS weeks_since, g.users AS users, ifNull(r.n, 0) AS returning,
       100 * returning / users AS rate
FROM grid AS g LEFT JOIN returned AS r ON r.cohort_week = g.cohort_week AND r.weeks_since = g.weeks_since
