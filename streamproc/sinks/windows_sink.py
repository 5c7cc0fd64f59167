"""Windows into ClickHouse: cells first, then values, absolute and versioned, so that any repetition gives the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from schemas.results import ALL, OPEN, SIZES_MS, Cell, MetricValue
from streamproc.catalogue import METRICS, measure_of
from streamproc.failpoints import passing
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, blobs, block, integers, nullable_floats, texts

CellKey = tuple[str, str, str, str, int]
"""measure, dimension, dimension_value, size, start_ms (ignored for size 'all')."""

#: Bounds of one insert: large enough that its fixed cost does not matter, small enough for any server's memory.
MAX_ROWS: Final = 50_000
MAX_BYTES: Final = 16 * 1024 * 1024
#: gold.windows holds starts from 1970 to 2106; older ones are past its retention anyway, and their cells are stored.
_NEVER_MS: Final = 2**32 * 1000
#: Keys of one query, and characters of its text: ClickHouse reads 262,144 bytes.
_KEYS_PER_QUERY: Final = 2000
_QUERY_CHARACTERS: Final = 100_000

_CELL_COLUMNS: Final = ("measure", "dimension", "dimension_value", "size", "start_ms", "source", "version", "data")
_WINDOW_COLUMNS: Final = (
    "metric",
    "window",
    "window_start",
    "dimension",
    "dimension_value",
    "value",
    "count",
    "sum_e4",
    "status",
    "late",
    "version",
    "updated_at",
)
_ENTITY_COLUMNS: Final = ("metric", "entity", "value", "count", "sum_e4", "version", "updated_at")
_SELECT_CELLS: Final = f"SELECT {', '.join(_CELL_COLUMNS)} FROM meta.window_sources FINAL WHERE "  # noqa: S608
# The partition is a function of the key, so that FINAL need not merge across partitions.
_FINAL: Final = " SETTINGS do_not_merge_across_partitions_select_final = 1"
#: Of which entity each metric of totals is. Another release may have stored others: they are left alone.
_ENTITY_OF: Final = {m.name: measure_of(m.measure).entity for m in METRICS if measure_of(m.measure).entity}
#: Values read at once to fill Redis: some ms of the event loop.
_PAGE: Final = 5000
_SELECT_SERIES: Final = """
SELECT metric, dimension, dimension_value, toUnixTimestamp(window_start) AS start_s, value, count, sum_e4, status, late,
       version, toUnixTimestamp64Milli(updated_at) AS updated_ms
