"""SQL of the panels, with the macros of Grafana's ClickHouse plugin ($__fromTime and the like) and the variable `window`.

Every query bounds its scan by the time range through a sorting or partition key. None has SETTINGS of its own, which a
user with readonly = 1 may not set. `time` and `series` are what the plugin makes lines of.
"""

# ruff: noqa: S608 (what is put in are names of the catalogue and of this module, nothing from outside)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.results import SIZES_MS
from streamproc.catalogue.metrics import WINDOWS

#: Lines of one dimension in one panel; a dimension may have 1,000 values, which no browser draws and nobody reads.
MOST_SERIES: Final = 12
#: How far before the range an alert may have begun that is still shown as firing.
FIRING_DAYS: Final = 90

_WINDOW: Final = "${window:singlequote}"
_SECONDS: Final = ", ".join(f"{_WINDOW} = '{name}', {SIZES_MS[name] // 1000}" for name in WINDOWS[:-1])
#: The length of the chosen window. Not transform(): ClickHouse does not fold that to a constant before it looks at the key,
#: and then read all windows before the range (573,000 rows instead of the range's).
_SIZE: Final = f"multiIf({_SECONDS}, {SIZES_MS[WINDOWS[-1]] // 1000})"
# Windows that touch the range, not those that begin in it: the day's window began before "the last 6 hours".
_TOUCHING: Final = f"window = {_WINDOW} AND window_start > $__fromTime - {_SIZE} AND window_start <= $__toTime"
#: The one window that begins before the range is drawn at its edge.
_TIME: Final = "greatest(window_start, $__fromTime) AS time"
_SERIES: Final = "if(dimension = '', 'total', concat(dimension, ' ', dimension_value)) AS series"
_DAYS: Final = "day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC')"
_CREATED: Final = "created_date >= toDate($__fromTime, 'UTC') AND created_date <= toDate($__toTime, 'UTC')"

# The newest version of each video by hand: with FINAL, ClickHouse reads all partitions, for a row could have moved between them.
_VIDEOS: Final = f"""FROM (
  SELECT * FROM gold.fact_video_generation
  WHERE {_CREATED}
    AND $__timeFilter(requested_at)
  ORDER BY updated_at DESC LIMIT 1 BY video_id
)"""


