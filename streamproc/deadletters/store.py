"""Dead letters and their replays in ClickHouse: `meta.dead_letters` and `meta.dead_letter_replays`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from schemas.outcomes import DeadReason
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, block, integers, same_integer, same_text, texts

#: Target offset of a replay that was begun and of which no acknowledgement is known.
UNCONFIRMED: Final = 2**64 - 1

#: States of a letter.
WAITING: Final = "waiting"
BEGUN: Final = "begun"
REPLAYED: Final = "replayed"

_REPLAY_COLUMNS: Final = (
    *("topic", "partition", "log_id", "offset"),
    *("target_topic", "target_partition", "target_offset", "replayed_at", "replayed_by"),
)


#: Gives payloads as they came.
Unseal = Callable[[Sequence[bytes]], Awaitable[list[bytes]]]


class Place(NamedTuple):
    """Where a letter's record lies: its identity."""

    topic: str
    partition: int
    log_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. Times are epoch ms; `state` is waiting, begun or replayed."""

    place: Place
    reason: str
    error: str
    key: bytes
    payload: bytes
    kafka_ms: int
    recorded_ms: int
    event_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which letters. `error` is a reason (`malformed`) or a part of the error's text; `since_ms` is epoch ms."""

    topic: str = ""
    error: str = ""
    since_ms: int = 0
    event_id: str = ""
    partition: int | None = None
    offset: int | None = None
    log_id: str = ""
    states: tuple[str, ...] = ()
    after: Place | None = None


class Count(NamedTuple):
    """Number of letters of a topic and reason in a state."""

    topic: str
    reason: str
    state: str
    letters: int


class Replay(NamedTuple):
    """Where a letter was sent to; (0, UNCONFIRMED) while no acknowledgement is known."""

    place: Place
    target_topic: str
    target_partition: int
    target_offset: int


def _where(filters: Filters) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {}
    conditions = ["1"]

    def add(condition: str, name: str, value: Any) -> None:
        conditions.append(condition)
        values[name] = value

    if filters.topic:
        add("topic = {topic:String}", "topic", filters.topic)
    if filters.error:
        text = "(reason = {error:String} OR positionCaseInsensitiveUTF8(error, {error:String}) > 0)"
        add(text, "error", filters.error)
    if filters.since_ms:
        add("recorded_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')", "since", filters.since_ms)
    if filters.event_id:
        add("positionCaseInsensitive(payload, {event_id:String}) > 0", "event_id", filters.event_id)
    if filters.partition is not None:
        add("partition = {partition:UInt32}", "partition", filters.partition)
    if filters.offset is not None:
        add("offset = {offset:UInt64}", "offset", filters.offset)
    if filters.log_id:
        add("log_id = {log_id:String}", "log_id", filters.log_id)
    if filters.states:
        add("state IN {states:Array(String)}", "states", list(filters.states))
    if filters.after:
        names = ("after_topic", "after_partition", "after_log", "after_offset")
        values |= dict(zip(names, filters.after, strict=True))
        conditions.append(
            "(topic, partition, log_id, offset) > "
            "({after_topic:String}, {after_partition:UInt32}, {after_log:String}, {after_offset:UInt64})"
        )
    return " AND ".join(conditions), values


_CLASSES: Final = ", ".join(f"'{reason.value}'" for reason in DeadReason)

#: A letter's class and words as SQL over its row, whichever of the two headers carries which: the contracts name both
#: and do not say which is the class.
CLASS_SQL: Final = f"if(l.error IN ({_CLASSES}), l.error, l.reason)"
WORDS_SQL: Final = f"if(l.error IN ({_CLASSES}), l.reason, l.error)"

_WITH_STATE: Final = f"""
    SELECT l.topic AS topic, l.partition AS partition, l.log_id AS log_id, l.offset AS offset,
           {CLASS_SQL} AS reason, {WORDS_SQL} AS error, key, payload, kafka_timestamp, recorded_at,
           multiIf(r.target_topic = '', '{WAITING}', r.target_offset = {UNCONFIRMED}, '{BEGUN}', '{REPLAYED}') AS state
    FROM meta.dead_letters AS l FINAL
    LEFT JOIN (SELECT topic, partition, log_id, offset, target_topic, target_offset
               FROM meta.dead_letter_replays FINAL) AS r
    ON l.topic = r.topic AND l.partition = r.partition AND l.log_id = r.log_id AND l.offset = r.offset"""  # noqa: S608 (constants of ours)


