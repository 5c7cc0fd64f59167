"""Coming to rest: what is still to be done, which timers let it be done, and doing it without faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.simulation import virtual
from tests.simulation.worker import Process
from tests.simulation.world import World

_ROUNDS: Final = 80
#: Longer than stage 2 waits for stored cells.
_ROUND_MS: Final = 2100
_NOTICED: Final = 3
#: How often a step is tried in one round: a window is published, then written.
_TRIES: Final = 3
#: Timers that fire only where something waits for them; others (clock, refill, reports, retries) fire now and then.
_OFTEN: Final = frozenset(("flush", "emit", "load", "redis", "clickhouse"))

Owners = tuple[str, ...]
"""Names of tasks whose timers have to fire."""


def to_fetch(process: Process) -> Owners | None:
    """What lets it take in what lies in the logs; None if there is nothing."""
    logs = process.world.broker.logs
    behind = any(at < logs[tp].next_offset and logs[tp].read(at, 1) for tp, at in process.positions.items())
    return () if behind or process.in_hand else None


def to_flush(process: Process) -> Owners | None:
    """What lets it hand over what it has folded."""
    for runtime in process.role.aggregator.runtimes.values():
        state = runtime.state
        if state is not None and (state.dirty or runtime.dead or runtime.reported_offset < state.offset):
            return ("flush",)
    return ("flush",) if process.role.aggregator.retired else None


def is_flushing(process: Process) -> bool:
    """Whether a flush or a snapshot is under way: it may wait to try again."""
    flusher = process.role.flusher
    return flusher._lock.locked() or (flusher._saving is not None and not flusher._saving.done())


def to_publish(process: Process) -> Owners | None:
    """What lets it publish what it has merged, and write it."""
    merge = process.role.merge
    for held in merge.partitions.values():
        if not held.loaded or held.history_due or held.state.dirty or held.state.to_load:
            return ("load", "emit")
    waiting = [sink.name for sink in (merge.redis, merge.clickhouse) if len(sink)]
    return tuple(waiting) if waiting else None


def unrest(world: World) -> list[str]:
    """What is still to be done."""
    found = []
    for process in _awake(world):
        if process.rejoining or process.taken_number < process.target_number or process.stopping:
            found.append(f"{process.name} has not taken over its partitions")
        elif to_fetch(process) is not None:
            found.append(f"{process.name} is behind: {process.positions}")
        elif to_flush(process) is not None or is_flushing(process):
            found.append(f"{process.name} has not flushed")
        elif to_publish(process) is not None:
            found.append(f"{process.name} has not published or written")
        elif process.role.alerting.waits():
            found.append(f"{process.name} has not recorded what it judged")
        elif process.requests or process.loop.ready:
            found.append(f"{process.name} is busy")
    return found


def settle(world: World) -> list[str]:
    """Let all be read, flushed, merged and written by those who are not paused; returns what could not be done."""
    # An emptied Redis is noticed within a second, but not filled twice in five.
    least = _NOTICED if "Redis emptied" in world.faults else 1
    for number in range(_ROUNDS):
        virtual.clock.ms += _ROUND_MS
        _round(world, number < least or number % 3 == 0)
        if number + 1 >= least and world.processes and not unrest(world):
            return []
    return unrest(world) or ["no worker is left"]


def _round(world: World, is_rare: bool) -> None:
    """All that every worker can do now, in the order in which they get furthest: each step before the next one."""
    for process in _awake(world):
        if process.taken_number < process.target_number:
            process.rejoin()
            drain(world, process)
        if process.alive and (is_rare or process.rejoining or process.stopping or is_flushing(process)):
            fire(world, process, lambda owner: owner not in _OFTEN)
    for due in (to_fetch, to_flush, to_fetch, to_publish):
        for process in _awake(world):
            for _ in range(_TRIES):
                owners = due(process) if process.alive else None
                if owners is None:
                    break
                for topic in world.fetched:
                    process.fetch(topic, 1000)
                fire(world, process, owners.__contains__)


def _awake(world: World) -> list[Process]:
    return [process for process in world.processes if not process.paused]


def fire(world: World, process: Process, is_due: Callable[[str], bool]) -> None:
    """Fire the timers of some tasks, and let what follows happen."""
    for timer in list(process.loop.timers):
        if is_due(timer.owner):
            timer.fire()
    drain(world, process)


def drain(world: World, process: Process) -> None:
    """Run one worker, and answer it, until nothing is under way."""
    while process.alive and not process.loop.ended:
        process.loop.run_ready(10_000)
        if world.answers:
            world.deliver_answer()
        elif process.requests:
            requests, process.requests = process.requests, []
            for request in requests:
                world.resolve(request, world.apply(request))
        elif not process.loop.ready:
            return
    if process.loop.ended and process.alive:
        world.bury(process)
        if not world.processes:
            world.start_process()
