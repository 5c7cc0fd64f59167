"""Rewrites Native blocks for clients that announce a protocol version, such as Grafana's."""

import re
import struct
from collections.abc import Callable, Iterator

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.errors import ClickHouseError

# The engine writes Native as for a client without a version. From this version on ClickHouse puts block information
# before each block, and a byte for the kind of serialization before each column's data: to write that, the end of each
# column has to be found, which its type tells.
MIN_VERSION = 54454
# Field 1: no overflow row; field 2: no bucket (-1); end of fields.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_DEFAULT_SERIALIZATION = b"\x00"

_WIDTHS = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "Time", "IPv4", "Decimal32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}
_INDEX_WIDTHS = (1, 2, 4, 8)
_VARINT_BITS = 63
_ADDITIONAL_KEYS = 1 << 9
_TYPE = re.compile(r"(?P<name>\w+)(?:\((?P<arguments>.*)\))?\Z", re.S)
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)+`|[A-Za-z_]\w*) (?P<type>.+)\Z", re.S)


class _Reader:
    """A position in the bytes of a result; every read checks that the bytes are there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self.data):
            raise ClickHouseError(errors.UNEXPECTED_END_OF_FILE, "A Native block ends early")

    def number(self) -> int:
        start = self.at
        self.skip(8)
        return int(struct.unpack_from("<Q", self.data, start)[0])

    def varint(self) -> int:
        value = shift = 0
        while True:
            self.skip(1)
            byte = self.data[self.at - 1]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > _VARINT_BITS:
                raise ClickHouseError(errors.UNEXPECTED_END_OF_FILE, "A Native block has a number that never ends")

    def text(self) -> str:
        length = self.varint()
        self.skip(length)
        # A column can be named by any bytes; nothing here depends on what they say.
        return self.data[self.at - length : self.at].decode(errors="replace")


def with_version(data: bytes) -> Iterator[bytes]:
    """The blocks of a whole Native result as a client of version 54454 or later reads them."""
    reader = _Reader(data)
    while reader.at < len(data):
        start = reader.at
        columns, rows = reader.varint(), reader.varint()
        yield _BLOCK_INFO + data[start : reader.at]
        for _ in range(columns):
            start = reader.at
            reader.text()
            kind = reader.text()
            yield data[start : reader.at] + _DEFAULT_SERIALIZATION
            start = reader.at
            if rows:
                _column(reader, kind, rows)
            yield data[start : reader.at]


def _column(reader: _Reader, kind: str, rows: int) -> None:
    """Step over a column's prefix and data.

    Raises:
        ClickHouseError: the type is none that is known, or the data is none of it.
    """
    try:
        _prefix(reader, kind)
        _skip(reader, kind, rows)
    except (IndexError, ValueError, RecursionError) as error:
        raise _unknown(kind) from error


def _parts(kind: str) -> tuple[str, list[str]]:
    """`Map(String, Array(UInt8))` is `Map` of `String` and `Array(UInt8)`."""
    match = _TYPE.match(kind)
    if match is None:
        raise _unknown(kind)
    parts, depth, start, quoted = [], 0, 0, False
    arguments = match["arguments"] or ""
    for at, letter in enumerate(arguments):
        if letter == "'" and arguments[at - 1 : at] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and depth == 0:
            parts.append(arguments[start:at].strip())
            start = at + 1
    return match["name"], [*parts, arguments[start:].strip()] if arguments else []


def _elements(parts: list[str]) -> list[str]:
    """The types of a tuple's elements, which may have names."""
    return [named["type"] if (named := _NAMED.match(part)) else part for part in parts]


def _unknown(kind: str) -> ClickHouseError:
    return ClickHouseError(
        errors.NOT_IMPLEMENTED, f"Columns of type {kind} cannot be sent with client_protocol_version; cast them"
    )


def _prefix(reader: _Reader, kind: str) -> None:
    """What stands once before a column's data: the version of each LowCardinality within."""
    name, parts = _parts(kind)
    if name == "LowCardinality":
        reader.skip(8)
    elif name in ("Array", "Map", "Nullable", "Tuple"):
        for part in _elements(parts):
            _prefix(reader, part)


def _skip(reader: _Reader, kind: str, rows: int) -> None:
    """Step over the data of `rows` values."""
    name, parts = _parts(kind)
    if name in _WIDTHS:
        reader.skip(_WIDTHS[name] * rows)
    elif name in _SKIP:
        _SKIP[name](reader, parts, rows)
    elif name.startswith("Interval"):
        reader.skip(8 * rows)
    else:
        raise _unknown(kind)


def _skip_strings(reader: _Reader, parts: list[str], rows: int) -> None:
    for _ in range(rows):
        reader.skip(reader.varint())


def _skip_decimals(reader: _Reader, parts: list[str], rows: int) -> None:
    precision = int(parts[0])
    width = min(width for limit, width in ((9, 4), (18, 8), (38, 16), (76, 32)) if precision <= limit)
    reader.skip(width * rows)


def _skip_nullables(reader: _Reader, parts: list[str], rows: int) -> None:
    reader.skip(rows)
    _skip(reader, parts[0], rows)


def _skip_arrays(reader: _Reader, parts: list[str], rows: int) -> None:
    reader.skip(8 * (rows - 1))
    elements = reader.number()  # the last offset
    if elements:
        for part in parts:  # an Array has one, a Map its keys and its values
            _skip(reader, part, elements)


def _skip_tuples(reader: _Reader, parts: list[str], rows: int) -> None:
    for part in _elements(parts):
        _skip(reader, part, rows)
    if not parts:
        reader.skip(rows)


def _skip_low_cardinality(reader: _Reader, parts: list[str], rows: int) -> None:
    flags = reader.number()
    if flags & _ADDITIONAL_KEYS:
        name, inner = _parts(parts[0])
        keys = reader.number()
        # Null is key 0 of the dictionary, so that the dictionary itself is not Nullable.
        _skip(reader, inner[0] if name == "Nullable" else parts[0], keys)
    reader.skip(_INDEX_WIDTHS[flags & 0xFF] * reader.number())


_SKIP: dict[str, Callable[[_Reader, list[str], int], None]] = {
    "String": _skip_strings,
    "FixedString": lambda reader, parts, rows: reader.skip(int(parts[0]) * rows),
    "Decimal": _skip_decimals,
    "Nullable": _skip_nullables,
    "Array": _skip_arrays,
    "Map": _skip_arrays,
    "Tuple": _skip_tuples,
    "LowCardinality": _skip_low_cardinality,
    "SimpleAggregateFunction": lambda reader, parts, rows: _skip(reader, parts[1], rows),
}
