"""One record of change data capture (Debezium's JSON envelope, with or without its schema part) to the change of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from schemas.changes import OTHER_OPS, ROW_OPS, ROWS
from schemas.events import INT64_MAX
from schemas.outcomes import MAX_EVENT_BYTES, DeadReason
from streamproc.decode.batch import Dead
from streamproc.decode.connect import NO_SCHEMA, PLAIN, Columns, Logical, Unreadable, Value, columns_of, read
from streamproc.decode.explain import Problem, in_words
from streamproc.decode.strict import MAX_DEPTH, too_deep, utf8_problem
from streamproc.decode.times import MAX_MS, MIN_MS

T = TypeVar("T")

_Object = dict[str, msgspec.Raw]
_Position = Annotated[int, Meta(ge=0, le=INT64_MAX)]


class _Source(msgspec.Struct, gc=False):
    """Where in the source's log a change lies, and when it was committed there."""

    ts_ms: Annotated[int, Meta(ge=MIN_MS, le=MAX_MS)]
    lsn: _Position | None = None
    sequence: str | None = None
    snapshot: str | bool | None = None


_OBJECT: Final = msgspec.json.Decoder(_Object)
_OPTIONAL_OBJECT: Final = msgspec.json.Decoder(_Object | None)
_SOURCE: Final = msgspec.json.Decoder(_Source)
# The texts of the last commit's position and of the present one.
_SEQUENCE: Final = re.compile(r'\[\s*(?:null|"[0-9]{1,19}")\s*,\s*"([0-9]{1,19})"\s*\]')
_TEXT: Final = msgspec.json.Decoder(str)
_NULL: Final = b"null"
_HEARTBEAT: Final = frozenset(("ts_ms", "ts_us", "ts_ns"))
_TRANSACTION: Final = ("BEGIN", "END")
_PROBLEMS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row.

    `position` is the source's LSN, `source_ms` its time (epoch ms). `values` are those of the topic's `ROWS` in their order
    (amounts in 1/10000 USD, times in epoch ms). Of a deleted row they are what `before` says, None where it says nothing
    that can be read.
    """

    id: int
    op: str
    position: int
    source_ms: int
    snapshot: bool
    values: tuple[Value, ...]

    @property
    def deleted(self) -> bool:
        """Whether the row is gone."""
        return self.op == "d"

    def with_values(self, values: tuple[Value, ...]) -> Change:
        """The same change with other values of its columns."""
        return replace(self, values=values)


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of a batch: `rows` are positions in the batch with their change, `dead` the records that are none of
    Debezium's. Both ascend. Positions in neither carry no row: tombstones, heartbeats, transactions, truncates, messages."""

    rows: list[tuple[int, Change]]
    dead: list[Dead]


