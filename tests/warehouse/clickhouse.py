"""Reads rows from ClickHouse over plain HTTP, in the forms that the truth has."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

_TIMEOUT: Final = 600.0
_SETTINGS: Final = (
    " SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_quote_denormals = 1,"
    " output_format_json_quote_decimals = 1"
)
_MERGING: Final = re.compile(r"(Replacing|Collapsing|Summing|Aggregating|Coalescing|Graphite)\w*MergeTree")
#: How a column of a kind is asked for: independent of the type that it is stored in.
_ASKED: Final = {
    "int": "{0}",
    "text": "toString({0})",
    "uuid": "lower(toString({0}))",
    "flag": "toUInt8({0})",
    "float": "toFloat64({0})",
    "day": "toString(toDate({0}))",
    "ms": "toUnixTimestamp64Milli(toDateTime64({0}, 3, 'UTC'))",
    "e4": "toString({0})",
    "cents": "toString({0})",
}


class ReadError(Exception):
    """ClickHouse refused a query, or ended it midway; the argument is what it said."""


class ClickHouse:
    """A server at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def run(self, sql: str, body: bytes = b"") -> bytes:
        """Everything that a statement gives; raises ReadError."""
        return b"\n".join(self._lines(sql, body))

    def _lines(self, sql: str, body: bytes = b"") -> Iterator[bytes]:
        options = {"default_format": "JSONCompactEachRow"}
        if body:
            options["query"] = sql
        request = urllib.request.Request(f"{self.url}/?{urllib.parse.urlencode(options)}", data=body or sql.encode())
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                for line in answer:
                    yield line.rstrip(b"\n")
        except urllib.error.HTTPError as error:
            raise ReadError(error.read().decode(errors="replace").strip()[:500]) from error
        except OSError as error:
            raise ReadError(str(error)) from error

    def rows(self, sql: str) -> Iterator[list[Any]]:
        """Rows of a query as JSON values."""
        for line in self._lines(sql + _SETTINGS):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                # An answer that has begun with 200 can only tell of a mistake in its body.
                raise ReadError(line.decode(errors="replace")[:500]) from error

    def merges(self, database: str, table: str) -> bool:
        """Whether FINAL means something for a table."""
        engines = list(
            self.rows(f"SELECT engine FROM system.tables WHERE database = '{database}' AND name = '{table}'")
        )
        return bool(engines) and _MERGING.search(engines[0][0]) is not None

    def typed(self, table: str, columns: Mapping[str, str], final: bool) -> Iterator[tuple[Any, ...]]:
        """Rows of DATABASE.TABLE, `columns` being names and kinds (see columns.py)."""
        asked = ", ".join(_ASKED[kind].format(f"`{name}`") for name, kind in columns.items())
        kinds = list(columns.values())
        for row in self.rows(f"SELECT {asked} FROM {table}{' FINAL' if final else ''}"):
            yield tuple(_value(kind, value) for kind, value in zip(kinds, row, strict=True))


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind in ("e4", "cents"):
        return _units(Decimal(value), 10_000 if kind == "e4" else 100)
    if kind == "float":
        return float(value)
    return bool(value) if kind == "flag" else value


def _units(amount: Decimal, scale: int) -> int | Decimal:
    """Whole units; what is none stays a fraction, and so differs from all that is due."""
    units = amount * scale
    return int(units) if units == int(units) else units
