-- Days that have a row: from the first to the last day with an event of any stream, but not older than the horizon.
SELECT arrayJoin(arrayMap(n -> addDays(first, n), range(toUInt32(dateDiff('day', first, last) + 1)))) AS day, last
FROM (
    SELECT greatest(min(day), max(day) - {{ var('horizon_days') }} + 1) AS first, max(day) AS last
    FROM (
        SELECT min(activity_date) AS low, max(activity_date) AS high FROM {{ ref('fact_user_activity') }}
        HAVING count() > 0
        {% for table in ['video_status', 'cost_events', 'ops_events', 'billing'] -%}
        UNION ALL
        SELECT toDate(min(occurred_at)), toDate(max(occurred_at)) FROM {{ source('silver', table) }} FINAL HAVING count() > 0
        {% endfor %}
    ) ARRAY JOIN [low, high] AS day
    HAVING count() > 0
)
