"""Stage 1: one source (topic, partition, log) folded into cells, a batch at a time, deterministically.

The state after offset X depends on the records up to X alone: not on batches, restarts or clocks. So a cell stamped
with the source offset that it includes can be written again by anyone, and the higher stamp is always the better one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from schemas.outcomes import ALLOWED_LATENESS_MS, DEDUP_HORIZON_MS, FUTURE_LIMIT_MS, STATUS_HORIZON_MS
from schemas.results import ALL, Cell
from schemas.topics import VIDEO_STATUS
from streamproc.catalogue import MEASURES, Measure
from streamproc.windows import deltas
from streamproc.windows.accumulators import IdSum, new_accumulator
from streamproc.windows.arithmetic import MINUTE_MS, SIZE_NAMES, SIZE_VALUES
from streamproc.windows.dimensions import DimensionIndex
from streamproc.windows.recent import RecentKeys
from streamproc.windows.selectors import SELECTORS, Columns, column

Array = np.ndarray[Any, Any]

NEVER: Final = -(2**62)
_HOUR_MS: Final = 3_600_000


class CellKey(NamedTuple):
    """Where a cell lies; `size` is an index into SIZE_NAMES, or -1 for entity totals."""

    measure: str
    dimension: str
    value: str
    size: int
    start_ms: int


@dataclass(slots=True)
class Outcome:
    """What became of one batch: positions are indices into the batch's valid records."""

    future: list[int] = field(default_factory=list)
    duplicates: int = 0
    repeated: int = 0
    counted: int = 0
    late: dict[str, int] = field(default_factory=dict)


class _Slot:
    """One open cell: its accumulator, when it was last sent (monotonic seconds, given by the caller) and as of what offset."""

    __slots__ = ("acc", "sent_at", "sent_offset")

    def __init__(self, acc: Any, sent_offset: int = -1) -> None:
        self.acc = acc
        self.sent_at = float("-inf")
        self.sent_offset = sent_offset


