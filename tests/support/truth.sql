-- The written rules of contracts.md over table rec (one row a record, as the broker has it). Run by tests/support/truth.py.

-- Log time: the running maximum of Kafka timestamps in a partition.
CREATE TABLE logged AS
SELECT *, max(kafka_ms) OVER (PARTITION BY topic, part ORDER BY off) AS log_ms FROM rec;

CREATE TABLE judged AS
SELECT * EXCLUDE (reason),
       CASE WHEN reason <> '' THEN reason WHEN occurred_ms > log_ms + 300000 THEN 'future_event' ELSE '' END AS reason
FROM logged;

-- A duplicate: an accepted record of the partition with a lower offset lies at most 600,000 ms of log time before.
-- Duplicates are not accepted themselves, so a chain is followed from one accepted record to the next.
CREATE TABLE same_id AS
SELECT topic, part, event_id, off, log_ms FROM judged WHERE reason = ''
QUALIFY count(*) OVER (PARTITION BY topic, part, event_id) > 1;

CREATE TABLE duplicates AS
WITH RECURSIVE accepted AS (
    SELECT topic, part, event_id, min(off) AS off, arg_min(log_ms, off) AS log_ms FROM same_id GROUP BY ALL
    UNION ALL
    SELECT s.topic, s.part, s.event_id, min(s.off) AS off, arg_min(s.log_ms, s.off) AS log_ms
    FROM accepted a JOIN same_id s
      ON s.topic = a.topic AND s.part = a.part AND s.event_id = a.event_id AND s.log_ms > a.log_ms + 600000
    GROUP BY s.topic, s.part, s.event_id
)
SELECT topic, part, off FROM same_id ANTI JOIN accepted USING (topic, part, off);

CREATE TABLE accepted AS
SELECT * FROM judged ANTI JOIN duplicates USING (topic, part, off) WHERE reason = '';

-- A status of a video counts once in 7 days of log time; repeats change nothing.
CREATE TABLE same_status AS
SELECT topic, part, video_id, status, off, log_ms FROM accepted WHERE topic = 'video-status'
QUALIFY count(*) OVER (PARTITION BY topic, part, video_id, status) > 1;

CREATE TABLE repeats AS
WITH RECURSIVE counted AS (
    SELECT topic, part, video_id, status, min(off) AS off, arg_min(log_ms, off) AS log_ms FROM same_status GROUP BY ALL
    UNION ALL
    SELECT s.topic, s.part, s.video_id, s.status, min(s.off) AS off, arg_min(s.log_ms, s.off) AS log_ms
    FROM counted c JOIN same_status s
      ON s.topic = c.topic AND s.part = c.part AND s.video_id = c.video_id AND s.status = c.status
     AND s.log_ms > c.log_ms + 604800000
    GROUP BY s.topic, s.part, s.video_id, s.status
)
SELECT topic, part, off FROM same_status ANTI JOIN counted USING (topic, part, off);