def decode_changes(topic: str, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Changes:
    """Read a batch of records of one topic. Each record's verdict depends on that record alone.

    Raises:
        KeyError: no topic of changes.
    """
    rows: list[tuple[int, Change]] = []
    dead: list[Dead] = []
    for position, (key, value) in enumerate(zip(keys, values, strict=True)):
        found = decode_change(topic, key, value)
        if isinstance(found, Change):
            rows.append((position, found))
        elif found is not None:
            dead.append((position, *found))
    return Changes(rows, dead)


def decode_change(topic: str, key: bytes | None, value: bytes | None) -> Change | Problem | None:
    """The change that a record carries; None if it carries no row; or why it is none of Debezium's records, with the path of
    the field but without its value.

    Raises:
        KeyError: no topic of changes.
    """
    if value is None:
        return None
    problem = _refused(value)
    if problem is not None:
        return problem
    try:
        envelope, columns = _envelope(value)
        op = _op(envelope)
        if op not in ROW_OPS:
            return None
        source = _part("source", _SOURCE, envelope)
        position = _position(source)
        side = "before" if op == "d" else "after"
        row = _part(side, _OPTIONAL_OBJECT, envelope) if side in envelope else None
        if row is None and op != "d":
            raise Unreadable(f"{side}: required field is missing (op {op})")
        identity = _identity(side, row, key if op == "d" else None)
        values = _values(topic, side, row or {}, columns.get(side, {}))
    except Unreadable as error:
        return DeadReason.MALFORMED, str(error)
    snapshot = op == "r" or source.snapshot not in (None, False, "false")
    return Change(identity, op, position, source.ts_ms, snapshot, values)


def _refused(value: bytes) -> Problem | None:
    """What the limits of every record say against this one."""
    if not value:
        return DeadReason.MALFORMED, "empty value (a tombstone's is null)"
    if len(value) > MAX_EVENT_BYTES:
        return DeadReason.TOO_LARGE, f"{len(value)} bytes; at most {MAX_EVENT_BYTES} are taken"
    text = utf8_problem(value)
    if not text and too_deep(value):
        text = f"nested deeper than {MAX_DEPTH} levels"
    return (DeadReason.MALFORMED, text) if text else None


def _envelope(value: bytes) -> tuple[_Object, Columns]:
    """The envelope, and the columns' types if it comes with a schema part; an empty envelope if it is null."""
    outer = _decoded("", _OPTIONAL_OBJECT, value) or {}
    if "payload" not in outer or "op" in outer:
        return outer or {}, NO_SCHEMA
    envelope = _part("payload", _OPTIONAL_OBJECT, outer) or {}
    try:
        return envelope, columns_of(bytes(outer.get("schema", _NULL)))
    except _PROBLEMS:
        raise Unreadable("schema: not a schema of Kafka Connect") from None


def _op(envelope: _Object) -> str:
    """The operation; one that carries no row also for records beside changes."""
    if not envelope or envelope.keys() <= _HEARTBEAT:
        return ""
    if "op" not in envelope:
        if "id" in envelope and "status" in envelope and _part("status", _TEXT, envelope) in _TRANSACTION:
            return ""
        raise Unreadable("op: required field is missing (the whole envelope is read, not a row taken out of it)")
    op: str = _part("op", _TEXT, envelope)
    if op not in ROW_OPS and op not in OTHER_OPS:
        raise Unreadable(f"op: not one of {', '.join((*ROW_OPS, *OTHER_OPS))}")
    return op


def _identity(side: str, row: _Object | None, key: bytes | None) -> int:
    """The row's id, from the key if the row does not say."""
    raw = bytes((row or {}).get("id", _NULL))
    where = f"{side}.id"
    if raw == _NULL and key is not None and _refused(key) is None:
        where, raw = "key", key.strip()
        try:
            # {"id": 1}, with a schema part around it, or the bare id.
            while raw[:1] == b"{":
                found = _OBJECT.decode(raw)
                raw = bytes(found["payload"] if "payload" in found and "id" not in found else found["id"])
        except (*_PROBLEMS, KeyError):
            raise Unreadable("key: no id in it") from None
    try:
        identity = read("int", raw, PLAIN)
    except Unreadable as error:
        raise Unreadable(f"{where}: {error}") from None
    if not isinstance(identity, int):
        raise Unreadable(f"{where}: required field is missing")
    return identity


def _values(topic: str, side: str, row: _Object, logical: Mapping[str, Logical]) -> tuple[Value, ...]:
    """The row's columns. That a row is gone counts whatever it was: what cannot be read of it is None."""
    values: list[Value] = []
    for field in ROWS[topic]:
        try:
            values.append(read(field.kind, bytes(row.get(field.name, _NULL)), logical.get(field.name, PLAIN)))
        except Unreadable as error:
            if side != "before":
                raise Unreadable(f"{side}.{field.name}: {error}") from None
            values.append(None)
    if side == "before" and not any(values):
        # Where only the key of a deleted row is logged, Debezium fills columns that may not be null: 0, '', 1970.
        return (None,) * len(values)
    return tuple(values)


def _position(source: _Source) -> int:
    """The LSN. A row that an incremental snapshot read has none of its own, but that of the watermark behind its chunk: the
    row is as it was there, for Debezium leaves out what changed in between."""
    if source.lsn is not None:
        return source.lsn
    found = _SEQUENCE.fullmatch(source.sequence or "")
    position = int(found.group(1)) if found else -1
    if not 0 <= position <= INT64_MAX:
        raise Unreadable("source.lsn: no position in it, nor in source.sequence")
    return position


def _part(name: str, decoder: msgspec.json.Decoder[T], of: _Object) -> T:
    """A field of an object.

    Raises:
        Unreadable: it is missing, or of another type.
    """
    if name not in of:
        raise Unreadable(f"{name}: required field is missing")
    return _decoded(name, decoder, bytes(of[name]))


def _decoded(name: str, decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except _PROBLEMS as error:
        text = in_words(error)
        if not name:
            raise Unreadable(text) from None
        # What is below the field comes with its path.
        inner, _, what = text.partition(": ")
        raise Unreadable(f"{name}.{inner}: {what}" if what and " " not in inner else f"{name}: {text}") from None
