"""Mistakes that can be planted in the product while it is simulated: the simulator must find a wrong value of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from schemas import internal, topics
from schemas.internal import Progress
from schemas.results import Cell
from streamproc.agents import flush, publisher, restore, windows_role
from streamproc.agents.progress_log import Known
from streamproc.windows.merge import MergeState, Window, key_of
from tests.simulation import virtual
from tests.simulation.stores import ClickHouse, Redis, name_of


@dataclass(frozen=True)
class Plant:
    """A mistake: `replaced` are (owner, name of its attribute, what stands there instead)."""

    why_wrong: str
    replaced: tuple[tuple[Any, str, Any], ...]

    def plant(self) -> AbstractContextManager[Any]:
        """While it is entered, the product makes this mistake."""
        stack = ExitStack()
        for owner, name, instead in self.replaced:
            stack.enter_context(patch.object(owner, name, instead))
        return stack


async def _send_without_waiting(self: publisher.Publisher, messages: list[publisher.Message]) -> list[int]:
    """Cells and dead letters are sent beside what follows: progress and snapshots do not wait for them."""
    if not any(message.cells or message.topic == topics.DEAD_LETTERS for message in messages):
        return await _send_all(self, messages)
    assert virtual.running is not None
    virtual.running.create_task(_send_all(self, messages), name="send")
    return [-1] * len(messages)


_send_all = publisher.Publisher.send_all


def _join_any(self: Window, cell: Cell) -> bool:
    self._cells[cell.start_ms, cell.source] = (cell.version, None, cell.data)
    return True


def _keep_last(self: Known, record: Progress, position: int) -> None:
    if record.topic.startswith(internal.BESIDE):
        return
    self.written_at = position
    self.offset, self.tail_hash = record.offset, record.tail_hash
    if record.kind != "progress":
        self.snapshot = record


def _put_last_cells(self: ClickHouse, cells: Iterable[Cell]) -> None:
    for cell in cells:
        self.cells.setdefault(tuple(key_of(cell)), {})[cell.start_ms, cell.source] = cell  # type: ignore[arg-type]  # its fields


def _put_last_values(self: ClickHouse, values: Iterable[Any]) -> None:
    for value in values:
        self.values[name_of(value)] = value


def _forgetting(original: Callable[..., None], place: int) -> Callable[..., None]:
    """What is held of a cell gives way to what the store has, whatever their versions."""

    def planted(self: MergeState, *args: Any) -> None:
        for cell in args[place]:
            window = self.windows.get(key_of(cell))
            if window is not None:
                window._cells.pop((cell.start_ms, cell.source), None)
        original(self, *args)

    return planted


def _load_with_cells_time(self: restore.SourceRestorer, runtime: Any, saved: Progress, read: Any) -> bool:
    loaded = _load(self, runtime, saved, read)
    assert virtual.running is not None
    for (topic, _), log in virtual.running.process.world.broker.logs.items():
        for record in log.everything if topic == topics.WINDOW_PARTIALS else ():
            partials = internal.decode_partials(record.value or b"")
            newest = [cell.start_ms for cell in partials.cells if cell.size == "1m" and cell.source == runtime.source]
            runtime.state.max_event_ms = max([runtime.state.max_event_ms, *newest])
    return loaded


_load = restore.SourceRestorer._load


async def _restore_committed(
    self: restore.SourceRestorer, assigned: set[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Read on where the group has committed: Faust's commit can pass batches that are in flight."""
    assert virtual.running is not None
    committed = virtual.running.process.world.committed
    fresh = {name for name in assigned if name not in self.aggregator.runtimes}
    positions = await _restore(self, assigned)
    for name in fresh:
        state = self.aggregator.runtimes[name].state
        if state is not None and name in committed:
            positions[name] = committed[name]
            state.offset = committed[name] - 1
    return positions


_restore = restore.SourceRestorer.restore


async def _always(*_: Any) -> bool:
    return True


async def _all_held(self: Any, reader: Any, places: dict[Any, Any]) -> dict[Any, bool]:
    self._begins.update(dict.fromkeys(places, 0))
    return dict.fromkeys(places, True)


async def _first_record(self: Any, reader: Any, runtime: Any, first: Any, logs: Any) -> str:
    return restore.log_identity(first)


async def _cancellable(self: flush.Flusher, everything: bool = False) -> None:
    await self._flush(everything)


async def _is_same_if_empty(self: restore.SourceRestorer, reader: Any, runtime: Any) -> bool:
    if runtime.state is None or runtime.state.offset < 0:
        return True
    return await _is_same(self, reader, runtime)


_is_same = restore.SourceRestorer.is_same

PLANTS: dict[str, Plant] = {
    "progress-first": Plant(
        "Progress and snapshots are written before cells and dead letters are acknowledged. Who restarts from them never "
        "sends what was lost between.",
        ((publisher.Publisher, "send_all", _send_without_waiting),),
    ),
    "no-version-check": Plant(
        "Stage 2 takes the cell that came last. A zombie's, or one that is read again, turns a window back.",
        ((Window, "join", _join_any),),
    ),
    "no-version-check-in-redis": Plant("Redis takes what was written last.", ((Redis, "compare", False),)),
    "last-progress": Plant(
        "The last snapshot written is taken and not the one with the highest offset: a zombie's. Any snapshot is a right "
        "place to start from, so this matters only where retention has deleted records that the newer one includes.",
        ((Known, "add", _keep_last),),
    ),
    "last-row": Plant(
        "The same mistake in the store: ReplacingMergeTree without its version column keeps the row inserted last.",
        ((ClickHouse, "put_cells", _put_last_cells), (ClickHouse, "put_values", _put_last_values)),
    ),
    "restore-without-versions": Plant(
        "What ClickHouse holds replaces what is held, whatever the versions: an answer that was read before the last "
        "write turns windows back.",
        (
            (MergeState, "restore", _forgetting(MergeState.restore, 0)),
            (MergeState, "loaded", _forgetting(MergeState.loaded, 1)),
        ),
    ),
    "event-time-from-cells": Plant(
        "The highest event time is taken from restored cells, among them those that were sent after the snapshot: events "
        "that are folded again are judged by what came after them. (From the cells of the snapshot itself it would be "
        "right: the newest one is always among them, and windows end at whole minutes, as its start is one.)",
        ((restore.SourceRestorer, "_load", _load_with_cells_time),),
    ),
    "committed-offset": Plant(
        "The group's committed offset says where to read on: batches in flight are skipped.",
        ((restore.SourceRestorer, "restore", _restore_committed),),
    ),
    "no-log-identity": Plant(
        "Logs are not told apart: the records of a new one are taken for repeats of the old one's.",
        (
            (restore.SourceRestorer, "_held_offsets", _all_held),
            (restore.SourceRestorer, "is_same", _always),
            (windows_role.WindowsRole, "_holds", _always),
        ),
    ),
    "cancelled-flush": Plant(
        "Found by the simulator: a flush that a stop cancels loses its cells, and the next snapshot vouches for them.",
        ((flush.Flusher, "flush", _cancellable),),
    ),
    "identity-by-first-record": Plant(
        "Found by the simulator: where retention has deleted the first record and no snapshot is whole, the log counts "
        "as a new one, and all that it still holds counts twice.",
        ((restore.SourceRestorer, "_identity", _first_record),),
    ),
    "empty-state-fits-any-log": Plant(
        "Found by the simulator: a log that is lost between its restore and the first batch keeps the old identity.",
        ((restore.SourceRestorer, "is_same", _is_same_if_empty),),
    ),
}
