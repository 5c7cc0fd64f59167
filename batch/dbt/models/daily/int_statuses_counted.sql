-- Statuses that count: a status of a video once in 7 days of log time, as in the windows. Nearly all groups have one event.
SELECT video_id, status, e.3 AS occurred_at, e.4 AS requested_at, e.5 AS started_at, e.6 AS completed_at
FROM (
    SELECT video_id, status, arrayFold(
        (acc, x) -> if(acc.1 < 0 OR x.1 - acc.1 > 604800000, (x.1, arrayPushBack(acc.2, x)), acc),
        arraySort(x -> (x.1, x.2), groupArray((toUnixTimestamp64Milli(kafka_timestamp), offset::Int64, occurred_at,
                                               requested_at, started_at, completed_at))),
        (toInt64(-1), CAST([], 'Array(Tuple(Int64, Int64, DateTime64(3, \'UTC\'), DateTime64(3, \'UTC\'), Nullable(DateTime64(3, \'UTC\')), Nullable(DateTime64(3, \'UTC\'))))'))
    ) AS kept
    FROM {{ source('silver', 'video_status') }} FINAL
    GROUP BY video_id, status
)
ARRAY JOIN kept.2 AS e