FROM gold.windows FINAL WHERE {where}
ORDER BY metric, dimension, dimension_value, start_s DESC
LIMIT {newest} BY metric, dimension, dimension_value LIMIT {page}"""
_SELECT_ENTITIES: Final = """
SELECT metric, entity, value, count, sum_e4, version, toUnixTimestamp64Milli(updated_at) AS updated_ms
FROM gold.entities FINAL WHERE {where} ORDER BY metric, entity LIMIT {page}"""


class WindowsSink:
    """Writes to meta.window_sources, gold.windows and gold.entities, and reads cells back. The caller retries."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def write(self, cells: Sequence[Cell], values: Sequence[MetricValue]) -> None:
        """Cells first, so that what gold shows can always be derived from stored cells; then values.

        Raises:
            RetryableError, PermanentError: with a reason; a part may have been applied, and may be written again.
        """
        for part in _parts(cells):
            await self._clickhouse.insert("meta.window_sources", _CELL_COLUMNS, _encode_cells(part))
        passing("between_tables")
        windows = [value for value in values if value.size != ALL and 0 <= value.window_start_ms < _NEVER_MS]
        for first in range(0, len(windows), MAX_ROWS):
            block_of = _encode_windows(windows[first : first + MAX_ROWS])
            await self._clickhouse.insert("gold.windows", _WINDOW_COLUMNS, block_of)
        entities = [value for value in values if value.size == ALL]
        for first in range(0, len(entities), MAX_ROWS):
            block_of = _encode_entities(entities[first : first + MAX_ROWS])
            await self._clickhouse.insert("gold.entities", _ENTITY_COLUMNS, block_of)

    async def load_cells(self, keys: Iterable[CellKey]) -> list[Cell]:
        """All sources' newest cells of these windows; for size 'all' every part of the entity, whatever its start.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        return [cell for where in _conditions(set(keys)) for cell in await self._select(where)]

    async def load_since(
        self, starts: Mapping[str, int], before: Mapping[str, int] = MappingProxyType({}), measures: Iterable[str] = ()
    ) -> list[Cell]:
        """All cells of each size whose start is at or after the given epoch ms, and before those of `before` where they are
        given; only of `measures` if there are any.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        by_size = " OR ".join(
            f"(size = {_text(size)} AND start_ms >= {int(start)}"
            + (f" AND start_ms < {int(before[size])})" if size in before else ")")
            for size, start in starts.items()
        )
        if not by_size:
            return []
        names = ",".join(_text(measure) for measure in measures)
        return await self._select((f"measure IN ({names}) AND " if names else "") + f"({by_size})")

    async def load_source(self, source: str, after: int) -> list[Cell]:
        """Newest cells of one source (topic/partition/log_id) whose version is above `after`.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        return await self._select(f"source = {_text(source)} AND version > {max(-1, after)}")

    async def recent_entities(self, since_ms: int) -> list[CellKey]:
        """Keys of the entities that have a cell whose start is at or after the given epoch ms.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        rows = await self._clickhouse.rows(
            "SELECT DISTINCT measure, dimension, dimension_value FROM meta.window_sources"  # noqa: S608 (a constant and an integer)
            f" WHERE size = '{ALL}' AND start_ms >= {int(since_ms)}"
        )
        return [(*row, ALL, 0) for row in rows]

    async def entities(self, since_ms: int) -> AsyncIterator[list[MetricValue]]:
        """The stored totals that were published at or after the given epoch ms, in pages.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        names, since, after = ",".join(map(_text, _ENTITY_OF)), max(0, int(since_ms)), ""
        while True:
            where = f"metric IN ({names}) AND updated_at >= fromUnixTimestamp64Milli({since}){after}"
            rows = await self._clickhouse.rows(_SELECT_ENTITIES.format(where=where, page=_PAGE))
            yield [_total(row) for row in rows]
            if len(rows) < _PAGE:
                return
            after = f" AND (metric, entity) > {_tuple(rows[-1][:2])}"

    async def series(
        self, of: Collection[tuple[str, str]], size: str, since_ms: int, newest: int
    ) -> AsyncIterator[list[MetricValue]]:
        """The `newest` stored values of each series of these (metric, dimension) that begin at or after `since_ms`, in
        pages; of each the newest comes first, so that who shows the newest window is told only once.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        names = ",".join(f"({_text(metric)},{_text(dimension)})" for metric, dimension in sorted(of))
        where = f"window = {_text(size)} AND window_start >= {max(0, since_ms // 1000)} AND (metric, dimension) IN ({names})"
        after = ""
        while names:
            sql = _SELECT_SERIES.format(where=where + after, newest=newest, page=_PAGE)
            rows = await self._clickhouse.rows(sql + _FINAL)
            yield [_value(size, row) for row in rows]
            if len(rows) < _PAGE:
                return
            # What is left of the last one comes again as if it were new: more of it than wanted, and never less.
            *key, start_s = rows[-1][:4]
            place, last = "(metric, dimension, dimension_value)", _tuple(key)
            after = f" AND ({place} > {last} OR ({place} = {last} AND window_start < {start_s}))"

    async def _select(self, where: str) -> list[Cell]:
        rows = await self._clickhouse.rows(_SELECT_CELLS + where + _FINAL, bytes_columns=("data",))
        return [Cell(*row) for row in rows]


