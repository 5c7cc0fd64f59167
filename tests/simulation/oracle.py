"""What must come out, computed from the logs by the written rules; shares no code with the product, on purpose."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

_SIZES: Final = (("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000))
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_REQUIRED: Final = {"user-events": "user_id", "video-status": "video_id", "cost-events": "amount_usd"}
_WEEK_MS: Final = 7 * 86_400_000

#: measure, dimension, value, size, start: where an event counts; with what; and whether after the window's end.
Place = tuple[str, str, str, str, int]


class Counted(NamedTuple):
    """One event that counts: its offset, its log time's minute, and its places (place, payload, after the end)."""

    offset: int
    log_minute_ms: int
    places: list[tuple[Place, Any, bool]]


class Judged(NamedTuple):
    """One log: what counts, what is a dead letter (offset -> reason), and which offsets count nowhere else."""

    counted: list[Counted]
    dead: dict[int, str]
    skipped: int


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _read(topic: str, value: bytes | None) -> tuple[dict[str, Any], int] | str:
    """The event and its time, or the reason why it is none."""
    try:
        event = json.loads(value or b"")
        if not _UUID.fullmatch(event["event_id"]):
            return "malformed"
        if event["schema_version"].split(".")[0] != "1":
            return "unknown_version"
        _ = event[_REQUIRED[topic]]
        return event, _ms(event["occurred_at"])
    except (ValueError, KeyError, TypeError):
        return "malformed"


def judge(
    topic: str,
    records: Iterable[Any],
    measures: Container[str] | None = None,
    forgotten: tuple[int, int] | None = None,
    timeless: int | None = None,
) -> Judged:
    """Apply the rules to one log from its beginning; records have offset, timestamp (ms) and value. `measures`: where
    events count, None for everywhere. `forgotten` (first, end): ids and statuses of these offsets are not known from
    `end` on, nor are, with `timeless`, log time and highest event time of what came after that offset."""
    counted: list[Counted] = []
    dead: dict[int, str] = {}
    skipped = 0
    log_ms = highest = -(10**18)
    before = (log_ms, highest)
    ids: dict[str, int] = {}
    statuses: dict[tuple[int, str], int] = {}
    accepted_at: dict[Any, int] = {}
    for record in records:
        if forgotten is not None and record.offset >= forgotten[1]:
            ids = {key: ms for key, ms in ids.items() if accepted_at[key] < forgotten[0]}
            statuses = {key: ms for key, ms in statuses.items() if accepted_at[key] < forgotten[0]}
            forgotten = None
            if timeless is not None:
                log_ms, highest = before
        if timeless is None or record.offset <= timeless + 1:
            before = (log_ms, highest)
        log_ms = max(log_ms, record.timestamp)
        read = _read(topic, record.value)
        if isinstance(read, str):
            dead[record.offset] = read
            continue
        event, at = read
        if at > log_ms + 300_000:
            dead[record.offset] = "future_event"
            continue
        event_id = event["event_id"].lower()
        if log_ms - ids.get(event_id, -(10**18)) <= 600_000:
            skipped += 1
            continue
        ids[event_id], accepted_at[event_id] = log_ms, record.offset
        if topic == "video-status":
            status = (event["video_id"], event["status"])
            if log_ms - statuses.get(status, -(10**18)) <= _WEEK_MS:
                skipped += 1
                continue
            statuses[status], accepted_at[status] = log_ms, record.offset
        counted.append(Counted(record.offset, log_ms - log_ms % 60_000, _places(topic, event, at, highest, measures)))
        highest = max(highest, at)
    return Judged(counted, dead, skipped)


def _places(
    topic: str, event: dict[str, Any], at: int, highest: int, measures: Container[str] | None
) -> list[tuple[Place, Any, bool]]:
    given = [each for each in _GIVES[topic](event) if measures is None or each[0][0] in measures]
    found: list[tuple[Place, Any, bool]] = []
    for size, size_ms in _SIZES:
        start = at - at % size_ms
        end = start + size_ms
        if end + 600_000 <= highest:
            continue
        found += [((*name, size, start), payload, end <= highest) for name, payload in given]
    has_entity = topic == "cost-events" and event["video_id"] is not None
    if has_entity and (measures is None or "cost_per_video" in measures):
        entity = ("cost_per_video", "video_id", str(event["video_id"]), "all", 0)
        found.append((entity, (event["event_id"].lower(), _e4(event["amount_usd"])), False))
    return found


def _e4(text: str) -> int:
    return round(float(text) * 10_000)


Given = list[tuple[tuple[str, str, str], Any]]


