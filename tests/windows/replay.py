"""Replays a log through stage 1 and stage 2 without any server: any batches, flushes, restarts and orders of cells."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np

from schemas import internal
from schemas.internal import SavedState
from schemas.results import Cell
from streamproc.agents.restore import load_state
from streamproc.decode import decode_batch
from streamproc.windows.merge import MergeState, SourceProgress
from streamproc.windows.source import SourceState
from tests.support.truth import Record

NOW_MS = 1_800_000_000_000


def by_source(records: list[Record]) -> dict[tuple[str, int], list[Record]]:
    """Records of each partition in offset order."""
    found: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        found[record.topic, record.partition].append(record)
    for partition in found.values():
        partition.sort(key=lambda record: record.offset)
    return found


def fold(state: SourceState, records: list[Record]) -> Any:
    """Apply one batch."""
    decoded = decode_batch(state.topic, [record.value for record in records])
    kafka_ms = np.array([record.kafka_timestamp_ms for record in records], dtype=np.int64)
    return state.apply(records[-1].offset, kafka_ms, decoded.ok, decoded.columns)


class Saved:
    """A snapshot with its ids, as the flusher writes it."""

    def __init__(self, state: SourceState) -> None:
        dimensions = {name: index.values for name, index in state.dimensions.items()}
        self.state = internal.encode(
            SavedState(state.source, state.offset, state.log_time_ms, state.max_event_ms, dimensions, state.all_cells())
        )
        self.ids = state.ids.dump(state.log_time_ms)
        self.statuses = state.statuses.dump(state.log_time_ms)

    def load(self, topic: str) -> SourceState:
        stored = internal.decode_state(self.state)
        state = SourceState(topic, stored.source)
        load_state(state, stored)
        state.ids.load(self.ids)
        state.statuses.load(self.statuses)
        return state


def cells_of(topic: str, partition: int, records: list[Record], rng: random.Random, crashes: bool) -> list[list[Cell]]:
    """Flushed cells of one source; with `crashes` the worker dies at random places and goes on from its snapshot."""
    state = SourceState(topic, f"{topic}/{partition}/log")
    saved: Saved | None = None
    flushed: list[list[Cell]] = []
    position = 0
    while position < len(records):
        size = rng.choice((1, 3, 17, 200, 2000))
        fold(state, records[position : position + size])
        position += size
        if rng.random() < 0.5 or position >= len(records):
            flushed.append(state.take_dirty(0.0, everything=True))
            state.evict()
            if rng.random() < 0.3:
                saved = Saved(state)
        if crashes and rng.random() < 0.05:
            state = SourceState(topic, f"{topic}/{partition}/log") if saved is None else saved.load(topic)
            position = next((i for i, r in enumerate(records) if r.offset > state.offset), len(records))
    return flushed


def published(
    flushed: list[list[Cell]], progress: dict[str, SourceProgress] | None = None
) -> dict[tuple[str, str, int, str, str], tuple[float | None, int, int, str]]:
    """What stage 2 publishes of these cells (value, count, late, status), once all sources are as far as `progress` says."""
    merge = MergeState()
    merge.restore([], dict.fromkeys(("1m", "5m", "1h", "1d"), -(2**62)), NOW_MS)
    for offset, cells in enumerate(flushed):
        merge.apply(cells, offset, NOW_MS)
    merge.finish(progress or {}, NOW_MS, 2**40)
    found = {}
    for key in merge.windows:
        for value in merge.values(key, NOW_MS):
            name = (value.metric, value.size, value.window_start_ms, value.dimension, value.dimension_value)
            found[name] = (value.value, value.count, value.late, value.status)
    return found