-- Highest event time of the accepted events before a record in its partition.
CREATE TABLE counted AS
SELECT *, max(occurred_ms) OVER (
           PARTITION BY topic, part ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest_ms
FROM accepted ANTI JOIN repeats USING (topic, part, off);

CREATE TABLE sized AS
SELECT c.*, s.size, (occurred_ms // s.ms) * s.ms AS start_ms,
       coalesce(start_ms + s.ms + 600000 <= highest_ms, false) AS is_late,
       coalesce(start_ms + s.ms <= highest_ms, false) AS after_end
FROM counted c CROSS JOIN (VALUES ('1m', 60000), ('5m', 300000), ('1h', 3600000), ('1d', 86400000)) AS s (size, ms);

CREATE TABLE taken AS SELECT * FROM sized WHERE NOT is_late;

-- User events.
CREATE TABLE windows AS
SELECT 'active_users' AS metric, size, start_ms, '' AS dimension, '' AS dimension_value,
       count(DISTINCT user_id)::DOUBLE AS value, count(*) AS n, count_if(after_end) AS late
FROM taken WHERE topic = 'user-events' GROUP BY size, start_ms;

INSERT INTO windows
SELECT 'user_events', size, start_ms,
       CASE WHEN grouping(activity_type) = 1 THEN '' ELSE 'activity_type' END, coalesce(activity_type, ''),
       count(*), count(*), count_if(after_end)
FROM taken WHERE topic = 'user-events'
GROUP BY GROUPING SETS ((size, start_ms), (size, start_ms, activity_type));

-- Nearest rank: the value at position ceil(n * p / 100), counted from 1.
INSERT INTO windows
SELECT 'api_response_time_p' || p || '_ms', size, start_ms, '', '', sorted[(n * p + 99) // 100], n, late
FROM (SELECT size, start_ms, list_sort(list(response_time_ms)) AS sorted, count(*) AS n, count_if(after_end) AS late
      FROM taken WHERE response_time_ms IS NOT NULL
                   AND (topic = 'user-events' OR (topic = 'ops-events' AND kind = 'api_request'))
      GROUP BY size, start_ms)
CROSS JOIN (VALUES (50), (95), (99)) AS ranks (p);

-- Videos; a dimension that is missing counts under `unknown`.
CREATE TABLE videos AS
SELECT * REPLACE (coalesce(niche, 'unknown') AS niche, coalesce(video_type, 'unknown') AS video_type)
FROM taken WHERE topic = 'video-status';

CREATE TABLE video_groups AS
SELECT status, size, start_ms, d.dimension,
       CASE d.dimension WHEN 'niche' THEN niche WHEN 'video_type' THEN video_type ELSE '' END AS dimension_value,
       count(*) AS n, count_if(after_end) AS late,
       sum(completed_ms - requested_ms) AS generation_ms
FROM videos CROSS JOIN (VALUES (''), ('niche'), ('video_type')) AS d (dimension)
GROUP BY status, size, start_ms, d.dimension, 5;

INSERT INTO windows
SELECT 'videos_' || status, size, start_ms, dimension, dimension_value, n, n, late FROM video_groups;

INSERT INTO windows
SELECT 'avg_generation_time_seconds', size, start_ms, dimension, dimension_value, generation_ms / n / 1000, n, late
FROM video_groups WHERE status = 'completed';

-- Time in queues: of videos until they were started, and of ops events `queue`.
CREATE TABLE waits AS
SELECT size, start_ms, 'video-generation' AS queue, started_ms - requested_ms AS waited_ms, after_end
FROM taken WHERE topic = 'video-status' AND status = 'started'
UNION ALL
SELECT size, start_ms, queue, begun_ms - queued_ms, after_end FROM taken WHERE topic = 'ops-events' AND kind = 'queue';

INSERT INTO windows
SELECT 'queue_processing_time_seconds', size, start_ms, CASE WHEN grouping(queue) = 1 THEN '' ELSE 'queue' END,
       coalesce(queue, ''), sum(waited_ms) / count(*) / 1000, count(*), count_if(after_end)
FROM waits GROUP BY GROUPING SETS ((size, start_ms), (size, start_ms, queue));

-- Calls of AI services.
INSERT INTO windows
SELECT 'ai_error_rate', size, start_ms, CASE WHEN grouping(provider) = 1 THEN '' ELSE 'provider' END,
       coalesce(provider, ''), 100.0 * count_if(ok = 0) / count(*), count(*), count_if(after_end)
FROM taken WHERE topic = 'ops-events' AND kind = 'ai_call'
GROUP BY GROUPING SETS ((size, start_ms), (size, start_ms, provider));

INSERT INTO windows
SELECT 'ai_latency_p95_ms', size, start_ms, dimension, provider, sorted[(n * 95 + 99) // 100], n, late
FROM (SELECT size, start_ms, CASE WHEN grouping(provider) = 1 THEN '' ELSE 'provider' END AS dimension,
             coalesce(provider, '') AS provider, list_sort(list(latency_ms)) AS sorted, count(*) AS n,
             count_if(after_end) AS late
      FROM taken WHERE topic = 'ops-events' AND kind = 'ai_call'
      GROUP BY GROUPING SETS ((size, start_ms), (size, start_ms, provider)));

INSERT INTO windows
SELECT 'video_success_rate', size, start_ms, '', '',
       CASE WHEN completed > 0 THEN 100.0 * published / completed END, completed, late
FROM (SELECT size, start_ms, count_if(status = 'published') AS published, count_if(status = 'completed') AS completed,
             count_if(after_end) AS late
      FROM videos WHERE status IN ('completed', 'published') GROUP BY size, start_ms);

-- Uptime: of each minute of each service the last health event (by time, then id) says whether it was up; a silent minute is
-- down. A service counts from its first minute in the window: to the window's end once that is over, before that to the newest
-- minute that is known (`open_value`, `open_n`).
CREATE TABLE health AS
SELECT size, ms, start_ms, service, occurred_ms // 60000 AS minute, arg_max(ok, (occurred_ms, event_id)) AS up,
       count(*) AS n, count_if(after_end) AS late
FROM (SELECT * REPLACE (lower(event_id) AS event_id), CASE size WHEN '1m' THEN 60000 WHEN '5m' THEN 300000
             WHEN '1h' THEN 3600000 ELSE 86400000 END AS ms
      FROM taken WHERE topic = 'ops-events' AND kind = 'health')
GROUP BY ALL;

CREATE TABLE services AS
SELECT size, start_ms, d.dimension, service, (start_ms + ms) // 60000 AS end_minute, min(minute) AS first, max(minute) + 1 AS next,
       sum(up) AS up, sum(late) AS late
FROM health CROSS JOIN (VALUES (''), ('service')) AS d (dimension) GROUP BY ALL;

CREATE TABLE uptimes AS
SELECT size, start_ms, dimension, CASE dimension WHEN '' THEN '' ELSE service END AS dimension_value, sum(up) AS up,
       sum(end_minute - first) AS n, max(next) * count(*) - sum(first) AS open_n, sum(late) AS late
FROM services GROUP BY size, start_ms, dimension, 4;

INSERT INTO windows
SELECT 'system_uptime', size, start_ms, dimension, dimension_value, 100.0 * up / n, n, late FROM uptimes;

CREATE TABLE while_open AS
SELECT 'system_uptime' AS metric, size, start_ms, dimension, dimension_value, 100.0 * up / open_n AS value, open_n AS n, late
FROM uptimes;

-- Costs, in 1/10000 USD.
INSERT INTO windows
SELECT 'total_cost_usd', size, start_ms,
       CASE WHEN grouping(component) = 1 THEN '' ELSE 'component' END, coalesce(component, ''),
       sum(amount_e4) / 10000, count(*), count_if(after_end)
FROM taken WHERE topic = 'cost-events'
GROUP BY GROUPING SETS ((size, start_ms), (size, start_ms, component));

INSERT INTO windows
SELECT 'avg_cost_per_video_usd', size, start_ms, '', '',
       sum(amount_e4) / count(DISTINCT video_id) / 10000, count(DISTINCT video_id), count_if(after_end)
FROM taken WHERE topic = 'cost-events' AND video_id IS NOT NULL GROUP BY size, start_ms;

-- Totals by entity take every event whatever its age, and never an id twice: the lowest offset wins, and over several
-- partitions (some were added) the earlier minute of log time.
CREATE TABLE entities AS
SELECT 'cost_per_video_usd' AS metric, video_id, sum(amount_e4) / 10000 AS value, count(*) AS n
FROM (SELECT video_id, arg_min(amount_e4, (log_ms // 60000, part::VARCHAR, off)) AS amount_e4
      FROM accepted WHERE topic = 'cost-events' AND video_id IS NOT NULL GROUP BY video_id, event_id)
GROUP BY video_id;