class SourceState:
    """All that is known of one source. `offset` is the last one applied (-1 before the first)."""

    def __init__(self, topic: str, source: str, dedup_horizon_ms: int = DEDUP_HORIZON_MS) -> None:
        self.topic = topic
        self.source = source
        self.offset = -1
        self.log_time_ms = NEVER
        self.max_event_ms = NEVER
        self.ids = RecentKeys(dedup_horizon_ms, MINUTE_MS)
        self.statuses = RecentKeys(STATUS_HORIZON_MS, _HOUR_MS)
        self.dimensions: dict[str, DimensionIndex] = {}
        self.cells: dict[CellKey, _Slot] = {}
        self.dirty: dict[CellKey, None] = {}
        #: Up to this offset every cell that was taken at the last `take_dirty` or before has all there is.
        self.sent_until = -1
        #: Cells that hold what comes up to an offset yet to be applied: they were sent by who folded this log before.
        self._ahead: dict[CellKey, int] = {}
        self._applying = -1
        self._measures = tuple(m for m in MEASURES if topic in m.topics)
        self._evicted_at = NEVER

    def apply(self, last_offset: int, kafka_ms: Array, ok: Array, columns: Columns) -> Outcome:
        """Fold one batch.

        Args:
            last_offset: offset of the batch's last record.
            kafka_ms: int64[records], Kafka timestamps of all records of the batch, valid or not.
            ok: int64[n], which of them are valid.
            columns: decoded columns of length n (event_id_hi, event_id_lo, occurred_at_ms, ...).
        """
        outcome = Outcome()
        self._applying = last_offset
        log_ms = np.maximum.accumulate(np.maximum(kafka_ms, self.log_time_ms))
        if len(ok):
            counted = self._counted(log_ms[ok], columns, outcome)
            if len(counted):
                self._fold(counted, log_ms[ok], columns, outcome)
        self.log_time_ms = int(log_ms[-1])
        self.offset = last_offset
        if self._ahead:
            self._ahead = {key: version for key, version in self._ahead.items() if version > last_offset}
        return outcome

    def fits(self, last_offset: int) -> int:
        """The last offset, up to the one given, to which the next batch may reach: a batch is wholly in a cell or not."""
        return min((version for version in self._ahead.values() if version < last_offset), default=last_offset)

    def _counted(self, log_ms: Array, columns: Columns, outcome: Outcome) -> Array:
        """Positions of the events that count: not from the future, no duplicate, no repeated status."""
        ahead = columns["occurred_at_ms"] > log_ms + FUTURE_LIMIT_MS
        if ahead.any():
            outcome.future = np.flatnonzero(ahead).tolist()
        positions = np.flatnonzero(~ahead)
        hi, lo = columns["event_id_hi"][positions], columns["event_id_lo"][positions]
        fresh = _accept(self.ids, hi, lo, log_ms[positions])
        outcome.duplicates = len(positions) - len(fresh)
        positions = positions[fresh]
        if self.topic == VIDEO_STATUS and len(positions):
            status = columns["status"][positions].astype(np.uint64)
            video = columns["video_id"][positions].view(np.uint64)
            fresh = _accept(self.statuses, status, video, log_ms[positions])
            outcome.repeated = len(positions) - len(fresh)
            positions = positions[fresh]
        outcome.counted = len(positions)
        return positions

    def _fold(self, positions: Array, log_ms: Array, columns: Columns, outcome: Outcome) -> None:
        if len(positions) < len(log_ms):
            columns = _take(columns, positions)
            log_ms = log_ms[positions]
        time = columns["occurred_at_ms"]
        running = np.maximum.accumulate(np.maximum(time, self.max_event_ms))
        before = np.empty_like(running)
        before[0] = self.max_event_ms
        before[1:] = running[:-1]
        self.max_event_ms = int(running[-1])
        groups = _group(time, before, outcome)
        for measure in self._measures:
            if measure.entity:
                self._fold_entities(measure, log_ms, columns)
            elif measure.kind == "uptime":
                self._fold_health(measure, groups, columns)
            else:
                self._fold_measure(measure, groups, columns)

    def _fold_measure(self, measure: Measure, groups: _Groups, columns: Columns) -> None:
        selector = SELECTORS[measure.selector]
        chosen = None if selector is None else np.flatnonzero(selector(columns))
        codes = groups.inverse if chosen is None else groups.inverse[chosen]
        if not len(codes):
            return
        values = ids = None
        if measure.value:
            values = column(columns, measure.value)
            values = values if chosen is None else values[chosen]
        if measure.kind == "sum_distinct":
            ids = columns["video_id"] if chosen is None else columns["video_id"][chosen]
        for group, acc in deltas.fold(measure.kind, codes, values, ids):
            self._merge(measure, "", "", groups, group, acc)
        for name in measure.dimensions:
            index, dim_codes = self._dimension_codes(name, groups, columns)
            dim_codes = dim_codes if chosen is None else dim_codes[chosen]
            width = len(index.values)
            for code, acc in deltas.fold(measure.kind, codes * width + dim_codes, values, ids):
                group, value = divmod(code, width)
                self._merge(measure, name, index.values[value], groups, group, acc)

    def _fold_health(self, measure: Measure, groups: _Groups, columns: Columns) -> None:
        """Minutes of services: the total holds them by service too, for each counts from its own first minute."""
        selector = SELECTORS[measure.selector]
        chosen = np.arange(len(groups.inverse)) if selector is None else np.flatnonzero(selector(columns))
        if not len(chosen):
            return
        (name,) = measure.dimensions
        health = _take(columns, chosen)
        # Numbered as events of health come: those of other kinds take no place of the 1,000.
        index = self.dimensions.setdefault(name, DimensionIndex())
        numbers = index.codes(health[name])
        width = len(index.values)
        codes = groups.inverse[chosen] * width + numbers
        for code, acc in deltas.fold_health(codes, health["occurred_at_ms"] // MINUTE_MS, index.values, health):
            group, number = divmod(code, width)
            self._merge(measure, "", "", groups, group, acc)
            self._merge(measure, name, index.values[number], groups, group, acc)

    def _dimension_codes(self, name: str, groups: _Groups, columns: Columns) -> tuple[DimensionIndex, Array]:
        index = self.dimensions.setdefault(name, DimensionIndex())
        codes = groups.dimension_codes.get(name)
        if codes is None:
            codes = groups.dimension_codes[name] = index.codes(column(columns, name))
        return index, codes

    def _merge(self, measure: Measure, dimension: str, value: str, groups: _Groups, group: int, acc: Any) -> None:
        """Merge one delta into the cells of every size for which its events are not late."""
        minute_ms = groups.minute_ms[group]
        flags = groups.flags[group]
        for size, size_ms in enumerate(SIZE_VALUES):
            if flags >> size & 1:
                continue
            acc.late = acc.n if flags >> (size + 4) & 1 else 0
            key = CellKey(measure.name, dimension, value, size, minute_ms - minute_ms % size_ms)
            if self._ahead and self._applying <= self._ahead.get(key, -1):
                continue
            slot = self.cells.get(key)
            if slot is None:
                slot = self.cells[key] = _Slot(new_accumulator(measure.kind))
            slot.acc.merge(acc)
            self.dirty[key] = None

    def _fold_entities(self, measure: Measure, log_ms: Array, columns: Columns) -> None:
        """Entity totals, in parts by minute of log time: a part that has passed never changes again."""
        selector = SELECTORS[measure.selector]
        chosen = range(len(log_ms)) if selector is None else np.flatnonzero(selector(columns)).tolist()
        entities = columns[measure.entity].tolist()
        hi, lo = columns["event_id_hi"].tolist(), columns["event_id_lo"].tolist()
        amounts = column(columns, measure.value).tolist()
        parts = (log_ms - log_ms % MINUTE_MS).tolist()
        for i in chosen:
            key = CellKey(measure.name, measure.entity, str(entities[i]), -1, parts[i])
            if self._ahead and self._applying <= self._ahead.get(key, -1):
                continue
            slot = self.cells.get(key)
            if slot is None:
                slot = self.cells[key] = _Slot(IdSum())
            slot.acc.add(hi[i] << 64 | lo[i], amounts[i])
            self.dirty[key] = None

    def take_dirty(self, now_s: float, everything: bool = False) -> list[Cell]:
        """Cells changed since they were last taken, stamped with the offset that they include.

        Cells with large sets wait longer (1 h: 2 s, 1 d: 5 s) unless `everything` is asked.
        """
        taken: list[Cell] = []
        waiting: dict[CellKey, None] = {}
        for key in self.dirty:
            slot = self.cells[key]
            if not everything and now_s < slot.sent_at + _patience_s(key, slot):
                waiting[key] = None
                continue
            slot.sent_at, slot.sent_offset = now_s, self.offset
            taken.append(self.cell(key, slot))
        self.dirty = waiting
        self.sent_until = min((self.cells[key].sent_offset for key in waiting), default=self.offset)
        return taken

    def cell(self, key: CellKey, slot: _Slot) -> Cell:
        """A cell as it travels."""
        size = ALL if key.size < 0 else SIZE_NAMES[key.size]
        return Cell(
            key.measure, key.dimension, key.value, size, key.start_ms, self.source, self.offset, slot.acc.to_bytes()
        )

    def all_cells(self) -> list[Cell]:
        """Every open cell, for a snapshot."""
        return [self.cell(key, slot) for key, slot in self.cells.items()]

    def put(self, key: CellKey, acc: Any) -> None:
        """Put a saved cell back; it is not sent again until it changes."""
        self.cells[key] = _Slot(acc, self.offset)

    @property
    def is_ahead(self) -> bool:
        """Whether some cells hold records after `offset`: what is saved now would count them again."""
        return bool(self._ahead)

    def go_on_after(
        self, offset: int, sent: Mapping[CellKey, tuple[int, Any]], log_time_ms: int, event_ms: int
    ) -> None:
        """Go on after an offset up to which the log is gone, with the cells that were sent of it.

        Args:
            offset: the last one that cannot be read any more.
            sent: (version, accumulator) of cells: each holds exactly what there is for it up to its version, also beyond
                `offset`; cells that are not among them have not changed since the offset of this state.
            log_time_ms, event_ms: log time and highest event time, as far as known at `offset`.
        """
        for key, (version, acc) in sent.items():
            self.cells[key] = _Slot(acc, version)
            if version > offset:
                self._ahead[key] = version
        self.offset = offset
        self.log_time_ms = max(self.log_time_ms, log_time_ms)
        self.max_event_ms = max(self.max_event_ms, event_ms)

    def evict(self) -> int:
        """Forget cells that no event can change any more and that were taken; returns how many."""
        minute = self.log_time_ms - self.log_time_ms % MINUTE_MS
        mark = max(minute, self.max_event_ms - self.max_event_ms % MINUTE_MS)
        if mark == self._evicted_at:
            return 0
        self._evicted_at = mark
        gone = [key for key in self.cells if key not in self.dirty and self._is_closed(key, minute)]
        for key in gone:
            del self.cells[key]
        return len(gone)

    def _is_closed(self, key: CellKey, log_minute_ms: int) -> bool:
        if key.size < 0:
            return key.start_ms < log_minute_ms
        return key.start_ms + SIZE_VALUES[key.size] + ALLOWED_LATENESS_MS <= self.max_event_ms


def _patience_s(key: CellKey, slot: _Slot) -> float:
    """Seconds for which a changed cell may wait: only large sets of the long windows do."""
    if key.size < 2 or slot.acc.size_hint() <= 8192:
        return 0.0
    return 2.0 if SIZE_NAMES[key.size] == "1h" else 5.0


@dataclass(slots=True)
class _Groups:
    """Events by minute and lateness: `flags` bit 0-3 late for a size, bit 4-7 after a size's end but taken in."""

    inverse: Array
    minute_ms: list[int]
    flags: list[int]
    dimension_codes: dict[str, Array] = field(default_factory=dict)


def _group(time: Array, before: Array, outcome: Outcome) -> _Groups:
    flags = np.zeros(len(time), dtype=np.int64)
    for size, size_ms in enumerate(SIZE_VALUES):
        end = time - time % size_ms + size_ms
        passed = end <= before
        if passed.any():
            late = end + ALLOWED_LATENESS_MS <= before
            outcome.late[SIZE_NAMES[size]] = int(late.sum())
            flags |= late.astype(np.int64) << size
            flags |= (passed & ~late).astype(np.int64) << (size + 4)
    minute = time // MINUTE_MS
    first = int(minute.min())
    codes = (minute - first) * 256 + flags
    width = int(codes.max()) + 1
    if width <= 262_144:
        present = np.flatnonzero(np.bincount(codes, minlength=width))
        position = np.zeros(width, dtype=np.int64)
        position[present] = np.arange(len(present))
        inverse = position[codes]
    else:
        present, inverse = np.unique(codes, return_inverse=True)
    keys = present.tolist()
    return _Groups(inverse, [(first + key // 256) * MINUTE_MS for key in keys], [key % 256 for key in keys])


def _take(columns: Columns, positions: Array) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    as_list = positions.tolist()
    for name, values in columns.items():
        taken[name] = [values[i] for i in as_list] if isinstance(values, list) else values[positions]
    return taken


def _accept(recent: RecentKeys, hi: Array, lo: Array, log_ms: Array) -> Array:
    """Positions whose key was not accepted within the horizon before; they are accepted now, in order."""
    found = recent.find(hi, lo) if len(recent) else {}
    ordered = np.sort(lo)
    if not found and not (ordered[1:] == ordered[:-1]).any():
        recent.accept(hi, lo, log_ms)
        return np.arange(len(lo))
    horizon = recent.horizon_ms
    latest: dict[tuple[int, int], int] = {}
    fresh: list[int] = []
    times = log_ms.tolist()
    for i, key in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
        known = latest.get(key, found.get(i))
        if known is not None and times[i] - known <= horizon:
            continue
        latest[key] = times[i]
        fresh.append(i)
    kept = np.array(fresh, dtype=np.int64)
    recent.accept(hi[kept], lo[kept], log_ms[kept])
    return kept
