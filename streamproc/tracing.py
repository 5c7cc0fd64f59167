"""What became of an event, told from ClickHouse alone: where it lies, and by the written rules what that means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from schemas.outcomes import ALLOWED_LATENESS_MS, STATUS_HORIZON_MS
from schemas.results import SIZES_MS
from schemas.topics import BILLING_EVENTS, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from streamproc.catalogue import MEASURES, Measure, metrics_of_measure
from streamproc.clock import monotonic
from streamproc.deadletters.store import CLASS_SQL, WORDS_SQL
from streamproc.sinks.bronze import SILVER
from streamproc.sinks.bronze import TABLES as BRONZE
from streamproc.sinks.clickhouse_client import ClickHouse

#: Fields of silver that selectors, dimensions and entities look at.
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    USER_EVENTS: ("user_id", "activity_type", "response_time_ms"),
    VIDEO_STATUS: ("video_id", "status", "niche", "video_type"),
    COST_EVENTS: ("video_id", "component", "amount_e4"),
    OPS_EVENTS: ("service", "kind", "ok", "queue", "provider", "response_time_ms"),
    BILLING_EVENTS: ("user_id", "kind", "subscription_id"),
}
#: Bronze is searched so far: back from now, or to both sides of the event's time in Kafka.
_SEARCH_S: Final = 9 * 86_400
#: The same while waiting for an event, after one thorough search.
_WAITING_SEARCH_S: Final = 1_800
_POLL_S: Final = 0.25

COUNTED: Final = "counted"
DUPLICATE: Final = "duplicate"
REPEATED: Final = "repeated status"
DEAD: Final = "dead"
UNSORTED: Final = "not sorted yet"


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    log_id: str
    offset: int


@dataclass(slots=True)
class Found:
    """One record that carries the event, times in epoch ms. `late_for` names the window sizes that did not take it."""

    place: Place
    kafka_ms: int
    error: str = ""
    verdict: str = UNSORTED
    because: str = ""
    late_for: tuple[str, ...] = ()


class Window(NamedTuple):
    """Present value of a window that the event belongs to; `status` is '' while there is no row."""

    metric: str
    unit: str
    dimension: str
    dimension_value: str
    size: str
    start_ms: int
    value: float | None
    events: int
    status: str
    updated_ms: int


@dataclass(slots=True)
class Trace:
    """Everything that was found of an event."""

    event_id: str
    found: list[Found] = field(default_factory=list)
    occurred_ms: int | None = None
    windows: list[Window] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Nothing more is to be expected: dead, or counted and its windows published after it came."""
        if not self.found or any(record.verdict == UNSORTED for record in self.found):
            return False
        counted = [
            record.kafka_ms
            for record in self.found
            if record.verdict == COUNTED and len(record.late_for) < len(SIZES_MS)
        ]
        return not counted or any(window.updated_ms >= max(counted) for window in self.windows)


