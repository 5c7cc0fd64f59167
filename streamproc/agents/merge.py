"""The merge agent: cells of all sources become windows, windows become values for Redis, ClickHouse and the rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from schemas import internal
from schemas.results import ALL, SIZES_MS, Cell, MetricValue
from streamproc.agents.fatal import die
from streamproc.agents.handover import Handover
from streamproc.agents.holes import HoleGuard
from streamproc.agents.live_view import LiveView
from streamproc.agents.log_reader import record_hash
from streamproc.agents.lookup import Lookup
from streamproc.agents.merge_partition import MergePartition
from streamproc.agents.publisher import Message
from streamproc.agents.stores import LiveStore, WindowStore
from streamproc.agents.turns import Turns
from streamproc.clock import monotonic, now_ms, steady_ms
from streamproc.config import Settings
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.telemetry import LOST_OFFSETS, MERGED_CELLS, OPEN_WINDOWS, PUBLISHED, UNREADABLE
from streamproc.windows.merge import SourceProgress, WindowKey

log = get_logger("merge")

#: How long a window whose stored cells are being looked up is held back before it is shown as incomplete.
_LOAD_GRACE_MS: Final = 2000
#: Silence is judged by how far sources were ten ticks of the clock ago, where all is read that lay in window-partials five after.
_SETTLE_TICKS: Final = 5
_NOT_READ: Final = 2**63
#: Own messages remembered until they are read; above, they are simply joined again.
_MAX_JOINED: Final = 2000
#: With more to publish than this, tens of milliseconds' work, windows of now go first to Redis.
_MANY_DIRTY: Final = 2000


def _grace_ms(key: WindowKey) -> int:
    """An entity is shown at once: nearly all are new, and where an older total is known its higher version wins."""
    return 0 if key.size == ALL else _LOAD_GRACE_MS


class Settling(NamedTuple):
    """How far the sources were at a time, and where partitions of window-partials ended some seconds later."""

    wall_ms: int
    progress: dict[str, SourceProgress]
    ends: dict[int, int]


class Attending(Protocol):
    """Who is told which windows were silent."""

    def has_judged(self, partition: int) -> bool:
        """Whether values of this partition of window-partials are judged."""

    def judge_presence(self, value: MetricValue, partition: int) -> None:
        """A window that is over; count 0: nothing was in it."""


class MergeAgent:
    """Joins cells and publishes values. `judge(value, partition)` is called for every published value, in order."""

    def __init__(
        self,
        settings: Settings,
        store: WindowStore,
        live: LiveStore,
        judge: Callable[[MetricValue, int], None],
    ) -> None:
        self.settings = settings
        self.partitions: dict[int, MergePartition] = {}
        self.progress: dict[str, SourceProgress] = {}
        self._store = store
        self._live = live
        self._judge = judge
        self.redis: Handover[tuple[int, WindowKey]] = Handover(
            "redis", self._write_live, max_keys=2000, min_interval_s=0.0, on_confirmed=self._shown
        )
        self.clickhouse: Handover[tuple[int, WindowKey]] = Handover(
            "clickhouse",
            self._write_store,
            max_keys=20_000,
            min_interval_s=0.5,
            max_share=0.1,
            on_confirmed=self._stored,
        )
        self._writing: dict[tuple[int, WindowKey], list[Cell]] = {}
        #: Judges batches that do not begin where they are due; None: they end the process.
        self.holes: HoleGuard | None = None
        #: Told of silent windows; `unread` says how many records of a partition lie behind an offset (None: unknown).
        self.attending: Attending | None = None
        self.unread: Callable[[int, int], int | None] = lambda number, next_offset: None
        self._settling: deque[Settling] = deque()
        #: Nobody here heard of any source before: silence counts from then on, or what nobody read while no worker was there would
        #: make windows final whose events wait in the log.
        self.heard_from_ms = now_ms()
        self._wake = asyncio.Event()
        self._asked: list[asyncio.Event] = []
        self.live_view = LiveView(self.partitions, settings.partitions, store, live, self.redis)
        self.lookup = Lookup(settings, store, self.partitions, self.live_view.load, self._wake.set, self._finish)

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Join the cells of one fetched batch; repeats and old versions change nothing."""
        held = self.partitions.get(partition)
        if held is None:
            return
        if records[0].offset > held.next_offset and not await self._is_proven(held, topic, records[0].offset):
            return
        now = steady_ms()
        news = 0
        turns = Turns()
        for record in records:
            if record.offset < held.next_offset or held.joined.pop(record.offset, None) == record.value:
                continue
            try:
                partials = internal.decode_partials(record.value or b"")
            except msgspec.MsgspecError as error:
                log.error("a record of window-partials is not readable", offset=record.offset, error=str(error))
                continue
            news += held.state.apply(partials.cells, record.offset, now)
            await turns.take()
        held.next_offset = max(held.next_offset, records[-1].offset + 1)
        held.tail = records[-1]
        held.passed.append((held.tail.offset, record_hash(held.tail)))
        MERGED_CELLS.inc(news)
        self._wake.set()

    async def _is_proven(self, held: MergePartition, topic: str, offset: int) -> bool:
        """Whether a batch that does not begin at the next offset may be taken."""
        if self.holes is None:
            die(f"{topic}/{held.number}: offset {offset} came where {held.next_offset} was due")
        hole = await self.holes.proven(topic, held.number, held.next_offset, offset)
        # What was deleted before anybody here had read any of it has been stored long ago.
        if hole is not None and hole.deleted and hole.first:
            LOST_OFFSETS.labels(topic).inc(hole.deleted)
            log.error("cells were deleted before they were read", partition=held.number, lost_offsets=hole.deleted)
        return hole is not None

    def join_own(self, message: Message, offset: int) -> None:
        """Join cells of this worker's own stage 1 as soon as they are safe in the log: it spares the way back through
        the broker (130 ms of the latency at 2,000 events/s). Reading them later changes nothing."""
        held = self.partitions.get(message.partition if message.partition is not None else -1)
        if held is None or offset < held.next_offset:
            return
        if len(held.joined) >= _MAX_JOINED:
            held.joined.clear()
        held.joined[offset] = message.value
        MERGED_CELLS.inc(held.state.apply(message.cells, offset, steady_ms()))
        self._wake.set()

    async def emit_loop(self) -> None:
        """Publish what changed, at the latest every `emit_interval_s`."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
            self._wake.clear()
            began = monotonic()
            asked, self._asked = self._asked, []
            await self.emit_now()
            for event in asked:
                event.set()
            spent = monotonic() - began
            await asyncio.sleep(max(self.settings.emit_interval_s - spent, spent, 0.005))

    async def published(self) -> None:
        """Wait until all that has changed by now is published and judged (but for windows that are held back)."""
        self._asked.append(event := asyncio.Event())
        self._wake.set()
        await event.wait()

    async def _emit(self, held: MergePartition) -> None:
        # Durations are measured by a clock that does not jump; `wall` is only what is published as time of the update.
        wall, now = now_ms(), steady_ms()
        state = held.state
        waiting: dict[WindowKey, None] = {}
        published = 0
        turns = Turns()
        # One key after the other: what is not handed over yet stays marked, so that nobody lets its window go. In the
        # order of time: windows that became final together are all judged, and rules pass over what is older.
        for key in sorted(state.dirty, key=attrgetter("start_ms")):
            if key not in state.dirty:
                continue
            del state.dirty[key]
            window = state.windows.get(key)
            if window is None:
                continue
            if not window.complete and not self.lookup.failed and now - window.seen_at_ms < _grace_ms(key):
                waiting[key] = None
                continue
            name = (held.number, key)
            self.redis.add(name)
            self.clickhouse.add(name)
            for value in state.values(key, wall):
                self._judge(value, held.number)
                published += 1
            if window.unreadable:
                UNREADABLE.inc(len(window.unreadable))
                log.error("unreadable cells count nothing", window=list(key), sources=window.unreadable)
                window.unreadable = []
            await turns.take()
        state.dirty.update(waiting)
        PUBLISHED.inc(published)

    def _show_first(self) -> None:
        """When a day's windows become final at once, or a restart's totals of entities come, the windows of now do not wait for
        them. They stay marked, to be judged."""
        if sum(len(held.state.dirty) for held in self.partitions.values()) < _MANY_DIRTY:
            return
        wall = now_ms()
        for held in self.partitions.values():
            for key in held.state.dirty:
                if key.size == ALL or key.start_ms + SIZES_MS[key.size] <= wall:
                    continue
                window = held.state.windows.get(key)
                if window is not None and window.complete:
                    self.redis.add((held.number, key))

    def _values(self, names: Iterable[tuple[int, WindowKey]]) -> list[MetricValue]:
        wall = now_ms()
        values: list[MetricValue] = []
        for number, key in names:
            held = self.partitions.get(number)
            if held is not None and key in held.state.windows:
                values += held.state.values(key, wall)
        return values

    async def _write_live(self, names: list[tuple[int, WindowKey]]) -> None:
        await self._live.write(self._values(names))
        passing("after_redis")

    async def _write_store(self, names: list[tuple[int, WindowKey]]) -> None:
        cells: list[Cell] = []
        self._writing = {}
        for number, key in names:
            held = self.partitions.get(number)
            window = held.state.windows.get(key) if held is not None else None
            if window is not None:
                changed = [cell for cell, _ in window.changed.values()]
                cells += changed
                # A value of what is known only is no end: if this worker dies, another one has to see these cells.
                if window.complete:
                    self._writing[number, key] = changed
        await self._store.write(cells, self._values(names))
        passing("after_clickhouse")

    def _stored(self, names: list[tuple[int, WindowKey]]) -> None:
        """Cells that are stored need not be written again, unless they changed meanwhile."""
        for name, written in self._writing.items():
            held = self.partitions.get(name[0])
            window = held.state.windows.get(name[1]) if held is not None else None
            if window is None:
                continue
            for cell in written:
                part = (cell.start_ms, cell.source)
                if part in window.changed and window.changed[part][0] is cell:
                    del window.changed[part]
        self._writing = {}

    def _shown(self, names: list[tuple[int, WindowKey]]) -> None:
        """Totals that wait for a ClickHouse that is away are many: only what is needed of them is kept."""
        if self.clickhouse.up:
            return
        for number, key in names:
            held = self.partitions.get(number)
            window = held.state.windows.get(key) if held is not None and key.size == ALL else None
            if window is not None:
                window.drop_published()

    async def clock_loop(self) -> None:
        """Once a second: final windows, quiet metrics rolled into their new window, windows let go."""
        while True:
            await asyncio.sleep(1.0)
            wall = now_ms()
            for held in list(self.partitions.values()):
                if self._finish(held):
                    self._wake.set()
                self._let_go(held, steady_ms())
                await asyncio.sleep(0)
            OPEN_WINDOWS.set(sum(len(held.state.windows) for held in self.partitions.values()))
            self._tell_presence(wall, int(self.settings.idle_timeout_s * 1000))
            await self.live_view.roll()

    def _finish(self, held: MergePartition) -> int:
        """Mark windows that are over by now; how many."""
        return held.state.finish(self._heard(self.progress), now_ms(), int(self.settings.idle_timeout_s * 1000))

    def _heard(self, progress: Mapping[str, SourceProgress]) -> dict[str, SourceProgress]:
        since = self.heard_from_ms
        return {
            source: state if state.moved_at_ms >= since else SourceProgress(state.max_event_ms, since)
            for source, state in progress.items()
        }

    def _tell_presence(self, wall: int, idle_ms: int) -> None:
        """Tell which windows were silent. A cell that lies unread in window-partials is no silence: so by how far the sources
        were some seconds ago, where all is read that lay there a while after that, and what is stored is known."""
        if self.attending is None:
            return
        settling = self._settling
        settling.append(Settling(wall, self._heard(self.progress), {}))
        if len(settling) < 2 * _SETTLE_TICKS:
            return
        for number, held in self.partitions.items():
            lag = self.unread(number, held.next_offset)
            if lag is not None:
                settling[_SETTLE_TICKS].ends[number] = held.next_offset + max(0, lag)
        then = settling.popleft()
        for number, held in self.partitions.items():
            is_read = held.next_offset >= then.ends.get(number, _NOT_READ)
            if is_read and held.loaded and self.attending.has_judged(number):
                for value in held.state.presence(then.progress, then.wall_ms, idle_ms):
                    self.attending.judge_presence(value, number)

    def _let_go(self, held: MergePartition, now: int) -> None:
        if not held.loaded:
            return  # what is looked up may have been read before the last write: it would come back as it was then
        for key in held.settled(now):
            name = (held.number, key)
            if name in self.clickhouse:
                continue
            if name in self.redis:
                if key.size != ALL or not self.live_view.away:
                    continue
                # There is no end of new entities, and ClickHouse has this one: from there it comes when Redis is back.
                self.redis.drop(name)
                held.history_due = True
            held.state.forget(key)

    async def emit_now(self) -> None:
        """Publish everything that changed."""
        self._show_first()
        for held in list(self.partitions.values()):
            await self._emit(held)
