{{ config(materialized='table', engine='MergeTree', order_by='date') }}

-- Days of 2020 to 2039, with what reports group by.
SELECT date,
       toYear(date) AS year, toQuarter(date) AS quarter, toMonth(date) AS month, toDayOfMonth(date) AS day_of_month,
       toISOYear(date) AS iso_year, toISOWeek(date) AS iso_week, toDayOfWeek(date) AS day_of_week,
       toMonday(date) AS week_begin, toStartOfMonth(date) AS month_begin, date = toLastDayOfMonth(date) AS is_month_end,
       toDayOfWeek(date) >= 6 AS is_weekend,
       ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November',
        'December'][toMonth(date)] AS month_name,
       ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'][toDayOfWeek(date)] AS day_name
FROM (SELECT toDate('2020-01-01') + number AS date FROM numbers(toDate('2040-01-01') - toDate('2020-01-01')))