class DeadLetterStore:
    """Reads letters and records replays. With `unseal` payloads are as they came, without it as they are stored.

    Every method raises RetryableError or PermanentError with ClickHouse's reason.
    """

    def __init__(self, clickhouse: ClickHouse, unseal: Unseal | None = None) -> None:
        self._clickhouse = clickhouse
        self._unseal = unseal

    async def letters(self, filters: Filters, limit: int, *, newest_first: bool = True) -> list[Letter]:
        """Letters by time, or by place for going through all of them with `filters.after`."""
        condition, values = _where(filters)
        order = "recorded_at DESC, " if newest_first else ""
        rows = await self._clickhouse.rows(
            f"""SELECT topic, partition, log_id, offset, reason, error, key, payload,
                       toUnixTimestamp64Milli(kafka_timestamp), toUnixTimestamp64Milli(recorded_at),
                       JSONExtractString(payload, 'event_id') AS event_id, state
                FROM ({_WITH_STATE}) WHERE {condition}
                ORDER BY {order}topic, partition, log_id, offset LIMIT {{limit:UInt64}}""",  # noqa: S608 (values bound)
            values | {"limit": limit},
            bytes_columns=("key", "payload", "event_id"),
        )
        letters = [_letter(row) for row in rows]
        if self._unseal is None:
            return letters
        payloads = await self._unseal([letter.payload for letter in letters])
        return [replace(letter, payload=payload) for letter, payload in zip(letters, payloads, strict=True)]

    async def counts(self, filters: Filters) -> list[Count]:
        """Numbers by topic, reason and state."""
        condition, values = _where(filters)
        rows = await self._clickhouse.rows(
            f"""SELECT topic, reason, state, count() FROM ({_WITH_STATE}) WHERE {condition}
                GROUP BY topic, reason, state ORDER BY topic, reason, state""",  # noqa: S608 (values bound)
            values,
        )
        return [Count(*row) for row in rows]

    async def at(self, topic: str, partition: int, offset: int, log_id: str = "") -> list[Letter]:
        """The letters at an offset, newest first: several if the topic was made again (another log)."""
        filters = Filters(topic=topic, partition=partition, offset=offset, log_id=log_id)
        return await self.letters(filters, 20)

    async def record(self, replays: Sequence[Replay], at_ms: int, by: str) -> None:
        """Write down replays begun or done at `at_ms` (epoch ms); of one letter the later row holds."""
        if not replays:
            return
        places = [replay.place for replay in replays]
        columns = [
            texts("topic", [place.topic for place in places]),
            integers("partition", "UInt32", [place.partition for place in places]),
            texts("log_id", [place.log_id for place in places]),
            integers("offset", "UInt64", [place.offset for place in places]),
            texts("target_topic", [replay.target_topic for replay in replays]),
            integers("target_partition", "UInt32", [replay.target_partition for replay in replays]),
            integers("target_offset", "UInt64", [replay.target_offset for replay in replays]),
            same_integer("replayed_at", DATETIME_MS, at_ms, len(replays)),
            same_text("replayed_by", by, len(replays)),
        ]
        await self._clickhouse.insert("meta.dead_letter_replays", _REPLAY_COLUMNS, block(columns, len(replays)))


def _letter(row: tuple[Any, ...]) -> Letter:
    topic, partition, log_id, offset, reason, error, key, payload, kafka_ms, recorded_ms, event_id, state = row
    return Letter(
        place=Place(topic, partition, log_id, offset),
        reason=reason,
        error=error,
        key=key,
        payload=payload,
        kafka_ms=kafka_ms,
        recorded_ms=recorded_ms,
        event_id=event_id.decode(errors="replace"),
        state=state,
    )


def with_states(filters: Filters, *states: str) -> Filters:
    """The same filters for letters in these states only."""
    return replace(filters, states=states)
