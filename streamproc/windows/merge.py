"""Stage 2: cells of all sources joined into windows, per cell the higher version wins; values by the catalogue's formulas.

A join is commutative, associative and idempotent, so cells may come in any order, twice, from zombies or from
ClickHouse. A window that is not held may have cells in ClickHouse: it is incomplete until they have been loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from schemas.outcomes import ALLOWED_LATENESS_MS
from schemas.results import ALL, CORRECTED, FINAL, OPEN, SIZES_MS, STATUS_RANK, Cell, MetricValue
from streamproc.catalogue import MEASURES, measure_of, metrics_of_measure
from streamproc.windows.accumulators import UnreadableError, load_accumulator, new_accumulator
from streamproc.windows.formulas import value_of
from streamproc.windows.presence import Presence

_UNKNOWN: Final = 2**62
#: Version, whether it was complete, the values.
_NOT_PUBLISHED: Final[tuple[int, bool, list[MetricValue]]] = (-1, False, [])
#: Another release can have stored or sent cells of measures that this one does not have: they are left alone.
_MEASURES: Final = frozenset(measure.name for measure in MEASURES)
_REGULAR: Final = frozenset(measure.name for measure in MEASURES if measure.is_regular)
#: What no cell of ours passes, and tables could not hold: an offset, and a time that ClickHouse's DateTime holds.
_MAX_VERSION: Final = 2**56
_MAX_START_MS: Final = (2**32 - 1) * 1000


Part = tuple[int, str]
"""Which cell of a window: its start (epoch ms; several for entity totals) and its source."""


class WindowKey(NamedTuple):
    """One window of one measure and dimension value; entity totals have size 'all' and start 0."""

    measure: str
    dimension: str
    value: str
    size: str
    start_ms: int


class SourceProgress(NamedTuple):
    """How far a source is: highest accepted event time, and when (wall clock) it last moved."""

    max_event_ms: int
    moved_at_ms: int


def key_of(cell: Cell) -> WindowKey:
    """The window that a cell belongs to."""
    start = 0 if cell.size == ALL else cell.start_ms
    return WindowKey(cell.measure, cell.dimension, cell.dimension_value, cell.size, start)


def _known(cells: Iterable[Cell]) -> list[Cell]:
    return [
        cell
        for cell in cells
        if cell.measure in _MEASURES
        and 0 <= cell.version <= _MAX_VERSION
        and (cell.size == ALL or (cell.size in SIZES_MS and 0 <= cell.start_ms <= _MAX_START_MS))
    ]


class Window:
    """The newest cell of each source (of each part and source, for entity totals), and what follows from them."""

    __slots__ = (
        "_cells",
        "_published",
        "changed",
        "complete",
        "seen_at_ms",
        "status",
        "touched_at_ms",
        "unreadable",
        "was_stored",
    )

    def __init__(self, complete: bool, now_ms: int) -> None:
        self._cells: dict[Part, tuple[int, Any, bytes]] = {}
        self._published = _NOT_PUBLISHED
        #: Cells that are not stored yet, each with the offset in `window-partials` from which it can be read again.
        self.changed: dict[Part, tuple[Cell, int]] = {}
        self.complete = complete
        self.status = OPEN
        self.seen_at_ms = now_ms
        self.touched_at_ms = now_ms
        #: It had left S, where none is let go before it is final: once it is over again, it is a corrected one.
        self.was_stored = False
        #: Sources whose cells turned out to be unreadable (damaged, or of another release); they count nothing.
        self.unreadable: list[str] = []

    def join(self, cell: Cell) -> bool:
        """Take the cell if it is newer than what is known from its source; True if it was."""
        part = (cell.start_ms, cell.source)
        known = self._cells.get(part)
        if known is not None and known[0] >= cell.version:
            return False
        self._cells[part] = (cell.version, None, cell.data)
        return True

    def version(self) -> int:
        """4 * sum(version + 1 over its sources) + status: grows with what is known."""
        return 4 * sum(entry[0] + 1 for entry in self._cells.values()) + STATUS_RANK[self.status]

    def sources(self) -> set[str]:
        """The sources that have cells here."""
        return {source for _, source in self._cells}

    def has_cells(self) -> bool:
        """Whether anything is known of this window."""
        return bool(self._cells)

    def published(self, key: WindowKey, now_ms: int) -> list[MetricValue]:
        """A value per metric of the measure; computed once per version, since several sinks ask."""
        version = self.version()
        if self._published[0] != version or self._published[1] != self.complete:
            self._published = (version, self.complete, _values(self, key, version, now_ms))
        return self._published[2]

    def drop_published(self) -> None:
        """Compute the values anew when they are asked for again: kept, they are a fifth of what a total takes."""
        self._published = _NOT_PUBLISHED

    def folded(self, kind: str) -> Any:
        """All cells in one accumulator, oldest part first (so that an id's first amount wins); nobody changes it."""
        if len(self._cells) == 1:
            # Nearly all totals: very many are held while a store is away, and an accumulator is larger than its bytes.
            ((_, acc, _),) = self._cells.values()
            return self._read(kind, *self._cells) if acc is None else acc
        total = new_accumulator(kind)
        for part in sorted(self._cells):
            version, acc, _ = self._cells[part]
            if acc is None:
                acc = self._read(kind, part)
                self._cells[part] = (version, acc, b"")
            total.merge(acc)
        return total

    def _read(self, kind: str, part: Part) -> Any:
        """The accumulator of a cell; an empty one if it cannot be read, which is noted."""
        try:
            return load_accumulator(kind, self._cells[part][2])
        except UnreadableError:
            self.unreadable.append(part[1])
            return new_accumulator(kind)


class MergeState:
    """The windows of one partition of `window-partials`.

    `finish`, `values` and `rolled` get the time of day; all others any steady clock, since they only measure durations.
    """

    def __init__(self) -> None:
        self.windows: dict[WindowKey, Window] = {}
        self.dirty: dict[WindowKey, None] = {}
        self.to_load: dict[WindowKey, None] = {}
        self.newest: dict[tuple[str, str, str, str], int] = {}
        #: Windows from this start on are all held here: one that is absent is new. Earlier ones may be stored.
        self.known_from: dict[str, int] = dict.fromkeys(SIZES_MS, _UNKNOWN)
        self._presence = Presence()
        #: As `known_from` when windows were taken in, before any was let go.
        self._told_from: dict[str, int] = {}

    def apply(self, cells: Iterable[Cell], offset: int, now_ms: int) -> int:
        """Join cells that came with one record of `window-partials` at `offset`; returns how many were news."""
        news = 0
        for cell in _known(cells):
            key = key_of(cell)
            window = self.windows.get(key)
            if window is None:
                window = self._open(key, now_ms)
            if window.join(cell):
                news += 1
                window.changed[cell.start_ms, cell.source] = cell, offset
                window.touched_at_ms = now_ms
                if window.status == FINAL:
                    window.status = CORRECTED
                self.dirty[key] = None
        return news

    def _open(self, key: WindowKey, now_ms: int) -> Window:
        complete = key.size != ALL and key.start_ms >= self.known_from[key.size]
        window = self.windows[key] = Window(complete, now_ms)
        if not complete:
            self.to_load[key] = None
        if key.size != ALL:
            live = (key.measure, key.dimension, key.value, key.size)
            self.newest[live] = max(self.newest.get(live, key.start_ms), key.start_ms)
            if key.measure in _REGULAR:
                self._presence.heard(live, key.start_ms)
        return window

    def loaded(self, keys: Iterable[WindowKey], cells: Iterable[Cell], now_ms: int) -> None:
        """Join what ClickHouse holds for windows that were asked for; they are complete now. Whether they are over, `finish` says:
        one that is old by the clock alone is not, such as the windows of a backlog after a restart.
        """
        touched: set[WindowKey] = set()
        for cell in _known(cells):
            key = key_of(cell)
            window = self.windows.get(key)
            if window is None:
                continue
            window.join(cell)
            touched.add(key)
        for key in keys:
            self.to_load.pop(key, None)
            window = self.windows.get(key)
            if window is None:
                continue
            window.complete = True
            if key in touched and key.size != ALL:
                window.was_stored = True
            self.dirty[key] = None

    def restore(self, cells: Iterable[Cell], known_from: Mapping[str, int], now_ms: int) -> None:
        """Take stored windows in after a restart: all with `start >= known_from[size]` are in `cells`."""
        self.known_from.update(known_from)
        for size, start in known_from.items():
            self._told_from[size] = min(start, self._told_from.get(size, start))
        for cell in _known(cells):
            key = key_of(cell)
            window = self.windows.get(key)
            if window is None:
                window = self._open(key, now_ms)
            window.join(cell)
            self.dirty[key] = None
        for key, window in self.windows.items():
            if not window.complete and key.size != ALL and key.start_ms >= self.known_from[key.size]:
                window.complete = True
                self.to_load.pop(key, None)
                self.dirty[key] = None

    def finish(self, progress: Mapping[str, SourceProgress], now_ms: int, idle_ms: int) -> int:
        """Mark windows final that every source has passed (or is idle past, by the wall clock); returns how many."""
        finished = 0
        by_topic = _by_topic(progress)
        passed: dict[tuple[tuple[str, ...], int], bool] = {}
        for key, window in self.windows.items():
            if window.status != OPEN or key.size == ALL:
                continue
            closes = key.start_ms + SIZES_MS[key.size] + ALLOWED_LATENESS_MS
            test = (measure_of(key.measure).topics, closes)
            if test not in passed:
                sources = [state for topic in test[0] for state in by_topic.get(topic, [])]
                passed[test] = _all_passed(sources, closes, now_ms, idle_ms)
            if passed[test]:
                window.status = CORRECTED if window.was_stored else FINAL
                self.dirty[key] = None
                finished += 1
        return finished

    def presence(self, progress: Mapping[str, SourceProgress], now_ms: int, idle_ms: int) -> list[MetricValue]:
        """Of regular measures: windows that every source has passed, in the order of time, each with count 1, or 0 if it is the
        first of a silence. To be asked when all stored windows are known, with a `progress` whose cells have been joined.
        """
        by_topic = _by_topic(progress)

        def is_over(measure: str, size: str, start_ms: int) -> bool:
            closes = start_ms + SIZES_MS[size] + ALLOWED_LATENESS_MS
            sources = [state for topic in measure_of(measure).topics for state in by_topic.get(topic, [])]
            return _all_passed(sources, closes, now_ms, idle_ms)

        values = []
        for (measure, dimension, value, size), start, heard in self._presence.due(is_over, self._told_from):
            metric, end = metrics_of_measure(measure)[0].name, start + SIZES_MS[size]
            # Later than a silence of the same window, should something come in after all.
            count = int(heard)
            values.append(
                MetricValue(metric, size, dimension, value, start, end, None, count, 0, FINAL, 0, count, now_ms)
            )
        return values

    def values(self, key: WindowKey, now_ms: int) -> list[MetricValue]:
        """What is published of one window, a value per metric of its measure."""
        return self.windows[key].published(key, now_ms)

    def rolled(self, now_ms: int) -> list[MetricValue]:
        """Empty windows for metrics that have been quiet since their newest window ended by the wall clock."""
        rolled: list[MetricValue] = []
        for live, newest in self.newest.items():
            measure, dimension, value, size = live
            size_ms = SIZES_MS[size]
            start = now_ms - now_ms % size_ms
            if newest >= start:
                continue
            self.newest[live] = start
            empty = new_accumulator(measure_of(measure).kind)
            for metric in metrics_of_measure(measure):
                number, count, sum_e4 = value_of(metric.formula, empty, None)
                rolled.append(
                    MetricValue(
                        metric.name,
                        size,
                        dimension,
                        value,
                        start,
                        start + size_ms,
                        number,
                        count,
                        sum_e4,
                        OPEN,
                        0,
                        0,
                        now_ms,
                    )
                )
        return rolled

    def ask_for(self, key: WindowKey, now_ms: int) -> None:
        """Have a window loaded that nobody touched."""
        if key.measure in _MEASURES and key not in self.windows:
            self._open(key, now_ms)

    def note_quiet(self, live: tuple[str, str, str, str], start_ms: int) -> None:
        """Have the clock roll a metric of which only the store knows: `live` is (measure, dimension, value, size)."""
        self.newest.setdefault(live, start_ms)

    def roll_again(self) -> None:
        """Have the clock roll every quiet metric once more (whoever showed the rolled windows has lost them)."""
        self.newest = dict.fromkeys(self.newest, 0)

    def new_log(self) -> None:
        """`window-partials` is a new log: what is held stays right, but cannot be read again from there."""
        for window in self.windows.values():
            window.changed = {part: (cell, -1) for part, (cell, _) in window.changed.items()}

    def forget(self, key: WindowKey) -> None:
        """Let a window go that is final (or an idle entity) and stored everywhere."""
        del self.windows[key]
        self.dirty.pop(key, None)
        self.to_load.pop(key, None)
        if key.size != ALL:
            self.known_from[key.size] = max(self.known_from[key.size], key.start_ms + 1)


def _by_topic(progress: Mapping[str, SourceProgress]) -> dict[str, list[SourceProgress]]:
    by_topic: dict[str, list[SourceProgress]] = {}
    for source, state in progress.items():
        by_topic.setdefault(source.split("/", 1)[0], []).append(state)
    return by_topic


def _all_passed(sources: list[SourceProgress], closes_ms: int, now_ms: int, idle_ms: int) -> bool:
    """Whether every source has passed the time, or has been silent so long that it no longer counts."""
    if not sources:
        return False
    for state in sources:
        idle = now_ms - state.moved_at_ms >= idle_ms and now_ms >= closes_ms + idle_ms
        if state.max_event_ms < closes_ms and not idle:
            return False
    return True


def _values(window: Window, key: WindowKey, version: int, now_ms: int) -> list[MetricValue]:
    acc = window.folded(measure_of(key.measure).kind)
    end = 0 if key.size == ALL else key.start_ms + SIZES_MS[key.size]
    ended = None if window.status == OPEN or key.size == ALL else end
    published = []
    for metric in metrics_of_measure(key.measure):
        value, count, sum_e4 = value_of(metric.formula, acc, ended)
        published.append(
            MetricValue(
                metric.name, key.size, key.dimension, key.value, key.start_ms, end, value, count, sum_e4,
                window.status, acc.late, version, now_ms, window.complete,
            )
        )  # fmt: skip
    return published
