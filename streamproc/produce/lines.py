"""Lines of an NDJSON file or pipe as checked messages: key, value, and why a line is no valid event."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple

import orjson

from schemas.keys import key_for
from schemas.topics import MIB, SOURCES
from streamproc.decode import explain
from streamproc.errors import ConfigError, PermanentError
from streamproc.produce.demo import rfc3339
from streamproc.produce.fields import with_fields

_CHUNK = 64 * 1024
_LONGEST_LINE = 31 * MIB


class Line(NamedTuple):
    """One checked line: `number` from 1; `problem` is '' for a valid event."""

    number: int
    key: bytes | None
    value: bytes
    event_id: str
    problem: str


def check_topic(topic: str) -> None:
    """Refuse what is no event stream.

    Raises:
        ConfigError: names the streams that there are.
    """
    if topic not in SOURCES:
        raise ConfigError(f"--topic {topic!r} is no event stream; there are: {', '.join(SOURCES)}")


class RawLine(NamedTuple):
    """One line that is not blank, without its end; `end` = bytes of the input read up to its end."""

    number: int
    raw: bytes
    end: int


def line_batches(source: IO[bytes]) -> Iterator[list[RawLine]]:
    """The lines of a file or pipe, some at a time: what one read brings, so that a slow pipe's lines are not held back.

    Raises:
        PermanentError: a line is longer than 31 MiB.
    """
    read_some = getattr(source, "read1", source.read)
    pending, number, total = b"", 0, 0
    while chunk := read_some(_CHUNK):
        *ended, rest = (pending + chunk).split(b"\n")
        batch = []
        for raw in ended:
            number, total = number + 1, total + len(raw) + 1
            if raw.strip():
                batch.append(RawLine(number, raw.rstrip(b"\r"), total))
        pending = rest
        if len(pending) > _LONGEST_LINE:
            raise PermanentError("line_too_long", f"line {number + 1} is longer than {_LONGEST_LINE} bytes")
        if batch:
            yield batch
    if pending.strip():
        yield [RawLine(number + 1, pending, total + len(pending))]


def read_line(topic: str, line: RawLine, fresh_at_ms: int | None = None) -> Line:
    """Check one line; with `fresh_at_ms` (epoch ms) it becomes a new event of that time first."""
    event: Any = None
    raw = line.raw
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        fresh_at_ms = None
    if fresh_at_ms is not None and isinstance(event, dict):
        changes = freshened(event, fresh_at_ms)
        changed = with_fields(raw, changes)
        if changed is not None:
            event, raw = event | changes, changed
    problem = explain(topic, raw)
    event_id = event.get("event_id") if isinstance(event, dict) else None
    text = f"{problem[0]}: {problem[1]}" if problem else ""
    return Line(line.number, key_for(topic, event), raw, event_id if isinstance(event_id, str) else "", text)


def freshened(event: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """What makes it a new event: an id, `at_ms` (epoch ms) as its time; its other times keep their distance to that."""
    fresh: dict[str, Any] = {"event_id": str(uuid.uuid4()), "occurred_at": rfc3339(at_ms)}
    before, after = _moment(event.get("occurred_at")), _moment(fresh["occurred_at"])
    if before is None or after is None:
        return fresh
    for name, value in event.items():
        moment = _moment(value) if name.endswith("_at") and name != "occurred_at" else None
        if moment is not None:
            distance: timedelta = moment - before
            # A time that would leave the calendar stays as it is.
            with contextlib.suppress(OverflowError):
                fresh[name] = rfc3339((after + distance).timestamp() * 1000)
    return fresh


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