def _parts(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    first, size = 0, 0
    for index, cell in enumerate(cells):
        size += len(cell.data)
        if index - first >= MAX_ROWS or (size > MAX_BYTES and index > first):
            yield cells[first:index]
            first, size = index, len(cell.data)
    if first < len(cells):
        yield cells[first:]


def _encode_cells(cells: Sequence[Cell]) -> bytes:
    return block(
        (
            texts("measure", [cell.measure for cell in cells]),
            texts("dimension", [cell.dimension for cell in cells]),
            texts("dimension_value", [cell.dimension_value for cell in cells]),
            texts("size", [cell.size for cell in cells]),
            integers("start_ms", "Int64", [cell.start_ms for cell in cells]),
            texts("source", [cell.source for cell in cells]),
            integers("version", "UInt64", [cell.version for cell in cells]),
            blobs("data", [cell.data for cell in cells]),
        ),
        len(cells),
    )


def _encode_windows(values: Sequence[MetricValue]) -> bytes:
    return block(
        (
            texts("metric", [value.metric for value in values]),
            texts("window", [value.size for value in values]),
            integers("window_start", "DateTime('UTC')", [value.window_start_ms // 1000 for value in values]),
            texts("dimension", [value.dimension for value in values]),
            texts("dimension_value", [value.dimension_value for value in values]),
            nullable_floats("value", [value.value for value in values]),
            integers("count", "UInt64", [value.count for value in values]),
            integers("sum_e4", "Int64", [value.sum_e4 for value in values]),
            texts("status", [value.status for value in values]),
            integers("late", "UInt64", [value.late for value in values]),
            integers("version", "UInt64", [value.version for value in values]),
            integers("updated_at", DATETIME_MS, [value.updated_at_ms for value in values]),
        ),
        len(values),
    )


def _encode_entities(values: Sequence[MetricValue]) -> bytes:
    return block(
        (
            texts("metric", [value.metric for value in values]),
            texts("entity", [value.dimension_value for value in values]),
            nullable_floats("value", [value.value for value in values]),
            integers("count", "UInt64", [value.count for value in values]),
            integers("sum_e4", "Int64", [value.sum_e4 for value in values]),
            integers("version", "UInt64", [value.version for value in values]),
            integers("updated_at", DATETIME_MS, [value.updated_at_ms for value in values]),
        ),
        len(values),
    )


def _conditions(keys: set[CellKey]) -> Iterator[str]:
    """What the cells of these windows meet, a condition per query. Keys are listed by series: of tuples of all columns
    ClickHouse parses 15,000 a second, of strings 45,000."""
    groups: dict[tuple[str, str, str], dict[str, None]] = {}
    count = characters = 0
    for measure, dimension, value, size, start_ms in sorted(keys):
        if count >= _KEYS_PER_QUERY or characters >= _QUERY_CHARACTERS:
            yield _any_of(groups)
            groups, count, characters = {}, 0, 0
        literal = _text(value) if size == ALL else _tuple((value, start_ms))
        groups.setdefault((measure, dimension, size), {})[literal] = None
        count, characters = count + 1, characters + len(literal)
    if groups:
        yield _any_of(groups)


def _any_of(groups: Mapping[tuple[str, str, str], Iterable[str]]) -> str:
    parts = []
    for (measure, dimension, size), literals in groups.items():
        column = "dimension_value" if size == ALL else "(dimension_value, start_ms)"
        series = f"measure = {_text(measure)} AND dimension = {_text(dimension)} AND size = {_text(size)}"
        parts.append(f"({series} AND {column} IN ({','.join(literals)}))")
    return " OR ".join(parts)


def _value(size: str, row: Sequence[Any]) -> MetricValue:
    metric, dimension, dimension_value, start_s, value, count, sum_e4, status, late, version, updated_ms = row
    start = start_s * 1000
    end = start + SIZES_MS[size]
    return MetricValue(
        metric, size, dimension, dimension_value, start, end, value, count, sum_e4, status, late, version, updated_ms
    )


def _total(row: Sequence[Any]) -> MetricValue:
    metric, entity, value, count, sum_e4, version, updated_ms = row
    return MetricValue(
        metric, ALL, _ENTITY_OF[metric], entity, 0, 0, value, count, sum_e4, OPEN, 0, version, updated_ms
    )


def _text(value: str) -> str:
    """A string literal of ClickHouse's SQL."""
    return "'" + value.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace("'", "\\'") + "'"


def _tuple(key: Sequence[str | int]) -> str:
    return "(" + ",".join(_text(part) if isinstance(part, str) else str(int(part)) for part in key) + ")"
