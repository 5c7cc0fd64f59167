"""Puts into gold and meta what the workers would have written by a moment, by the sinks themselves."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from schemas.alerts import AlertState, AlertTransition
from schemas.results import ALL, FINAL, OPEN, SIZES_MS, MetricValue
from streamproc.catalogue import METRICS, Metric
from streamproc.catalogue.metrics import WINDOWS
from streamproc.sinks.alerts_store import GoldAlerts
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.lost_offsets_store import NOT_COUNTED, LostOffsets, LostOffsetsStore
from streamproc.sinks.windows_sink import WindowsSink

#: Windows of each size: the one that is open, and those before it.
DEEP = 8
#: Values of each dimension: more than a panel shows.
WIDE = 15
ENTITIES = 25
LATE = 3


def value_of(metric: str, window: str, ago: int, value: int) -> float:
    """What the window `ago` windows before the open one says; `value` counts the dimension's values from 1, 0: the total."""
    number = next(at for at, each in enumerate(METRICS) if each.name == metric)
    return number * 1000 + WINDOWS.index(window) * 100 + ago * 10 + value / 16


def windows(now_ms: int) -> Iterator[MetricValue]:
    """Every windowed metric, in all sizes and dimensions; each once as it was first, and then as it is."""
    for metric in METRICS:
        if metric.entity:
            continue
        for window in WINDOWS:
            for ago in range(DEEP):
                for dimension, value, number in _series(metric):
                    is_so = _window(metric.name, window, now_ms, ago, (dimension, value), number)
                    yield msgspec.structs.replace(is_so, value=-1.0, version=1, status=OPEN)
                    yield is_so


def _series(metric: Metric) -> Iterator[tuple[str, str, int]]:
    yield "", "", 0
    for dimension in metric.dimensions:
        for number in range(1, WIDE + 1):
            yield dimension, f"kind-{number:02}", number


def _window(metric: str, window: str, now_ms: int, ago: int, series: tuple[str, str], number: int) -> MetricValue:
    size = SIZES_MS[window]
    start = now_ms // size * size - ago * size
    return MetricValue(
        metric=metric,
        size=window,
        dimension=series[0],
        dimension_value=series[1],
        window_start_ms=start,
        window_end_ms=start + size,
        value=value_of(metric, window, ago, number),
        # The values with the highest numbers are the largest.
        count=100 + number,
        sum_e4=0,
        status=FINAL if ago else OPEN,
        late=LATE if ago == 1 and number == 0 else 0,
        version=2,
        updated_at_ms=now_ms,
    )


def totals(now_ms: int) -> Iterator[MetricValue]:
    """Of each entity's total an older version, and the newest: number N costs N / 10 USD, and changed N minutes ago."""
    for metric in METRICS:
        for number in range(1, ENTITIES + 1) if metric.entity else ():
            for version, value in ((1, 99.0), (2, number / 10)):
                at = now_ms - number * 60_000 - (60_000 if version == 1 else 0)
                place = (metric.name, ALL, "", str(number), 0, 0)
                yield MetricValue(*place, value, number, int(value * 10_000), "", 0, version, at)


def alerts(now_ms: int) -> list[AlertTransition]:
    """One that was resolved, one that fires for an hour, one for ten days; the first was delivered."""
    hour = 3_600_000

    def one(name: str, seq: int, state: AlertState, ago_ms: int, **more: object) -> AlertTransition:
        at = now_ms - ago_ms
        plain = {
            "transition_id": f"{name}-{seq}",
            "fingerprint": name * 8,
            "seq": seq,
            "rule": f"rule-{name}",
            "severity": "warning",
            "state": state,
            "labels": {"video_id": "7"},
            "metric": "cost_per_video_usd",
            "window": "1d",
            "window_start_ms": at,
            "window_end_ms": at,
            "value": 2.75,
            "threshold": 2.5,
            "operator": ">",
            "unit": "USD",
            "summary": f"alert {name}",
            "event_time_ms": at,
            "recorded_at_ms": at,
            "started_at_ms": at,
        }
        return msgspec.convert(plain | more, AlertTransition)

    first = one("a", 1, AlertState.FIRING, 2 * hour)
    return [
        first,
        msgspec.structs.replace(first, kind="delivery", delivery="slack", recorded_at_ms=now_ms - 2 * hour + 500),
        one("a", 2, AlertState.RESOLVED, hour // 2),
        one("b", 1, AlertState.FIRING, hour),
        one("c", 1, AlertState.FIRING, 240 * hour),
    ]


async def write_all(url: str, now_ms: int) -> None:
    """Everything above, dead letters (of two reasons, one of them written twice) and lost records."""
    clickhouse = ClickHouse(url)
    try:
        sink = WindowsSink(clickhouse)
        values = list(windows(now_ms))
        # Versions in inserts of their own: parts that only FINAL brings together.
        for version in (1, 2):
            await sink.write([], [value for value in (*values, *totals(now_ms)) if value.version == version])
        await GoldAlerts(clickhouse).write(alerts(now_ms))
        lost = LostOffsets("user-events", 3, "log", 10, 29, now_ms - 60_000, NOT_COUNTED)
        await LostOffsetsStore(clickhouse).write([lost])
    finally:
        await clickhouse.close()


def dead_letters_sql(now_ms: int) -> str:
    """Statement for three letters: one of them written twice, five seconds apart."""
    rows = ", ".join(
        f"('cost-events', 0, 'log', {offset}, 'wrong', '{reason}', '', '', "
        f"fromUnixTimestamp64Milli({now_ms - ago * 1000}), fromUnixTimestamp64Milli({now_ms - ago * 1000}))"
        for offset, reason, ago in (
            (1, "malformed", 605),
            (1, "malformed", 600),
            (2, "malformed", 601),
            (3, "too_large", 602),
        )
    )
    return f"""INSERT INTO meta.dead_letters
               (topic, partition, log_id, offset, error, reason, key, payload, kafka_timestamp, recorded_at) VALUES {rows}"""