def _user(event: dict[str, Any]) -> Given:
    given: Given = [(("active_users", "", ""), event["user_id"]), (("user_events", "", ""), 1)]
    given.append((("user_events", "activity_type", event["activity_type"]), 1))
    spent = event.get("response_time_ms")
    return given if spent is None else [*given, (("api_response_time", "", ""), spent)]


def _cost(event: dict[str, Any]) -> Given:
    amount = _e4(event["amount_usd"])
    given: Given = [(("total_cost", "", ""), amount), (("total_cost", "component", event["component"]), amount)]
    video = event["video_id"]
    return given if video is None else [*given, (("cost_by_video", "", ""), (video, amount))]


def _video(event: dict[str, Any]) -> Given:
    status = event["status"]
    groups = [("", ""), ("niche", event.get("niche", "unknown")), ("video_type", event.get("video_type", "unknown"))]
    given: Given = [((f"videos_{status}", *group), 1) for group in groups]
    if status == "completed":
        spent = _ms(event["completed_at"]) - _ms(event["requested_at"])
        given += [(("generation_time", *group), spent) for group in groups]
    if status == "started":
        spent = _ms(event["started_at"]) - _ms(event["requested_at"])
        given += [(("queue_time", *group), spent) for group in (("", ""), ("queue", "video-generation"))]
    if status in ("completed", "published"):
        given.append((("video_success", "", ""), status == "published"))
    return given


_GIVES: Final[dict[str, Callable[[dict[str, Any]], Given]]] = {
    "user-events": _user,
    "cost-events": _cost,
    "video-status": _video,
}


class Value(NamedTuple):
    """A published value: None for null; how many it is made of; how many came after the window's end."""

    value: float | None
    count: int
    late: int


def publish(places: dict[Place, list[tuple[Any, bool]]]) -> dict[Place, Value]:
    """Values of all metrics of all places; the place's measure is replaced by the metric's name."""
    values: dict[Place, Value] = {}
    for (measure, *rest), taken in places.items():
        payloads, lates = zip(*taken, strict=True)
        late = sum(lates)
        for metric, number, count in _METRICS.get(measure, _videos)(measure, payloads):
            values[(metric, *rest)] = Value(number, count, late)  # type: ignore[assignment]
    return values


def gather(
    logs: Iterable[tuple[Any, Judged]], counts: Callable[[Any, Place, Counted], bool] | None = None
) -> dict[Place, list[tuple[Any, bool]]]:
    """What each place takes in, over all logs; `counts(log, place, event)` leaves out what need not be there."""
    places: dict[Place, list[tuple[Any, bool]]] = defaultdict(list)
    for log, judged in logs:
        for event in judged.counted:
            for place, payload, after in event.places:
                if counts is None or counts(log, place, event):
                    places[place].append((payload, after))
    return places


Rows = list[tuple[str, float | None, int]]


def _videos(measure: str, taken: Sequence[Any]) -> Rows:
    return [(measure, len(taken), len(taken))]


def _percentiles(_: str, taken: Sequence[Any]) -> Rows:
    ordered = sorted(taken)
    ranks = ((p, ordered[math.ceil(p * len(ordered) / 100) - 1]) for p in (50, 95, 99))
    return [(f"api_response_time_p{p}_ms", number, len(taken)) for p, number in ranks]


def _success(_: str, taken: Sequence[Any]) -> Rows:
    published = sum(taken)
    completed = len(taken) - published
    return [("video_success_rate", 100 * published / completed if completed else None, completed)]


def _by_video(_: str, taken: Sequence[Any]) -> Rows:
    videos = len({video for video, _ in taken})
    return [("avg_cost_per_video_usd", sum(amount for _, amount in taken) / videos / 10_000, videos)]


def _entity(_: str, taken: Sequence[Any]) -> Rows:
    amounts = dict(taken)
    return [("cost_per_video_usd", sum(amounts.values()) / 10_000, len(amounts))]


def _mean(name: str) -> Callable[[str, Sequence[Any]], Rows]:
    return lambda _, taken: [(name, sum(taken) / len(taken) / 1000, len(taken))]


_METRICS: Final[dict[str, Callable[[str, Sequence[Any]], Rows]]] = {
    "active_users": lambda _, taken: [("active_users", len(set(taken)), len(taken))],
    "api_response_time": _percentiles,
    "generation_time": _mean("avg_generation_time_seconds"),
    "queue_time": _mean("queue_processing_time_seconds"),
    "video_success": _success,
    "total_cost": lambda _, taken: [("total_cost_usd", sum(taken) / 10_000, len(taken))],
    "cost_by_video": _by_video,
    "cost_per_video": _entity,
}
