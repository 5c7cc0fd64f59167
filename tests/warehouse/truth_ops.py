"""Daily metrics of operations: response times, uptime, and the time that work waits in queues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction

from tests.warehouse.read import Ops, Silver
from tests.warehouse.truth_videos import DAY_MS, counted_statuses

MINUTE_MS = 60_000
_VIDEOS_QUEUE = "video-generation"

#: (day number, metric, dimension, dimension_value, value)
Metric = tuple[int, str, str, str, float | None]


def _response_times(days: range, silver: Silver) -> Iterator[Metric]:
    took: dict[int, list[int]] = defaultdict(list)
    for event in silver.users:
        if event.response_time_ms is not None:
            took[event.at // DAY_MS].append(event.response_time_ms)
    for call in silver.ops:
        if call.kind == "api_request":
            took[call.at // DAY_MS].append(call.fields["response_time_ms"])
    for day in days:
        times = sorted(took[day])
        # Nearest rank: position ceil(n * 95 / 100), counted from 1.
        value = float(times[(len(times) * 95 + 99) // 100 - 1]) if times else None
        yield day, "api_response_time_p95_ms", "", "", value


def _uptime(days: range, silver: Silver) -> Iterator[Metric]:
    minutes: dict[int, dict[str, dict[int, Ops]]] = defaultdict(lambda: defaultdict(dict))
    for event in silver.ops:
        if event.kind != "health":
            continue
        minute = event.at % DAY_MS // MINUTE_MS
        there = minutes[event.at // DAY_MS][event.service]
        before = there.get(minute)
        if before is None or (event.at, event.event_id) > (before.at, before.event_id):
            there[minute] = event
    for day in days:
        services = minutes[day]
        end = 1440
        if services and day == days[-1]:
            end = 1 + max(minute for seen in services.values() for minute in seen)
        up = due = 0
        for service, seen in services.items():
            good = sum(event.fields["ok"] for event in seen.values())
            watched = end - min(seen)
            yield day, "system_uptime", "service", service, float(Fraction(100 * good, watched))
            up, due = up + good, due + watched
        yield day, "system_uptime", "", "", float(Fraction(100 * up, due)) if due else None


def _queues(days: range, silver: Silver) -> Iterator[Metric]:
    waits: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for event in counted_statuses(silver.videos):
        if event.status == "started":
            wait = event.fields["started_at"] - event.fields["requested_at"]
            waits[event.at // DAY_MS][_VIDEOS_QUEUE].append(wait)
    for item in silver.ops:
        if item.kind == "queue":
            wait = item.fields["processing_start"] - item.fields["queued_at"]
            waits[item.at // DAY_MS][item.fields["queue"]].append(wait)
    for day in days:
        for queue, times in waits[day].items():
            mean = float(Fraction(sum(times), 1000 * len(times)))
            yield day, "queue_processing_time_seconds", "queue", queue, mean
        every = [wait for times in waits[day].values() for wait in times]
        value = float(Fraction(sum(every), 1000 * len(every))) if every else None
        yield day, "queue_processing_time_seconds", "", "", value


def ops_metrics(days: range, silver: Silver) -> Iterator[Metric]:
    """All of them, for all days."""
    yield from _response_times(days, silver)
    yield from _uptime(days, silver)
    yield from _queues(days, silver)
