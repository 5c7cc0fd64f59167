"""ClickHouse's Native format, written by hand: one block of columns as bytes, several times faster than by a driver."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from streamproc.errors import PermanentError

Column = tuple[str, str, bytes]
"""Name, ClickHouse type, data."""


def varint(value: int) -> bytes:
    """LEB128 of a non-negative integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = tuple(varint(length) for length in range(16_384))


def _length(value: bytes) -> bytes:
    size = len(value)
    return _SHORT[size] if size < 16_384 else varint(size)


def block(columns: Sequence[Column], rows: int) -> bytes:
    """One Native block. A String column may go into a LowCardinality one: the server converts."""
    parts = [varint(len(columns)), varint(rows)]
    for name, kind, data in columns:
        encoded_name, encoded_kind = name.encode(), kind.encode()
        parts += (_length(encoded_name), encoded_name, _length(encoded_kind), encoded_kind, data)
    return b"".join(parts)


def blobs(name: str, values: Sequence[bytes]) -> Column:
    """String column from bytes, which need not be UTF-8."""
    parts: list[bytes] = [b""] * (2 * len(values))
    parts[0::2] = map(_length, values)
    parts[1::2] = values
    return name, "String", b"".join(parts)


def texts(name: str, values: Iterable[str]) -> Column:
    """String column from str; a lone surrogate becomes '?', so that no text can block an insert."""
    return blobs(name, [value.encode("utf-8", "replace") for value in values])


def same_text(name: str, value: str, rows: int) -> Column:
    """String column with one value in all rows."""
    encoded = value.encode("utf-8", "replace")
    return name, "String", (_length(encoded) + encoded) * rows


def integers(name: str, kind: str, values: Sequence[int]) -> Column:
    """Int64, UInt64, UInt32, UInt16, UInt8, Bool, DateTime (epoch s) or DateTime64(3) (epoch ms) column.

    Raises:
        PermanentError: a value does not fit into the type.
    """
    try:
        return name, kind, array(_CODES[kind.partition("(")[0]], values).tobytes()
    except OverflowError as error:
        raise PermanentError("out_of_range", f"column {name}: {error}") from error


#: Type codes of `array`; '<' order is native on every platform that ClickHouse and our wheels support.
_CODES = {
    "Int64": "q",
    "UInt64": "Q",
    "DateTime64": "q",
    "UInt32": "I",
    "DateTime": "I",
    "UInt16": "H",
    "UInt8": "B",
    "Bool": "B",
}


def same_integer(name: str, kind: str, value: int, rows: int) -> Column:
    """Integer column with one value in all rows."""
    return name, kind, integers(name, kind, [value])[2] * rows


def floats(name: str, values: Sequence[float]) -> Column:
    """Float64 column."""
    return name, "Float64", array("d", values).tobytes()


def nullable_floats(name: str, values: Sequence[float | None]) -> Column:
    """Nullable(Float64) column."""
    nulls = bytes(value is None for value in values)
    data = array("d", [0.0 if value is None else value for value in values]).tobytes()
    return name, "Nullable(Float64)", nulls + data


def nullable_integers(name: str, kind: str, values: Sequence[int | None]) -> Column:
    """Nullable column of a kind that `integers` takes; raises the same."""
    data = integers(name, kind, [0 if value is None else value for value in values])[2]
    return name, f"Nullable({kind})", bytes(value is None for value in values) + data


def nullable_texts(name: str, values: Sequence[str | None]) -> Column:
    """Nullable(String) column from str; a lone surrogate becomes '?'."""
    data = texts(name, [value or "" for value in values])[2]
    return name, "Nullable(String)", bytes(value is None for value in values) + data


def text_maps(name: str, values: Sequence[dict[str, str]]) -> Column:
    """Map(String, String) column."""
    ends, total = array("Q"), 0
    for value in values:
        total += len(value)
        ends.append(total)
    keys = texts(name, [key for value in values for key in value])[2]
    items = texts(name, [item for value in values for item in value.values()])[2]
    return name, "Map(String, String)", ends.tobytes() + keys + items


DATETIME_MS = "DateTime64(3, 'UTC')"
