"""Flush and snapshot: changed cells go to `window-partials`, then progress is recorded; state is saved now and then.

The order is the promise: cells and dead letters are acknowledged before the progress record that says so, and a
snapshot is written only after everything up to its offset was acknowledged. A process that dies in between is followed
by one that starts from the last snapshot and sends the same cells, stamped alike, once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from schemas import internal, topics
from schemas.internal import Progress, SavedState, Segment
from schemas.results import ALL, Cell
from streamproc.agents.aggregate import Aggregator
from streamproc.agents.log_reader import record_hash
from streamproc.agents.publisher import Message, Publisher
from streamproc.agents.runtime import DeadLetter, SourceRuntime
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.failpoints import passing
from streamproc.telemetry import FLUSH_SECONDS, FLUSHED_CELLS, OPEN_CELLS, SNAPSHOT_SECONDS

CHUNK_BYTES: Final = 512 * 1024
_KEY_BYTES: Final = 24
_MAX_SEGMENTS: Final = 256
_FULL_SNAPSHOT_S: Final = 12 * 3600.0
#: A restart folds what came after the snapshots again: with more than this in all (about a second's work) the source with
#: the most is saved before its time, but no more often than costs a few percent of a core.
_MAX_UNSAVED: Final = 50_000
_EARLY_SAVE_S: Final = 0.4
#: After a restart, cells up to the recorded progress lie in the log already: sending them again would only hold up the
#: fold. They wait for what is new, but no longer than this (the log can end before it, if a broker lost its end).
_REDO_S: Final = 10.0
#: Progress is recorded this often: for watermarks, and at once with dead letters, which it keeps from being repeated.
_REPORT_S: Final = 1.0
#: With this many records folded since the last successful flush, agents wait: the broker is not taking our cells.
_MAX_UNFLUSHED_DEAD: Final = 20_000


@dataclass(slots=True)
class _Cut:
    """What one source has to send, as of one offset; taken without awaiting."""

    runtime: SourceRuntime
    messages: list[Message]
    progress: Progress
    cells: int
    report: bool
    snapshot: _Snapshot | None = None


@dataclass(slots=True)
class _Snapshot:
    state: bytes
    ids: bytes
    statuses: bytes
    full: bool = field(default=False)


class Flusher:
    """Sends what the aggregator changed; one flush at a time, over all sources of this worker.

    `on_sent(message, offset)` is told of each acknowledged message of window-partials.
    """

    def __init__(
        self,
        settings: Settings,
        aggregator: Aggregator,
        publisher: Publisher,
        on_sent: Callable[[Message, int], None] | None = None,
    ) -> None:
        self.settings = settings
        self.aggregator = aggregator
        self.publisher = publisher
        self._partitions = settings.partitions
        self._on_sent = on_sent
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None
        self._saved_early_s = 0.0
        #: Partition of window-partials -> offset of the last message of ours there.
        self.sent: dict[int, int] = {}

    async def run(self) -> None:
        """Flush every `flush_interval_s` until `finish`. Never cancel it: a cut that is not sent would be lost."""
        while not self._stopping.is_set():
            began = monotonic()
            await self.flush()
            spent = monotonic() - began
            # Under load a flush takes longer; never spend more than about half the time in it.
            pause = max(self.settings.flush_interval_s - spent, spent, 0.01)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def finish(self) -> None:
        """The last flush, with everything saved; `run` ends."""
        self._stopping.set()
        if self._saving is not None:
            await self._saving
        await self.flush(everything=True)

    async def flush(self, everything: bool = False) -> None:
        """One flush; with `everything`, large cells do not wait and every source is saved.

        Who waits may be cancelled, the flush goes on: a later snapshot would vouch for cells that were cut and not sent.
        """
        await asyncio.shield(self._flush(everything))

    async def _flush(self, everything: bool) -> None:
        async with self._lock:
            now_s = monotonic()
            cuts: list[_Cut] = []
            self._save_early(now_s)
            for runtime in list(self.aggregator.runtimes.values()):
                # One snapshot at a time, and beside the flushes: all at once would hold up everybody's cells.
                saving = self._is_saving() or any(cut.snapshot is not None for cut in cuts)
                cut = self._cut(runtime, now_s, everything, may_save=everything or not saving)
                if cut is not None:
                    cuts.append(cut)
            retired, self.aggregator.retired = self.aggregator.retired, []
            messages = [message for runtime in retired for message in self._last_words(runtime, now_s)]
            if not cuts and not messages:
                return
            messages += [message for cut in cuts for message in cut.messages]
            if sum(len(cut.runtime.dead) for cut in cuts) + len(messages) > _MAX_UNFLUSHED_DEAD:
                self.aggregator.room.clear()
            passing("before_flush")
            offsets = await self.publisher.send_all(messages)
            self.aggregator.room.set()
            self._remember_sent(messages, offsets)
            reports = [cut for cut in cuts if cut.report]
            passing("before_progress")
            await self.publisher.send_all([self._progress_message(cut.progress) for cut in reports])
            passing("after_progress")
            for cut in reports:
                cut.runtime.dead_until = max(cut.runtime.dead_until, cut.progress.offset)
                if cut.snapshot is not None and everything:
                    await self._save(cut)
                elif cut.snapshot is not None:
                    self._saving = asyncio.create_task(self._save(cut))
            FLUSHED_CELLS.inc(sum(cut.cells for cut in cuts))
            FLUSH_SECONDS.observe(monotonic() - now_s)

    def _save_early(self, now_s: float) -> None:
        """Have the source with the most unsaved records saved, if a restart would have much to fold again."""
        unsaved = [
            (runtime.state.offset - runtime.saved_offset, name)
            for name, runtime in self.aggregator.runtimes.items()
            if runtime.state is not None
        ]
        if now_s >= self._saved_early_s + _EARLY_SAVE_S and sum(count for count, _ in unsaved) > _MAX_UNSAVED:
            self._saved_early_s = now_s
            self.aggregator.runtimes[max(unsaved)[1]].save_due_s = now_s

    def _is_saving(self) -> bool:
        """Whether a snapshot is on its way; raises what went wrong with the last one."""
        if self._saving is None or not self._saving.done():
            return self._saving is not None
        self._saving.result()
        self._saving = None
        return False

    def _remember_sent(self, messages: list[Message], offsets: list[int]) -> None:
        for message, offset in zip(messages, offsets, strict=True):
            if message.cells and message.partition is not None:
                self.sent[message.partition] = max(offset, self.sent.get(message.partition, -1))
                if self._on_sent is not None:
                    self._on_sent(message, offset)

    def _cut(self, runtime: SourceRuntime, now_s: float, everything: bool, may_save: bool) -> _Cut | None:
        """What this source has to send now; no await between reading the offset and the cells."""
        state = runtime.state
        if state is None or state.offset < 0:
            return None
        if not everything and state.offset < runtime.dead_until and now_s < runtime.opened_at_s + _REDO_S:
            return None
        save = (everything or (may_save and now_s >= runtime.save_due_s)) and not state.is_ahead
        report = save or bool(runtime.dead) or now_s >= runtime.reported_at_s + _REPORT_S
        quiet = state.offset == runtime.taken_offset and not state.dirty and not save
        if quiet and not (report and runtime.reported_offset < state.offset):
            return None
        if runtime.tail is not None:
            runtime.tail_hash = record_hash(runtime.tail)
            runtime.tail = None
        cells = state.take_dirty(now_s, everything or save)
        dead, runtime.dead = runtime.dead, []
        runtime.taken_offset = state.offset
        if report:
            runtime.reported_offset, runtime.reported_at_s = state.offset, now_s
        cut = _Cut(
            runtime,
            self._cell_messages(runtime, cells) + [self._dead_message(runtime, letter) for letter in dead],
            runtime.progress("progress", now_ms()),
            len(cells),
            report,
        )
        if save:
            cut.snapshot = self._snapshot(runtime, now_s)
        state.evict()
        passing("after_evict")
        OPEN_CELLS.labels(runtime.topic).set(len(state.cells))
        return cut

    def _last_words(self, runtime: SourceRuntime, now_s: float) -> list[Message]:
        """Cells and dead letters of a log that is gone; no progress, for nobody can go on there."""
        if runtime.state is None or runtime.state.offset < 0:
            return []
        cells = self._cell_messages(runtime, runtime.state.take_dirty(now_s, everything=True))
        return cells + [self._dead_message(runtime, letter) for letter in runtime.dead]

    def _cell_messages(self, runtime: SourceRuntime, cells: list[Cell]) -> list[Message]:
        """Cells by partition of window-partials, in messages of bounded size."""
        assert runtime.state is not None
        groups: dict[int, list[Cell]] = {}
        for cell in cells:
            entity = cell.dimension_value if cell.size == ALL else ""
            place = internal.partition_of_window(cell.measure, cell.dimension, entity, self._partitions)
            groups.setdefault(place, []).append(cell)
        messages = []
        topic = self.settings.topic(topics.WINDOW_PARTIALS)
        key = runtime.source.encode()
        for place, group in groups.items():
            for part in _bounded(group):
                value = internal.encode(internal.Partials(runtime.source, runtime.state.offset, part))
                messages.append(Message(topic, place, key, value, cells=tuple(part)))
        return messages

    def _dead_message(self, runtime: SourceRuntime, letter: DeadLetter) -> Message:
        record = letter.record
        headers = (
            ("error", letter.error.encode()),
            ("reason", letter.reason.encode()),
            ("topic", runtime.topic.encode()),
            ("partition", str(runtime.partition).encode()),
            ("log_id", runtime.log_id.encode()),
            ("offset", str(record.offset).encode()),
            ("kafka_timestamp", str(record.timestamp).encode()),
            ("key", record.key or b""),
        )
        place = internal.partition_of_source(runtime.topic, runtime.partition, self._partitions)
        topic = self.settings.topic(topics.DEAD_LETTERS)
        return Message(topic, place, runtime.topic.encode(), record.value or b"", headers)

    def _progress_message(self, progress: Progress) -> Message:
        place = internal.partition_of_source(progress.topic, progress.partition, self._partitions)
        topic = self.settings.topic(topics.WINDOW_PROGRESS)
        return Message(topic, place, progress.source.encode(), internal.encode(progress))

    def _snapshot(self, runtime: SourceRuntime, now_s: float) -> _Snapshot | None:
        """The state to save, or None (with the due time moved on) if only the pointer to the last one is renewed."""
        assert runtime.state is not None
        state = runtime.state
        # Spread over sources, so that not all are saved at once.
        jitter = (zlib.crc32(runtime.source.encode()) % 100) / 400
        runtime.save_due_s = now_s + self.settings.snapshot_interval_s * (1 - jitter)
        full = now_s - runtime.saved_fully_at_s > _FULL_SNAPSHOT_S
        saved = SavedState(
            runtime.source,
            state.offset,
            state.log_time_ms,
            state.max_event_ms,
            {name: index.values for name, index in state.dimensions.items()},
            [] if state.offset == runtime.saved_offset and not full else state.all_cells(),
        )
        if not saved.cells and state.offset == runtime.saved_offset and not full:
            return _Snapshot(b"", b"", b"")
        if full or len(runtime.ids) > _MAX_SEGMENTS:
            runtime.ids.clear()
            state.ids.take_journal()
            ids = state.ids.dump(state.log_time_ms)
        else:
            ids = state.ids.take_journal()
        if full or len(runtime.statuses) > _MAX_SEGMENTS:
            runtime.statuses.clear()
            state.statuses.take_journal()
            statuses = state.statuses.dump(state.log_time_ms)
        else:
            statuses = state.statuses.take_journal()
        return _Snapshot(internal.encode(saved), ids, statuses, full)

    async def _save(self, cut: _Cut) -> None:
        """Write ids, state and at last the record that points to them."""
        began = monotonic()
        runtime, snapshot, progress = cut.runtime, cut.snapshot, cut.progress
        assert snapshot is not None
        place = internal.partition_of_source(runtime.topic, runtime.partition, self._partitions)
        if snapshot.state:
            runtime.ids += await self._save_keys(place, runtime, snapshot.ids, progress)
            runtime.statuses += await self._save_keys(place, runtime, snapshot.statuses, progress)
            passing("after_ids")
            horizon = self.settings.dedup_horizon_ms
            runtime.ids = [s for s in runtime.ids if s.newest_ms >= progress.log_time_ms - horizon]
            chunks = [snapshot.state[i : i + CHUNK_BYTES] for i in range(0, len(snapshot.state), CHUNK_BYTES)]
            progress.state_offsets = await self.publisher.send_all(
                [Message(self.settings.topic(topics.WINDOW_STATE), place, runtime.source.encode(), c) for c in chunks]
            )
            passing("after_state")
            runtime.saved_offset = progress.offset
            if snapshot.full:
                runtime.saved_fully_at_s = began
        elif runtime.saved is not None:
            progress.state_offsets = runtime.saved.state_offsets
        else:
            return
        progress.kind = "snapshot"
        progress.ids, progress.statuses = list(runtime.ids), list(runtime.statuses)
        await self.publisher.send_all([self._progress_message(progress)])
        runtime.saved = progress
        passing("after_snapshot")
        SNAPSHOT_SECONDS.observe(monotonic() - began)

    async def _save_keys(self, place: int, runtime: SourceRuntime, packed: bytes, progress: Progress) -> list[Segment]:
        """Packed keys in messages of bounded size; each message is packed by itself."""
        total = len(packed) // _KEY_BYTES
        size = CHUNK_BYTES // _KEY_BYTES
        parts = [
            b"".join(
                packed[8 * (column * total + i) : 8 * (column * total + min(i + size, total))] for column in range(3)
            )
            for i in range(0, total, size)
        ]
        topic = self.settings.topic(topics.WINDOW_IDS)
        offsets = await self.publisher.send_all([Message(topic, place, runtime.source.encode(), p) for p in parts])
        return [
            Segment(offset, progress.log_time_ms, len(part) // _KEY_BYTES)
            for offset, part in zip(offsets, parts, strict=True)
        ]


def _bounded(cells: list[Cell]) -> list[list[Cell]]:
    """Cells in lists of about CHUNK_BYTES at the most (one large cell alone may be larger)."""
    parts: list[list[Cell]] = [[]]
    size = 0
    for cell in cells:
        if size > CHUNK_BYTES and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(cell)
        size += len(cell.data) + 120
    return parts
