"""Values as Kafka Connect's JSON converter writes them: a column's logical type, if the schema part is there, and its reader."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from schemas.changes import Kind
from schemas.events import INT64_MAX, INT64_MIN, Int64
from streamproc.decode.money import amount_e4
from streamproc.decode.times import MAX_MS, MIN_MS, time_ms

#: What a column of a row is read as: int also for amounts (1/10000 USD) and times (epoch ms).
Value = int | str | bool | None


class Unreadable(Exception):
    """Says what is wrong with a value, without the value."""


class Logical(NamedTuple):
    """A column's logical type by its name in the schema part ('' if it has none), and a Decimal's scale."""

    name: str = ""
    scale: int | None = None


PLAIN: Final = Logical()
#: Columns by name, of `before` and of `after`.
Columns = Mapping[str, Mapping[str, Logical]]
NO_SCHEMA: Final[Columns] = {}

_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_VARIABLE: Final = "io.debezium.data.VariableScaleDecimal"
#: Numbers of a time's unit in a millisecond, by logical type.
_FINER: Final = {
    "org.apache.kafka.connect.data.Timestamp": 1,
    "io.debezium.time.Timestamp": 1,
    "io.debezium.time.MicroTimestamp": 1_000,
    "io.debezium.time.NanoTimestamp": 1_000_000,
}
_DAYS: Final = ("org.apache.kafka.connect.data.Date", "io.debezium.time.Date")
_DAY_MS: Final = 86_400_000
_ISO: Final = ("io.debezium.time.ZonedTimestamp", "io.debezium.time.IsoTimestamp")
_ISO_DATE: Final = "io.debezium.time.IsoDate"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})")
#: What Debezium writes for a long text that an update did not touch, unless the table's replica identity is full.
_UNAVAILABLE: Final = "__debezium_unavailable_value"

#: Bounds of decimals: more than PostgreSQL's numeric holds, and little enough to compute with.
_MAX_UNSCALED_BYTES: Final = 64 * 1024
_MAX_SCALE: Final = 20_000
#: Schemas that are remembered: a topic has one or two at a time.
_REMEMBERED: Final = 64
_REMEMBERED_BYTES: Final = 32 * 1024
_SPELLABLE = re.compile(r"[A-Za-z0-9_.]{1,100}")

_BAD_AMOUNT: Final = (
    "not an amount (a JSON number, a string of one, or base64 with its scale) that fits into 64 bits of 1/10000 USD"
)
_BAD_TIME: Final = "not a time (a number or RFC 3339 with an offset, as its type says) in the years 1970 to 2105"


class _Schema(msgspec.Struct, gc=False):
    """A schema of Kafka Connect; fields of no interest are skipped."""

    type: str
    field: str = ""
    name: str | None = None
    parameters: dict[str, str] | None = None
    fields: list[_Schema] | None = None


class _Variable(msgspec.Struct, gc=False):
    """A number with a scale of its own."""

    scale: int
    value: str


_SCHEMA: Final = msgspec.json.Decoder(_Schema | None)
_VARIABLE_SCALE: Final = msgspec.json.Decoder(_Variable)
_TEXT: Final = msgspec.json.Decoder(str)
_INT: Final = msgspec.json.Decoder(Int64)
_BOOL: Final = msgspec.json.Decoder(bool)


def columns_of(schema: bytes) -> Columns:
    """Logical types by the JSON of the schema part; NO_SCHEMA for null.

    Raises:
        msgspec.DecodeError: it is no schema of Kafka Connect.
    """
    return _remembered(schema) if len(schema) <= _REMEMBERED_BYTES else _columns_of(schema)


def _columns_of(schema: bytes) -> Columns:
    found = _SCHEMA.decode(schema)
    if found is None:
        return NO_SCHEMA
    return {
        part.field: {column.field: Logical(column.name or "", _scale(column)) for column in part.fields or ()}
        for part in found.fields or ()
        if part.field in ("before", "after")
    }


_remembered = lru_cache(_REMEMBERED)(_columns_of)


def _scale(column: _Schema) -> int | None:
    text = (column.parameters or {}).get("scale", "")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 6 else None


def read(kind: Kind, raw: bytes, logical: Logical) -> Value:
    """One column's JSON; None for null.

    Raises:
        Unreadable: it is not what the column holds.
    """
    if raw == b"null":
        return None
    if kind == "amount":
        return _amount(raw, logical)
    if kind == "time":
        return _time(raw, logical)
    decoder, what = _OF_KIND[kind]
    try:
        value: Value = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(f"not {what}") from None
    if value == _UNAVAILABLE:
        raise Unreadable("the value was not logged (a long text that did not change): set REPLICA IDENTITY FULL")
    return value


_OF_KIND: Final[dict[Kind, tuple[msgspec.json.Decoder[Any], str]]] = {
    "int": (_INT, "an integer of 64 bits"),
    "text": (_TEXT, "a text"),
    "bool": (_BOOL, "true or false"),
}


def _amount(raw: bytes, logical: Logical) -> int:
    value: int | None = None
    try:
        if raw[:1] == b"{":
            number = _VARIABLE_SCALE.decode(raw)
            value = _of_base64(number.value, number.scale)
        elif raw[:1] == b'"' and logical.name == _DECIMAL:
            value = _of_base64(_TEXT.decode(raw), logical.scale)
        elif logical.name != _VARIABLE:
            value = amount_e4(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if value is None:
        raise Unreadable(_BAD_AMOUNT)
    return value


def _of_base64(text: str, scale: int | None) -> int | None:
    """1/10000 USD of the big-endian two's complement that Java writes of a number's digits, rounded half to even."""
    if scale is None or abs(scale) > _MAX_SCALE or len(text) > _MAX_UNSCALED_BYTES:
        return None
    try:
        digits = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    unscaled = int.from_bytes(digits, "big", signed=True)
    if scale <= 4:
        # A large power of ten times anything but nothing does not fit: no need to compute it.
        value = 0 if unscaled == 0 else unscaled * 10 ** (4 - scale) if scale > -40 else INT64_MAX + 1
    else:
        divisor = 10 ** (scale - 4)
        value, rest = divmod(unscaled, divisor)
        value += 2 * rest > divisor or (2 * rest == divisor and value % 2 == 1)
    return value if digits and INT64_MIN <= value <= INT64_MAX else None


def _time(raw: bytes, logical: Logical) -> int:
    name = logical.name
    ms: int | None = None
    try:
        if raw[:1] == b'"':
            text = _TEXT.decode(raw)
            if _DATE.fullmatch(text) and name in ("", _ISO_DATE):
                # A date with the offset behind it: there is no time of day in between.
                text = f"{text[:10]}T00:00:00{text[10:]}"
            ms = time_ms(text) if name in ("", *_ISO, _ISO_DATE) else None
        elif name in _FINER:
            ms = _INT.decode(raw) // _FINER[name]
        elif name in _DAYS:
            ms = _INT.decode(raw) * _DAY_MS
        elif not name:
            ms = _by_magnitude(_INT.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        ms = None
    if ms is None and name and name not in (*_FINER, *_DAYS, *_ISO, _ISO_DATE):
        raise Unreadable(f"{name if _SPELLABLE.fullmatch(name) else 'its type'} is no type of an instant")
    if ms is None or not MIN_MS <= ms <= MAX_MS:
        raise Unreadable(_BAD_TIME)
    return ms


def _by_magnitude(number: int) -> int:
    """Milliseconds of a number of unknown unit: the coarsest of days, ms, us and ns in which it is not after 2105.

    So instants of the first 50 seconds of 1970 in ms, and those before 1970-02-19 in us and ns, are misread.
    """
    if number <= MAX_MS // _DAY_MS:
        return number * _DAY_MS
    for finer in (1, 1_000, 1_000_000):
        if number <= MAX_MS * finer + finer - 1:
            return number // finer
    return MAX_MS + 1
