-- What the videos completed on a day came to.
WITH
completed AS (
    SELECT toDate(occurred_at) AS day, video_id,
           toUnixTimestamp64Milli(assumeNotNull(completed_at)) - toUnixTimestamp64Milli(requested_at) AS took_ms
    FROM {{ ref('int_statuses_counted') }} WHERE status = 'completed'
),
by_day AS (SELECT day, count() AS n, sum(took_ms) / n / 1000 AS mean_s FROM completed GROUP BY day),
videos AS (SELECT DISTINCT day, video_id FROM completed),
published AS (SELECT DISTINCT video_id FROM {{ source('silver', 'video_status') }} FINAL WHERE status = 'published'),
success AS (
    SELECT day, 100 * countIf(video_id IN (SELECT video_id FROM published)) / count() AS rate FROM videos GROUP BY day
),
costs AS (
    SELECT assumeNotNull(video_id) AS video_id, component, sum(amount_e4) AS e4
    FROM {{ source('silver', 'cost_events') }} FINAL WHERE isNotNull(video_id) GROUP BY video_id, component
),
numbers_of AS (SELECT day, count() AS n FROM videos GROUP BY day),
spent AS (
    SELECT v.day AS day, c.component AS component, sum(c.e4) AS e4
    FROM videos AS v JOIN costs AS c ON c.video_id = v.video_id GROUP BY day, component
),
-- YouTube's newest count of each video's views holds from the day of the fetch to that of the next one.
fetches AS (
    SELECT youtube_video_id, toDate(fetched_at) AS day, argMax(view_count, fetched_at) AS views
    FROM {{ source('silver', 'youtube_videos') }} GROUP BY youtube_video_id, day
),
steps AS (
    SELECT day, sum(toInt64(views) - toInt64(before)) AS more_views, countIf(nth = 1) AS more_videos
    FROM (
        SELECT day, views, row_number() OVER (PARTITION BY youtube_video_id ORDER BY day) AS nth,
               lagInFrame(views, 1, 0) OVER (PARTITION BY youtube_video_id ORDER BY day
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
        FROM fetches
    ) GROUP BY day
),
seen AS (
    SELECT day, sum(more_views) OVER (ORDER BY day) / sum(more_videos) OVER (ORDER BY day) AS mean_views FROM steps
)
SELECT days.day AS day, 'video_generation_rate' AS metric, '' AS dimension, '' AS dimension_value,
       toNullable(toFloat64(ifNull(b.n, 0))) AS value
FROM {{ ref('int_days') }} AS days LEFT JOIN by_day AS b ON b.day = days.day
UNION ALL
SELECT days.day, 'avg_generation_time_seconds', '', '', b.mean_s
FROM {{ ref('int_days') }} AS days LEFT JOIN by_day AS b ON b.day = days.day
UNION ALL
SELECT days.day, 'video_success_rate', '', '', s.rate
FROM {{ ref('int_days') }} AS days LEFT JOIN success AS s ON s.day = days.day
UNION ALL
SELECT days.day, 'cost_per_video_usd', '', '', {{ usd_value('ifNull(sum(spent.e4), 0)') }} / any(n.n)
FROM {{ ref('int_days') }} AS days LEFT JOIN numbers_of AS n ON n.day = days.day LEFT JOIN spent ON spent.day = days.day
GROUP BY days.day
UNION ALL
SELECT d.day, 'cost_per_video_usd', 'component', d.component, {{ usd_value('ifNull(spent.e4, 0)') }} / n.n
FROM (SELECT day, arrayJoin(['script', 'voice', 'image', 'processing', 'other']) AS component FROM {{ ref('int_days') }}) AS d
LEFT JOIN numbers_of AS n ON n.day = d.day
LEFT JOIN spent ON spent.day = d.day AND spent.component = d.component
UNION ALL
SELECT days.day, 'avg_views_per_video', '', '', seen.mean_views
FROM (SELECT day, 1 AS one FROM {{ ref('int_days') }}) AS days
ASOF LEFT JOIN (SELECT day, mean_views, 1 AS one FROM seen) AS seen ON days.one = seen.one AND days.day >= seen.day
