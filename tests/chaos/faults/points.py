"""Faults inside a worker at named points of its code: it crashes, raises, or keeps its event loop busy there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from streamproc.failpoints import EXIT_CODE, POINTS
from tests.chaos.fault import WORKERS, Fault
from tests.chaos.faults.processes import any_worker
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World

_ROLES: Final = {"after_bronze": "archive", "after_slack": "notify"}
#: Points that load alone reaches soon; alerts need an event that crosses a threshold.
_RARE: Final = frozenset({"before_alert", "after_slack"})
_START_S: Final = 30.0
_REACHED_S: Final = 25.0
_FATAL: Final = 70


class CrashAt(Fault):
    """The process ends at the n-th passing of a point; the supervisor starts it again without the point."""

    ids, touches = ("W2",), frozenset({WORKERS})

    def __init__(self, point: str) -> None:
        self.name = f"crash at {point}"
        self._point = point

    async def inject(self, world: World) -> None:
        most = 2 if self._point in _RARE else 12
        await strike(world, "CRASH", self._point, f"{world.rng.randrange(1, most)}", EXIT_CODE)


class RaiseAt(Fault):
    """An unexpected error in an agent or background task ends the process before anything is acknowledged."""

    name, ids, touches = "unexpected error in the code", ("W3",), frozenset({WORKERS})

    async def inject(self, world: World) -> None:
        point = world.rng.choice(["after_decode", "before_flush", "after_progress", "after_clickhouse", "after_redis"])
        await strike(world, "RAISE", point, f"{world.rng.randrange(1, 12)}", _FATAL)


async def strike(world: World, action: str, point: str, rest: str, code: int) -> None:
    """Start one worker again with an armed point and wait until it has ended there.

    The journal says if the point was not reached: the machine may be slow, and some points need more than load.

    Raises:
        AssertionError: the process ended in another way, or worked for `_REACHED_S` without passing where load leads.
    """
    worker = any_worker(world, _ROLES.get(point, "windows"))
    world.kill(worker)
    worker.start(**{f"STREAMPROC_{action}_AT": f"{point}:{rest}"})
    # Not the supervisor's, so that nobody starts it again before its end was seen.
    worker.wanted = False
    was_ready = False
    with contextlib.suppress(AssertionError):
        await world.until("it works", lambda: _is_over(worker), _START_S)
        was_ready = worker.alive
        await world.until("the point is reached", lambda: not worker.alive, _REACHED_S)
    reached, found = not worker.alive, worker.exit_code
    world.log({"event": "failpoint", "point": point, "action": action, "worker": worker.name, "reached": reached})
    if reached:
        world.counts["kills"] += 1
    else:
        world.kill(worker)
    worker.start()
    if reached:
        assert found == code, f"{worker.name} ended with {found} at {point}, not {code}; see {worker.log}"
    else:
        assert not was_ready or point in _RARE, f"{worker.name} did not come to {point} within {_REACHED_S:.0f} s"


async def _is_over(worker: WorkerHandle) -> bool:
    """Whether the worker has ended already, or works."""
    return not worker.alive or await worker.ready()


class BlockLoop(Fault):
    """The event loop is busy for seconds, between any two steps, while another worker is killed or joins."""

    name, ids, touches = "event loop blocked during a rebalance", ("W7", "W8"), frozenset({WORKERS})
    weight = 2.0

    async def inject(self, world: World) -> None:
        worker = any_worker(world, "windows")
        points = ["after_decode", "before_flush", "before_progress", "after_progress", "after_ids", "after_state"]
        point, seconds = world.rng.choice(points), world.rng.uniform(2.0, 2.5 * world.session_timeout_s)
        world.kill(worker)
        worker.start(STREAMPROC_BLOCK_AT=f"{point}:{world.rng.randrange(2, 8)}:{seconds:.1f}")
        world.log({"event": "failpoint", "point": point, "action": "BLOCK", "worker": worker.name, "seconds": seconds})
        await asyncio.sleep(world.rng.uniform(4.0, 8.0))
        others = [w for w in world.of_role("windows") if w is not worker and w.alive]
        if others:
            world.kill(world.rng.choice(others))
        await asyncio.sleep(seconds)


def faults() -> list[Fault]:
    """All of this module."""
    return [*(CrashAt(point) for point in POINTS), RaiseAt(), BlockLoop()]
