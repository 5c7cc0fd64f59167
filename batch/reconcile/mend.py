"""From windows that differ to cells that put them right, and what is to be said of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from batch.reconcile import uptime
from batch.reconcile.cells import Difference, difference, folded, same, whole
from batch.reconcile.compare import Compared, Facts, Key
from batch.reconcile.recipes import Recipe
from batch.reconcile.truth import Scope, details_sql, total_ids_sql, totals_sql
from schemas.results import ALL, Cell
from streamproc.catalogue import measure_of, metrics_of_measure
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.windows_sink import WindowsSink
from streamproc.windows.accumulators import IdSum, UnreadableError, load_accumulator, new_accumulator

_AT_ONCE: Final = 300
_SETS: Final = ("distinct", "sum_distinct", "histogram", "uptime")
#: gold's version is 4 * sum(version + 1 over the sources) + status, and a corrected window's status is 2.
_CORRECTED: Final = 2


@dataclass(slots=True)
class Found:
    """What was found of one measure on one day, in windows (or totals of entities) and events.

    `late`: events that came too late for the stream. `wrong`: published otherwise than the cells say. `drift`: windows
    whose cells lack, or have, other events than the late ones; `stuck` of them hold more than silver. `busy`: the stream
    has counted more of them meanwhile, so nothing is said of them.
    """

    measure: str
    windows: int = 0
    late_windows: int = 0
    late_events: int = 0
    wrong: int = 0
    drift: int = 0
    drift_events: int = 0
    stuck: int = 0
    busy: int = 0
    skipped: tuple[str, ...] = ()
    examples: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)

    def example(self, text: str) -> None:
        """Keep a few."""
        if len(self.examples) < 3:
            self.examples.append(text)


class Mender:
    """Makes the cells of one day's source `reconcile/DAY`."""

    def __init__(self, clickhouse: ClickHouse, scope: Scope, day: str) -> None:
        self._clickhouse = clickhouse
        self._store = WindowsSink(clickhouse)
        self._scope = scope
        self.source = f"reconcile/{day}"

    async def mend(self, recipe: Recipe, compared: Compared) -> Found:
        """Cells for the windows of a measure that differ.

        Raises:
            RetryableError, PermanentError: ClickHouse's reason.
        """
        found = Found(recipe.measure, compared.windows, skipped=compared.skipped)
        kind = measure_of(recipe.measure).kind
        for first in range(0, len(compared.differing), _AT_ONCE):
            keys = compared.differing[first : first + _AT_ONCE]
            details = await self._details(recipe, kind, keys)
            stored = await self._stored([(recipe.measure, k.dimension, k.value, k.size, k.start_ms) for k in keys])
            for key in keys:
                facts = compared.facts.get(key, Facts())
                ids, counts = details.get(key, ((), ()))
                truth = whole(kind, facts.n, facts.total, ids, counts)
                cells = stored.get((recipe.measure, key.dimension, key.value, key.size, key.start_ms), [])
                self._judge(found, key, kind, truth, cells, facts.late, compared.versions[key])
        return found

    async def mend_totals(self, measure: str, topic: str, entity: str, amount: str) -> Found:
        """Cells for running totals of entities with an event on the day, that say something else than silver.

        Raises:
            as `mend`.
        """
        found = Found(measure)
        metric = metrics_of_measure(measure)[0].name
        totals = {
            name: (total, n)
            for name, total, n in await self._clickhouse.rows(totals_sql(topic, entity, amount, self._scope))
        }
        names = sorted(totals)
        found.windows = len(names)
        differing: list[str] = []
        versions: dict[str, int] = {}
        for first in range(0, len(names), 5000):
            part = names[first : first + 5000]
            said = {
                name: (sum_e4, count, version)
                for name, sum_e4, count, version in await self._clickhouse.rows(
                    "SELECT entity, sum_e4, count, version FROM gold.entities FINAL"
                    " WHERE metric = {metric:String} AND entity IN {names:Array(String)}",
                    {"metric": metric, "names": part},
                )
            }
            differing += [name for name in part if said.get(name, (None, 0, 0))[:2] != totals[name]]
            versions |= {name: version for name, (_, _, version) in said.items()}
        for first in range(0, len(differing), _AT_ONCE):
            part = differing[first : first + _AT_ONCE]
            truths: dict[str, IdSum] = {name: IdSum() for name in part}
            for name, event_id, e4 in await self._clickhouse.rows(
                total_ids_sql(topic, entity, amount, self._scope, part)
            ):
                truths[name].add(int(event_id.replace("-", ""), 16), e4)
            stored = await self._stored([(measure, entity, name, ALL, 0) for name in part])
            for name in part:
                cells = sorted(stored.get((measure, entity, name, ALL, 0), []), key=lambda c: (c.start_ms, c.source))
                key = Key(ALL, self._scope.day_ms, entity, name)
                self._judge(found, key, "id_sum", truths[name], cells, 0, versions.get(name, 0))
        return found

    def _judge(
        self, found: Found, key: Key, kind: str, truth: Any, cells: Sequence[Cell], late: int, version: int
    ) -> None:
        """What is wrong with a window, and the cell that mends it."""
        ours = next((cell for cell in cells if cell.source == self.source and self._is_part(key, cell)), None)
        others = [cell for cell in cells if cell is not ours]
        if not self._rests(others):
            found.busy += 1
            return
        known = _readable(kind, ours)
        rest = _folded(kind, others)
        gap = difference(truth, rest)
        where = f"{found.measure} {key.size} of {key.start_ms}" + (
            f" {key.dimension}={key.value}" if key.dimension else ""
        )
        if gap.lacking is None:
            found.drift, found.stuck = found.drift + 1, found.stuck + 1
            found.drift_events += gap.events
            found.example(f"{where}: the stream counted {rest.n} events, silver has {truth.n}")
            return
        if known is not None and same(known, gap.lacking):
            found.wrong += 1
            found.example(f"{where}: published otherwise than its cells say")
        elif gap.events or not same(gap.lacking, new_accumulator(kind)):
            self._count_gap(found, gap, late, where)
        else:
            found.wrong += 1
            found.example(f"{where}: published otherwise than its cells say")
        # It must be above what was published, whatever wrote that, or nobody would take it.
        least = version // 4 - sum(cell.version + 1 for cell in others)
        run = max(ours.version + 1 if ours is not None else 0, least, 0)
        found.cells.append(
            Cell(
                found.measure, key.dimension, key.value, key.size, key.start_ms, self.source, run,
                gap.lacking.to_bytes(),
            )
        )  # fmt: skip

    @staticmethod
    def _count_gap(found: Found, gap: Difference, late: int, where: str) -> None:
        """Late events are what reconciling is for; anything beyond them is drift."""
        if late:
            found.late_windows += 1
            found.late_events += late
        if gap.events != late or not gap.events:
            found.drift += 1
            found.drift_events += gap.events - late
            found.example(f"{where}: silver has {gap.events} events more, of which {late} came too late")

    def _is_part(self, key: Key, cell: Cell) -> bool:
        return key.size != ALL or cell.start_ms == key.start_ms

    def _rests(self, cells: Sequence[Cell]) -> bool:
        """Whether no cell holds more than was compared: what a cell of ours added would be counted twice."""
        for cell in cells:
            topic, _, rest = cell.source.partition("/")
            partition, _, log_id = rest.partition("/")
            if topic != "reconcile" and cell.version > self._last(topic, partition, log_id):
                return False
        return True

    def _last(self, topic: str, partition: str, log_id: str) -> int:
        return self._scope.counted.get((topic, int(partition), log_id), 2**62) if partition.isdigit() else 2**62

    async def _details(
        self, recipe: Recipe, kind: str, keys: Sequence[Key]
    ) -> dict[Key, tuple[Sequence[Any], Sequence[tuple[int, int]]]]:
        if kind not in _SETS:
            return {}
        if recipe.of_minutes:
            rows = await self._clickhouse.rows(uptime.details_sql(self._scope, keys))
            return {Key(*row[:4]): (row[4], ()) for row in rows}
        rows = await self._clickhouse.rows(details_sql(recipe, self._scope, keys))
        return {Key(*row[:4]): (row[4], row[5]) for row in rows}

    async def _stored(
        self, keys: Sequence[tuple[str, str, str, str, int]]
    ) -> dict[tuple[str, str, str, str, int], list[Cell]]:
        by_key: dict[tuple[str, str, str, str, int], list[Cell]] = {}
        for cell in await self._store.load_cells(keys):
            start = 0 if cell.size == ALL else cell.start_ms
            name = (cell.measure, cell.dimension, cell.dimension_value, cell.size, start)
            by_key.setdefault(name, []).append(cell)
        return by_key


def _readable(kind: str, cell: Cell | None) -> Any | None:
    try:
        return None if cell is None else load_accumulator(kind, cell.data)
    except UnreadableError:
        return None


def _folded(kind: str, cells: Sequence[Cell]) -> Any:
    """Cells that nobody can read count nothing, as in the stream."""
    return folded(kind, (cell.data for cell in cells), lambda of, data: _load(of, data))


def _load(kind: str, data: bytes) -> Any:
    try:
        return load_accumulator(kind, data)
    except UnreadableError:
        return new_accumulator(kind)
