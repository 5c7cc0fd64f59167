"""What histories contain, counted while they run: poorer histories would be seen, though nothing fails in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streamproc.agents.aggregate import Aggregator
from streamproc.agents.flush import Flusher
from streamproc.agents.live_view import LiveView
from streamproc.agents.restore import SourceRestorer
from streamproc.agents.snapshots import Snapshots
from streamproc.windows.merge import MergeState
from streamproc.windows.source import SourceState
from tests.simulation import virtual


def note(kind: str, number: int = 1) -> None:
    """Something happened in the process that runs now."""
    if number and virtual.running is not None:
        world = virtual.running.process.world
        if not world.resting:
            world.contents[kind] += number


def _counting(kind: str, original: Callable[..., Any], number: Callable[[Any], int]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        result = original(*args)
        note(kind, number(result))
        return result

    return counted


def _awaited(kind: str, original: Callable[..., Any], number: Callable[[Any], int]) -> Callable[..., Any]:
    async def counted(*args: Any) -> Any:
        result = await original(*args)
        note(kind, number(result))
        return result

    return counted


def _one(_: Any) -> int:
    return 1


#: Owner, name of the method, what its calls count as, and how many a call counts for.
_COUNTED: Final[tuple[tuple[Any, str, str, Callable[[Any], int]], ...]] = (
    (SourceState, "evict", "cells evicted", int),
    (MergeState, "forget", "windows let go", _one),
    (MergeState, "finish", "windows final", int),
    (MergeState, "loaded", "windows looked up", _one),
    (LiveView, "refill", "Redis filled again", _one),
    (Flusher, "_remember_sent", "flushes sent", _one),
    (SourceRestorer, "_load", "restored from a snapshot", int),
)
_AWAITED: Final[tuple[tuple[Any, str, str, Callable[[Any], int]], ...]] = (
    (Aggregator, "_fold", "batches folded", _one),
    (Snapshots, "save", "snapshots", _one),
    (SourceRestorer, "_begin", "restored without one", _one),
)

#: What `patches.simulated` puts in the place of these methods.
REPLACED: Final = (
    *((owner, name, _counting(kind, getattr(owner, name), by)) for owner, name, kind, by in _COUNTED),
    *((owner, name, _awaited(kind, getattr(owner, name), by)) for owner, name, kind, by in _AWAITED),
)
