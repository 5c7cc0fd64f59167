"""Puts the modelled clients, the virtual clock and small limits where the product's modules look for theirs."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any, Final, NoReturn
from unittest.mock import patch

import numpy as np

from schemas import internal
from streamproc import clock as product_clock
from streamproc.agents import (
    aggregate,
    flush,
    holes,
    log_reader,
    lookup,
    merge,
    merge_partition,
    messages,
    poison,
    progress_log,
    restore,
    role,
    snapshots,
    tasks,
    windows_role,
)
from streamproc.catalogue import MEASURES
from streamproc.windows import recent, source
from tests.simulation import census, virtual
from tests.simulation.broker import SimPublisher, SimReader, SimReaders
from tests.simulation.virtual import ProcessEnded
from tests.simulation.worker import SimAlerting, SimFollower


class SimLog:
    """In the place of structlog: errors are told to the world, which knows whether they are expected."""

    def warning(self, text: str, **fields: Any) -> None:
        """Warnings belong to faults."""

    info = debug = warning

    def error(self, text: str, **fields: Any) -> None:
        """What a person would be told."""
        if virtual.running is not None:
            virtual.running.process.world.error_logged(virtual.running.process, text, fields)


class _Scratch:
    """In the place of a temporary directory."""

    name = ""

    def __init__(self, prefix: str) -> None:
        pass

    def cleanup(self) -> None:
        """Nothing to remove."""


class _NoCounter:
    """In the place of a Prometheus metric: its cost would be a tenth of a history."""

    def labels(self, *_: str) -> _NoCounter:
        return self

    def inc(self, _: float = 1) -> None:
        pass

    def remove(self, *_: str) -> None:
        pass

    set = observe = inc


def _flatnonzero(values: Any) -> Any:
    return values.nonzero()[0]


def _searchsorted(values: Any, wanted: Any, side: Any = "left") -> Any:
    return values.searchsorted(wanted, side)


def _die(reason: str) -> NoReturn:
    process = virtual.running.process if virtual.running is not None else None
    cause = sys.exc_info()[1]
    if process is not None:
        process.end(f"{reason} {cause!r}" if cause is not None else reason)
    raise ProcessEnded(reason)


async def _survives(_work: object) -> bool:
    """No record of the simulator's ends a process, and a forked copy would not know the virtual clock."""
    return True


def _leave() -> NoReturn:
    if virtual.running is not None:
        virtual.running.process.end("")
    raise ProcessEnded("left")


_REPLACED: Final[tuple[tuple[Any, str, Any], ...]] = (
    (product_clock, "time", virtual.clock),
    (asyncio, "wait_for", virtual.wait_for),
    # Nobody asks for all tasks; a set of weak references to them would cost a twentieth of a history.
    (asyncio.tasks._all_tasks, "add", lambda _: None),  # type: ignore[attr-defined]
    (internal, "partition_of_window", functools.cache(internal.partition_of_window)),
    # For three records NumPy's wrappers take longer than what they wrap.
    (np, "flatnonzero", _flatnonzero),
    (np, "searchsorted", _searchsorted),
    # The windows of now, and all others: in production the latter are a dozen questions.
    (lookup, "_SPAN_MS", lookup._BACK_MS),
    (windows_role, "_BEHIND", 2),
    (windows_role, "Publisher", SimPublisher),
    (windows_role, "AlertAgent", SimAlerting),
    (windows_role, "Follower", SimFollower),
    (windows_role, "LogReader", SimReader),
    (windows_role, "LogReaders", SimReaders),
    (restore, "LogReaders", SimReaders),
    (restore, "LogReader", SimReader),
    (log_reader, "LogReader", SimReader),
    (holes, "LogReader", SimReader),
    (poison, "survives", _survives),
    (role.tempfile, "TemporaryDirectory", _Scratch),
    (role, "leave", _leave),
    (aggregate, "die", _die),
    (holes, "die", _die),
    (merge, "die", _die),
    (role, "die", _die),
    (tasks, "die", _die),
)

#: Limits that production never reaches within a few dozen records; most histories keep them, others draw a small one.
KNOBS: Final[tuple[tuple[Any, str, tuple[int, ...]], ...]] = (
    (messages, "CHUNK_BYTES", (400, 72)),
    (snapshots, "_MAX_SEGMENTS", (1,)),
    (snapshots, "_FULL_SNAPSHOT_S", (10,)),
    (flush, "_MAX_UNFLUSHED_DEAD", (4,)),
    (recent, "_MEMORY_LIMIT", (3,)),
    (recent, "_DIRECT_RUN", (2,)),
    (recent, "_MAX_JOURNAL", (1,)),
    (progress_log, "_FIRST_STEP", (2,)),
    (aggregate, "SLICE", (2,)),
    (merge, "_MAX_JOINED", (1,)),
    (merge_partition, "_MAX_PASSED", (1,)),
    (merge_partition, "_MANY_ENTITIES", (0,)),
    (lookup, "_LOAD_KEYS", (1,)),
)
#: The share of histories in which all measures of their topics are computed; others have one or two of each topic.
_ALL_MEASURES: Final = 0.12
_USUAL: Final = {(module, name): getattr(module, name) for module, name, _ in KNOBS}


def turn_knobs(rng: Random) -> None:
    """Draw one history's limits."""
    for module, name, choices in KNOBS:
        setattr(module, name, rng.choice(choices) if rng.random() < 0.15 else _USUAL[module, name])


def choose_measures(rng: Random, sources: Collection[str]) -> frozenset[str]:
    """Draw one history's measures, by name: all take the same way, and fewer leave time for more histories."""
    chosen = [measure for measure in MEASURES if measure.topic in sources]
    if rng.random() >= _ALL_MEASURES:
        few = rng.choice((1, 2))
        chosen = [one for topic in sources for one in rng.sample([m for m in chosen if m.topic == topic], few)]
    source.MEASURES = tuple(chosen)
    return frozenset(measure.name for measure in chosen)


@contextmanager
def simulated() -> Iterator[None]:
    """While it is entered, the product's modules of this process belong to the simulator."""
    with ExitStack() as stack:
        for module in [m for name, m in sys.modules.items() if name.startswith("streamproc.agents.")]:
            if hasattr(module, "log"):
                stack.enter_context(patch.object(module, "log", SimLog()))
            for name, value in vars(module).items():
                if type(value).__module__ == "prometheus_client.metrics":
                    stack.enter_context(patch.object(module, name, _NoCounter()))
        for module, name, value in (*_REPLACED, *census.REPLACED):
            stack.enter_context(patch.object(module, name, value))
        for (module, name), usual in _USUAL.items():
            stack.enter_context(patch.object(module, name, usual))
        stack.enter_context(patch.object(source, "MEASURES", MEASURES))
        stack.callback(gc.enable)
        # A history's garbage is cyclic; the runner collects it between histories.
        gc.disable()
        yield