def _list(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def live_series(metric: str, dimensions: Sequence[str]) -> str:
    """time, series, value: the total, and the largest values of each dimension by count."""
    which = f"metric = '{metric}' AND {_TOUCHING}\n  AND dimension IN ({_list(('', *dimensions))})"
    largest = f"""
  AND (dimension, dimension_value) IN (
    SELECT dimension, dimension_value FROM gold.windows_latest
    WHERE {which}
    GROUP BY dimension, dimension_value
    ORDER BY dimension, sum(count) DESC, dimension_value LIMIT {MOST_SERIES} BY dimension
  )"""
    return f"""SELECT {_TIME}, {_SERIES}, value
FROM gold.windows_latest
WHERE {which}{largest if dimensions else ""}
ORDER BY time, series"""


def day_of_window(metric: str, dimension: str) -> str:
    """time, series, value: the 1d window of the day in which the range ends."""
    return f"""SELECT window_start AS time, {_SERIES}, value
FROM gold.windows_latest
WHERE metric = '{metric}' AND window = '1d' AND dimension = '{dimension}'
  AND window_start = toStartOfDay($__toTime, 'UTC')
ORDER BY time, value DESC, series LIMIT {MOST_SERIES}"""


def daily_series(metric: str, dimension: str) -> str:
    """time, series, value: a daily metric, the total and by its dimension."""
    dimensions = ("", dimension) if dimension else ("",)
    return f"""SELECT toDateTime(day, 'UTC') AS time, {_SERIES}, value
FROM gold.daily_metrics FINAL
WHERE metric = '{metric}' AND grain = 'day' AND dimension IN ({_list(dimensions)})
  AND {_DAYS}
ORDER BY time, series"""


def finances() -> str:
    """time and four amounts a day, USD; refunds and costs are negative, so that bars show what is left."""
    return f"""SELECT toDateTime(day, 'UTC') AS time, toFloat64(subscription) AS payments, toFloat64(youtube) AS youtube,
  -toFloat64(refunds) AS refunds, -toFloat64(cost) AS costs
FROM gold.financial_daily FINAL
WHERE {_DAYS}
ORDER BY time"""


def cohorts() -> str:
    """cohort, week, rate: cohorts that begin in the range, a row a cohort and week."""
    return """SELECT toString(cohort_week) AS cohort, concat('week ', leftPad(toString(weeks_since), 2, '0')) AS week, rate
FROM gold.retention_weekly
WHERE cohort_week >= toMonday(toDate($__fromTime, 'UTC')) AND cohort_week <= toDate($__toTime, 'UTC')
ORDER BY week, cohort"""


def funnel(steps: Sequence[tuple[str, str]]) -> str:
    """One row, a column a step (label, metric): videos in the windows that touch the range."""
    columns = ",\n  ".join(f"sumIf(value, metric = '{metric}') AS {label}" for label, metric in steps)
    return f"""SELECT {columns}
FROM gold.windows_latest
WHERE metric IN ({_list(metric for _, metric in steps)}) AND {_TOUCHING}
  AND dimension = '' AND dimension_value = ''"""


def videos_by_niche() -> str:
    """A row a niche: how far the videos came that were requested in the range."""
    return f"""SELECT ifNull(niche, 'unknown') AS niche, count() AS requested, count(started_at) AS started,
  count(completed_at) AS completed, count(published_at) AS published, countIf(status = 'failed') AS failed,
  avg(generation_time_seconds) AS generation_time, avg(toFloat64(total_cost)) AS cost
{_VIDEOS}
GROUP BY niche
ORDER BY requested DESC, niche LIMIT 50"""


def failures() -> str:
    """error, videos: why the videos failed that were requested in the range."""
    return f"""SELECT ifNull(error, 'not said') AS error, count() AS videos
{_VIDEOS}
WHERE status = 'failed'
GROUP BY error
ORDER BY videos DESC, error LIMIT 20"""


def dearest_entities(metric: str, entity: str) -> str:
    """The dearest running totals among those that changed in the range."""
    # Not FINAL, which would merge all that ever was: the newest version of what changed is enough.
    return f"""SELECT entity AS {entity}, argMax(value, version) AS total, argMax(count, version) AS costs,
  max(updated_at) AS last_cost
FROM gold.entities
WHERE metric = '{metric}' AND $__timeFilter(updated_at)
GROUP BY entity
ORDER BY total DESC, entity LIMIT 20"""


def dearest_videos(components: Sequence[str]) -> str:
    """The dearest videos that were requested in the range, with what each part cost."""
    parts = ", ".join(f"toFloat64({component}_cost) AS {component}" for component in components)
    return f"""SELECT toString(video_id) AS video_id, title, ifNull(niche, 'unknown') AS niche, status,
  toFloat64(total_cost) AS total, {parts}
{_VIDEOS}
ORDER BY total DESC, video_id LIMIT 20"""


# The newest transition of each instance; a repeat of a transition is left out like an older one.
_FIRING: Final = f"""FROM (
  SELECT * FROM gold.alerts
  WHERE kind = 'transition' AND recorded_at > $__fromTime - INTERVAL {FIRING_DAYS} DAY
    AND recorded_at < $__toTime + INTERVAL 1 SECOND
  ORDER BY seq DESC, version DESC LIMIT 1 BY fingerprint
)
WHERE state = 'firing'"""


def firing_count() -> str:
    """firing: how many alert instances fire at the end of the range."""
    return f"SELECT count() AS firing\n{_FIRING}"


def firing() -> str:
    """A row an alert instance that fires at the end of the range."""
    return f"""SELECT started_at AS since, severity, rule, value, threshold, unit, summary, inhibited_by
{_FIRING}
ORDER BY since DESC, rule LIMIT 100"""


def transitions() -> str:
    """The latest changes of state in the range, and what became of their delivery."""
    return """SELECT t.recorded_at AS time, t.state AS state, t.severity AS severity, t.rule AS rule, t.summary AS summary,
  d.delivery AS delivery
FROM (
  SELECT * FROM gold.alerts
  WHERE kind = 'transition' AND $__timeFilter(recorded_at)
  ORDER BY recorded_at DESC LIMIT 1 BY transition_id LIMIT 100
) AS t
LEFT JOIN (
  SELECT transition_id, argMax(delivery, recorded_at) AS delivery FROM gold.alerts
  WHERE kind = 'delivery' AND recorded_at >= $__fromTime
  GROUP BY transition_id
) AS d ON d.transition_id = t.transition_id
ORDER BY time DESC, rule"""


def late(metrics: Iterable[str]) -> str:
    """time, series, value: events taken in after the end of their window, by metric."""
    return f"""SELECT {_TIME}, metric AS series, toFloat64(late) AS value
FROM gold.windows_latest
WHERE metric IN ({_list(metrics)}) AND {_TOUCHING}
  AND dimension = '' AND dimension_value = '' AND late > 0
ORDER BY time, series"""


def window_statuses(metrics: Iterable[str]) -> str:
    """A row a status: how many windows of the totals are open, final, or were corrected after that."""
    return f"""SELECT status, count() AS windows, sum(late) AS late_events
FROM gold.windows_latest
WHERE metric IN ({_list(metrics)}) AND {_TOUCHING}
  AND dimension = '' AND dimension_value = ''
GROUP BY status
ORDER BY status"""


def dead_letters() -> str:
    """time, series, value: refused records by reason, each place once however often it was written."""
    return """SELECT $__timeInterval(recorded_at) AS time, reason AS series,
  toFloat64(uniqExact(topic, partition, log_id, offset)) AS value
FROM meta.dead_letters
WHERE $__timeFilter(recorded_at)
GROUP BY time, series
ORDER BY time, series"""


def lost_offsets() -> str:
    """A row a range of records that a broker deleted before they were read."""
    return """SELECT found_at AS time, topic, partition, log_id, first, last, last + 1 - first AS records, reason
FROM meta.lost_offsets FINAL
WHERE $__timeFilter(found_at)
ORDER BY time DESC, topic, partition, first LIMIT 100"""


def builds() -> str:
    """A row a gold model: when it was last built, within the 30 days that are kept."""
    return """SELECT model, max(built_at) AS last_build, dateDiff('second', last_build, $__toTime) AS age
FROM meta.build_marks
WHERE built_at <= $__toTime
GROUP BY model
ORDER BY model"""
