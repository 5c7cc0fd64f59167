-- Response times, uptime and time in queues.
WITH
-- Nearest rank: the value at position ceil(n * 95 / 100), counted from 1; by counts of values, so that no day is held in memory.
response_times AS (
    SELECT day, ms, sum(n) AS n
    FROM (
        SELECT activity_date AS day, assumeNotNull(response_time_ms) AS ms, uniqExact(event_id) AS n
        FROM {{ ref('fact_user_activity') }} WHERE isNotNull(response_time_ms) GROUP BY day, ms
        UNION ALL
        SELECT toDate(occurred_at), assumeNotNull(response_time_ms), count()
        FROM {{ source('silver', 'ops_events') }} FINAL WHERE kind = 'api_request' GROUP BY 1, 2
    ) GROUP BY day, ms
),
p95 AS (
    SELECT day, min(ms) AS ms
    FROM (
        SELECT day, ms, sum(n) OVER (PARTITION BY day ORDER BY ms) AS upto, sum(n) OVER (PARTITION BY day) AS in_all
        FROM response_times
    ) WHERE upto >= intDiv(in_all * 95 + 99, 100) GROUP BY day
),
-- A minute of a service is up if its last health event is ok; a silent minute is down.
minutes AS (
    SELECT service, toStartOfMinute(occurred_at) AS minute, toDate(minute) AS day,
           argMax(o.ok, (o.occurred_at, toString(o.event_id))) AS up
    FROM {{ source('silver', 'ops_events') }} AS o FINAL WHERE kind = 'health' GROUP BY service, minute
),
ends AS (
    SELECT day, if(day = (SELECT max(last) FROM {{ ref('int_days') }}), max(minute) + INTERVAL 1 MINUTE,
                   toDateTime(addDays(day, 1), 'UTC')) AS at
    FROM minutes GROUP BY day
),
uptimes AS (
    SELECT m.day AS day, m.service AS service, countIf(m.up) AS up, dateDiff('minute', min(m.minute), any(ends.at)) AS in_all
    FROM minutes AS m JOIN ends ON ends.day = m.day GROUP BY day, service
),
waits AS (
    SELECT toDate(occurred_at) AS day, 'video-generation' AS queue,
           toUnixTimestamp64Milli(assumeNotNull(started_at)) - toUnixTimestamp64Milli(requested_at) AS ms
    FROM {{ ref('int_statuses_counted') }} WHERE status = 'started'
    UNION ALL
    SELECT toDate(occurred_at), assumeNotNull(queue)::String,
           toUnixTimestamp64Milli(assumeNotNull(processing_start)) - toUnixTimestamp64Milli(assumeNotNull(queued_at))
    FROM {{ source('silver', 'ops_events') }} FINAL WHERE kind = 'queue'
)
SELECT days.day AS day, 'api_response_time_p95_ms' AS metric, '' AS dimension, '' AS dimension_value,
       toFloat64(p95.ms) AS value
FROM {{ ref('int_days') }} AS days LEFT JOIN p95 ON p95.day = days.day
UNION ALL
SELECT days.day, 'system_uptime', '', '', 100 * u.up / u.in_all
FROM {{ ref('int_days') }} AS days
LEFT JOIN (SELECT day, sum(up) AS up, sum(in_all) AS in_all FROM uptimes GROUP BY day) AS u ON u.day = days.day
UNION ALL
SELECT u.day, 'system_uptime', 'service', u.service::String, toNullable(100 * u.up / u.in_all)
FROM uptimes AS u WHERE u.day IN (SELECT day FROM {{ ref('int_days') }})
UNION ALL
SELECT days.day, 'queue_processing_time_seconds', '', '', w.mean_s
FROM {{ ref('int_days') }} AS days
LEFT JOIN (SELECT day, sum(ms) / count() / 1000 AS mean_s FROM waits GROUP BY day) AS w ON w.day = days.day
UNION ALL
SELECT day, 'queue_processing_time_seconds', 'queue', queue, toNullable(sum(ms) / count() / 1000)
FROM waits WHERE day IN (SELECT day FROM {{ ref('int_days') }}) GROUP BY day, queue
