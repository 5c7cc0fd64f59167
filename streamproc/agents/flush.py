"""Flush and snapshot: changed cells go to `window-partials`, then progress is recorded; state is saved now and then.

The order is the promise: cells and dead letters are acknowledged before the progress record that says so, and a
snapshot is written only after everything up to its offset was acknowledged. A process that dies in between is followed
by one that starts from the last snapshot and sends the same cells, stamped alike, once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.internal import Progress
from streamproc.agents.aggregate import Aggregator
from streamproc.agents.log_reader import record_hash
from streamproc.agents.messages import Messages
from streamproc.agents.publisher import Message, Publisher
from streamproc.agents.runtime import SourceRuntime
from streamproc.agents.snapshots import Snapshot, Snapshots
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.failpoints import passing
from streamproc.telemetry import FLUSH_SECONDS, FLUSHED_CELLS, OPEN_CELLS

#: A restart folds what came after the snapshots again: with more than this in all (a second's work) the sources with
#: the most are saved before their time, but no more often than costs a few percent of a core.
_MAX_UNSAVED: Final = 30_000
_EARLY_SAVE_S: Final = 0.4
_EARLY_SAVES: Final = 3
#: Cells that are saved beside one flush (one source's are, however many): all at once would hold up everybody's cells.
_MAX_SAVED: Final = 3000
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
    snapshot: Snapshot | None = None


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
        self._messages = Messages(settings)
        self._snapshots = Snapshots(settings, publisher, self._messages)
        self._on_sent = on_sent
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None
        self._saved_early_s = 0.0
        #: How long the last flush kept the event loop, cutting and joining cells.
        self._cutting_s = 0.0
        #: Partition of window-partials -> offset of the last message of ours there.
        self.sent: dict[int, int] = {}

    async def run(self) -> None:
        """Flush every `flush_interval_s` until `finish`. Never cancel it: a cut that is not sent would be lost."""
        while not self._stopping.is_set():
            began = monotonic()
            await self.flush()
            # Under load a flush takes longer; never spend more than about half the time in cutting and joining. The rest
            # is waiting for the broker: half a second in the first moments of a restart.
            pause = max(self.settings.flush_interval_s - (monotonic() - began), self._cutting_s, 0.01)
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
            # One after the other, and beside the flushes.
            room = 0 if self._is_saving() else _MAX_SAVED
            for runtime in list(self.aggregator.runtimes.values()):
                cut = self._cut(runtime, now_s, everything, may_save=everything or room > 0)
                if cut is not None:
                    cuts.append(cut)
                    room -= cut.snapshot.cells if cut.snapshot is not None else 0
            self._cutting_s = monotonic() - now_s
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
            joining_s = monotonic()
            self._remember_sent(messages, offsets)
            self._cutting_s += monotonic() - joining_s
            reports = [cut for cut in cuts if cut.report]
            passing("before_progress")
            await self.publisher.send_all([self._messages.of_progress(cut.progress) for cut in reports])
            passing("after_progress")
            for cut in reports:
                cut.runtime.dead_until = max(cut.runtime.dead_until, cut.progress.offset)
            if any(cut.snapshot is not None for cut in reports):
                written = self._save(reports)
                if everything:
                    await written
                else:
                    self._saving = asyncio.create_task(written)
            FLUSHED_CELLS.inc(sum(cut.cells for cut in cuts))
            FLUSH_SECONDS.observe(monotonic() - now_s)

    async def _save(self, cuts: list[_Cut]) -> None:
        """Write the snapshots that were taken; side by side, for each waits for the broker four times."""
        saved = [(cut.runtime, cut.snapshot, cut.progress) for cut in cuts if cut.snapshot is not None]
        await asyncio.gather(*[self._snapshots.save(*each) for each in saved])

    def _save_early(self, now_s: float) -> None:
        """Have the sources with the most unsaved records saved, if a restart would have much to fold again."""
        unsaved = [
            (runtime.state.offset - runtime.saved_offset, name)
            for name, runtime in self.aggregator.runtimes.items()
            if runtime.state is not None
        ]
        if now_s >= self._saved_early_s + _EARLY_SAVE_S and sum(count for count, _ in unsaved) > _MAX_UNSAVED:
            self._saved_early_s = now_s
            for _, name in heapq.nlargest(_EARLY_SAVES, unsaved):
                self.aggregator.runtimes[name].save_due_s = now_s

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
            self._messages.of_cells(runtime, cells)
            + [self._messages.of_dead_letter(runtime, letter) for letter in dead],
            runtime.progress("progress", now_ms()),
            len(cells),
            report,
        )
        if save:
            cut.snapshot = self._snapshots.take(runtime, now_s)
        state.evict()
        passing("after_evict")
        OPEN_CELLS.labels(runtime.topic).set(len(state.cells))
        return cut

    def _last_words(self, runtime: SourceRuntime, now_s: float) -> list[Message]:
        """Cells and dead letters of a log that is gone; no progress, for nobody can go on there."""
        if runtime.state is None or runtime.state.offset < 0:
            return []
        cells = self._messages.of_cells(runtime, runtime.state.take_dirty(now_s, everything=True))
        return cells + [self._messages.of_dead_letter(runtime, letter) for letter in runtime.dead]