async def trace(clickhouse: ClickHouse, event_id: str, dedup_horizon_ms: int, wait_s: float = 0.0) -> Trace:
    """What is known of an event now, or as soon as it is settled within `wait_s` seconds.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    deadline = monotonic() + wait_s
    search_s = _SEARCH_S
    while True:
        result = await _Tracer(clickhouse, event_id.strip().lower(), dedup_horizon_ms, search_s).run()
        search_s = _WAITING_SEARCH_S
        if result.settled or monotonic() >= deadline:
            return result
        await asyncio.sleep(_POLL_S)


class _Tracer:
    def __init__(self, clickhouse: ClickHouse, event_id: str, dedup_horizon_ms: int, search_s: int) -> None:
        self._rows = clickhouse.rows
        self._search_s = search_s
        self._horizon_ms = dedup_horizon_ms
        self._trace = Trace(event_id)

    async def run(self) -> Trace:
        event: dict[str, Any] | None = None
        for topic in _FIELDS:
            event = event or await self._silver(topic)
        await self._bronze([event["place"].topic] if event else list(_FIELDS), event)
        await self._dead_letters()
        self._trace.found.sort(key=lambda record: (record.kafka_ms, record.place))
        if event is not None:
            await self._judge(event)
            await self._windows(event)
        return self._trace

    async def _silver(self, topic: str) -> dict[str, Any] | None:
        """The event's typed fields, from the lowest offset."""
        try:
            UUID(self._trace.event_id)
        except ValueError:
            return None
        names = ("partition", "log_id", "offset", "kafka_ms", "occurred_ms", *_FIELDS[topic])
        rows = await self._rows(
            f"""SELECT partition, log_id, offset, toUnixTimestamp64Milli(kafka_timestamp) AS kafka_ms,
                       toUnixTimestamp64Milli(occurred_at) AS occurred_ms, {", ".join(_FIELDS[topic])}
                FROM {SILVER[topic]} WHERE event_id = {{id:UUID}} ORDER BY offset LIMIT 1""",  # noqa: S608 (names of ours)
            {"id": self._trace.event_id},
        )
        if not rows:
            return None
        event = dict(zip(names, rows[0], strict=True))
        event["place"] = Place(topic, event["partition"], event["log_id"], event["offset"])
        self._trace.occurred_ms = event["occurred_ms"]
        self._note(event["place"], event["kafka_ms"], "")
        return event

    def _note(self, place: Place, kafka_ms: int, error: str) -> Found:
        for record in self._trace.found:
            if record.place == place:
                record.error = record.error or error
                return record
        record = Found(place, kafka_ms, error)
        self._trace.found.append(record)
        return record

    async def _bronze(self, topics: list[str], event: dict[str, Any] | None) -> None:
        """Every record with this id: a search through payloads, in one partition where silver knows it."""
        values: dict[str, Any] = {"id": self._trace.event_id, "around": self._search_s}
        narrow = "ingested_at >= now() - {around:UInt32}"
        if event:
            moment = "fromUnixTimestamp64Milli({kafka_ms:Int64}, 'UTC')"
            narrow = f"""partition = {{partition:UInt32}} AND kafka_timestamp
                BETWEEN {moment} - toIntervalSecond({{around:UInt32}}) AND {moment} + toIntervalSecond({{around:UInt32}})"""
            values |= {"partition": event["partition"], "kafka_ms": event["kafka_ms"]}
        for topic in topics:
            rows = await self._rows(
                f"""SELECT partition, log_id, offset, any(toUnixTimestamp64Milli(kafka_timestamp)), any(error)
                    FROM {BRONZE[topic]}
                    WHERE topic = {{topic:String}} AND {narrow} AND positionCaseInsensitive(payload, {{id:String}}) > 0
                      AND (lower(JSONExtractString(payload, 'event_id')) = {{id:String}} OR NOT isValidJSON(payload))
                    GROUP BY partition, log_id, offset ORDER BY offset LIMIT 100""",  # noqa: S608 (names of ours)
                values | {"topic": topic},
            )
            for partition, log_id, offset, kafka_ms, error in rows:
                self._note(Place(topic, partition, log_id, offset), kafka_ms, error)

    async def _dead_letters(self) -> None:
        rows = await self._rows(
            f"""SELECT topic, partition, log_id, offset, toUnixTimestamp64Milli(kafka_timestamp), {CLASS_SQL}, {WORDS_SQL}
               FROM meta.dead_letters AS l FINAL
               WHERE positionCaseInsensitive(payload, {{id:String}}) > 0
                 AND (lower(JSONExtractString(payload, 'event_id')) = {{id:String}} OR NOT isValidJSON(payload))
               ORDER BY recorded_at LIMIT 100""",  # noqa: S608 (constants of ours)
            {"id": self._trace.event_id},
        )
        for topic, partition, log_id, offset, kafka_ms, reason, error in rows:
            record = self._note(Place(topic, partition, log_id, offset), kafka_ms, error)
            record.error = f"{reason}: {error}"
        for record in self._trace.found:
            if record.error:
                record.verdict, record.because = DEAD, record.error

    async def _judge(self, event: dict[str, Any]) -> None:
        """Counted, or a duplicate of a lower offset within the horizon of log time; lateness by size."""
        accepted: dict[tuple[str, int, str], tuple[int, int]] = {}
        for record in sorted(self._trace.found, key=lambda record: record.place):
            if record.verdict == DEAD:
                continue
            log_ms = await self._log_time(record.place)
            first = accepted.get(record.place[:3])
            if first is not None and log_ms - first[1] <= self._horizon_ms:
                record.verdict = DUPLICATE
                record.because = f"of offset {first[0]}, {(log_ms - first[1]) / 1000:.1f} s before by log time"
                continue
            accepted[record.place[:3]] = (record.place.offset, log_ms)
            await self._judge_accepted(record, event, log_ms)

    async def _judge_accepted(self, record: Found, event: dict[str, Any], log_ms: int) -> None:
        if record.place.topic == VIDEO_STATUS:
            earlier = await self._earlier_status(record.place, event, log_ms)
            if earlier is not None:
                record.verdict, record.because = REPEATED, f"offset {earlier} was the first; later ones change nothing"
                return
        record.verdict = COUNTED
        highest = await self._highest_before(record.place)
        if highest is not None:
            record.late_for = tuple(
                size
                for size, ms in SIZES_MS.items()
                if event["occurred_ms"] // ms * ms + ms + ALLOWED_LATENESS_MS <= highest
            )

    async def _log_time(self, place: Place) -> int:
        """Running maximum of Kafka timestamps up to a record."""
        rows = await self._rows(
            f"""SELECT toUnixTimestamp64Milli(max(kafka_timestamp)) FROM {BRONZE[place.topic]}
                WHERE topic = {{t:String}} AND partition = {{p:UInt32}} AND log_id = {{l:String}} AND offset <= {{o:UInt64}}""",  # noqa: S608 (names of ours)
            _bound(place),
        )
        return int(rows[0][0])

    async def _earlier_status(self, place: Place, event: dict[str, Any], log_ms: int) -> int | None:
        rows = await self._rows(
            """SELECT min(offset) FROM silver.video_status
               WHERE topic = {t:String} AND partition = {p:UInt32} AND log_id = {l:String} AND offset < {o:UInt64}
                 AND video_id = {video:Int64} AND status = {status:String}
                 AND toUnixTimestamp64Milli(kafka_timestamp) >= {since:Int64}
               HAVING count() > 0""",
            _bound(place)
            | {"video": event["video_id"], "status": event["status"], "since": log_ms - STATUS_HORIZON_MS},
        )
        return int(rows[0][0]) if rows else None

    async def _highest_before(self, place: Place) -> int | None:
        """Highest event time of the accepted events before; of repeated statuses only the first is one."""
        source = f"SELECT offset, occurred_at FROM {SILVER[place.topic]}"  # noqa: S608 (names of ours)
        where = "topic = {t:String} AND partition = {p:UInt32} AND log_id = {l:String} AND offset < {o:UInt64}"
        if place.topic == VIDEO_STATUS:
            inner = f"SELECT argMin(occurred_at, offset) AS occurred_at FROM silver.video_status WHERE {where}"  # noqa: S608
            source = f"{inner} GROUP BY video_id, status"
        else:
            source = f"{source} WHERE {where}"
        rows = await self._rows(
            f"SELECT toUnixTimestamp64Milli(max(occurred_at)) FROM ({source}) HAVING count() > 0",  # noqa: S608
            _bound(place),
        )
        return int(rows[0][0]) if rows else None

    async def _windows(self, event: dict[str, Any]) -> None:
        """Present values of all windows and totals that the catalogue derives from such an event."""
        topic = event["place"].topic
        starts = {size: event["occurred_ms"] // ms * ms for size, ms in SIZES_MS.items()}
        wanted: list[tuple[str, str, str, str]] = []
        for measure in MEASURES:
            if topic not in measure.topics or not _selected(measure, event):
                continue
            for metric in metrics_of_measure(measure.name):
                if metric.entity:
                    await self._entity(metric.name, metric.unit, metric.entity, str(event[metric.entity]))
                    continue
                wanted.append((metric.name, metric.unit, "", ""))
                wanted += [(metric.name, metric.unit, name, _dimension(name, event)) for name in metric.dimensions]
        rows = await self._rows(
            """SELECT metric, window, dimension, dimension_value, value, count, status, toUnixTimestamp64Milli(updated_at)
               FROM gold.windows_latest
               WHERE metric IN {metrics:Array(String)}
                 AND (window, toInt64(toUnixTimestamp(window_start))) IN
                     arrayZip({sizes:Array(String)}, {starts:Array(Int64)})""",
            {
                "metrics": sorted({name for name, *_ in wanted}),
                "sizes": list(starts),
                "starts": [start // 1000 for start in starts.values()],
            },
        )
        known = {row[:4]: row[4:] for row in rows}
        for name, unit, dimension, value in wanted:
            for size, start in starts.items():
                now = known.get((name, size, dimension, value), (None, 0, "", 0))
                self._trace.windows.append(Window(name, unit, dimension, value, size, start, *now))

    async def _entity(self, metric: str, unit: str, name: str, entity: str) -> None:
        rows = await self._rows(
            """SELECT value, count, 'open', toUnixTimestamp64Milli(updated_at) FROM gold.entities FINAL
               WHERE metric = {m:String} AND entity = {e:String}""",
            {"m": metric, "e": entity},
        )
        now = rows[0] if rows else (None, 0, "", 0)
        self._trace.windows.append(Window(metric, unit, name, entity, "all", 0, *now))


def _bound(place: Place) -> dict[str, Any]:
    return {"t": place.topic, "p": place.partition, "l": place.log_id, "o": place.offset}


def _selected(measure: Measure, event: dict[str, Any]) -> bool:
    """The catalogue's selectors, for one event of silver."""
    if measure.selector == "completed_or_published":
        return event["status"] in ("completed", "published")
    if measure.selector == "has_response_time":
        return event["response_time_ms"] is not None
    if measure.selector == "has_video":
        return event["video_id"] is not None
    if measure.selector == "left_queue":
        return event.get("status") == "started" or event.get("kind") == "queue"
    return measure.selector == "all" or measure.selector in (event.get("status"), event.get("kind"))


def _dimension(name: str, event: dict[str, Any]) -> str:
    if name == "queue" and "queue" not in event:
        return "video-generation"
    value = event[name]
    return "unknown" if value is None else str(value)
