"""Snapshots: a source's state, the ids that it has seen, and at last the record of progress that points to both."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from schemas import internal, topics
from schemas.internal import Progress, SavedState, Segment
from streamproc.agents import messages
from streamproc.agents.publisher import Message, Publisher
from streamproc.agents.runtime import SourceRuntime
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.failpoints import passing
from streamproc.telemetry import SNAPSHOT_SECONDS

_KEY_BYTES: Final = 24
_MAX_SEGMENTS: Final = 256
_FULL_SNAPSHOT_S: Final = 12 * 3600.0


@dataclass(slots=True)
class Snapshot:
    """Encoded state and packed keys of one source, as of one offset."""

    state: bytes
    ids: bytes
    statuses: bytes
    full: bool = False
    cells: int = 0


class Snapshots:
    """Takes snapshots (without awaiting, so that they are of one offset) and writes them."""

    def __init__(self, settings: Settings, publisher: Publisher, texts: messages.Messages) -> None:
        self.settings = settings
        self.publisher = publisher
        self._messages = texts
        self._partitions = settings.partitions

    def take(self, runtime: SourceRuntime, now_s: float) -> Snapshot:
        """The state to save; without any (and with the due time moved on) if only the pointer to the last one is renewed."""
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
            return Snapshot(b"", b"", b"")
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
        return Snapshot(internal.encode(saved), ids, statuses, full, len(saved.cells))

    async def save(self, runtime: SourceRuntime, snapshot: Snapshot, progress: Progress) -> None:
        """Write ids, state and at last the record that points to them."""
        began = monotonic()
        place = internal.partition_of_source(runtime.topic, runtime.partition, self._partitions)
        if snapshot.state:
            runtime.ids += await self._save_keys(place, runtime, snapshot.ids, progress)
            runtime.statuses += await self._save_keys(place, runtime, snapshot.statuses, progress)
            passing("after_ids")
            horizon = self.settings.dedup_horizon_ms
            runtime.ids = [s for s in runtime.ids if s.newest_ms >= progress.log_time_ms - horizon]
            chunks = [
                snapshot.state[i : i + messages.CHUNK_BYTES]
                for i in range(0, len(snapshot.state), messages.CHUNK_BYTES)
            ]
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
        await self.publisher.send_all([self._messages.of_progress(progress)])
        runtime.saved = progress
        passing("after_snapshot")
        SNAPSHOT_SECONDS.observe(monotonic() - began)

    async def _save_keys(self, place: int, runtime: SourceRuntime, packed: bytes, progress: Progress) -> list[Segment]:
        """Packed keys in messages of bounded size; each message is packed by itself."""
        total = len(packed) // _KEY_BYTES
        size = messages.CHUNK_BYTES // _KEY_BYTES
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
