"""Faults inside a worker at named points of its code: it crashes, raises, or keeps its event loop busy there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from streamproc.failpoints import EXIT_CODE, POINTS
from tests.chaos.fault import ANOTHER_WORKER, ONE_WORKER, WORKERS, Fault, NotInjectedError
from tests.chaos.faults.processes import any_worker
from tests.chaos.faults.slack import dear_videos
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World

_ROLES: Final = {"after_bronze": "archive", "after_slack": "notify"}
#: Alerts need events that cross a threshold: of so many videos, so that every worker has some.
_ALERTS: Final = frozenset({"before_alert", "after_slack"})
_DEAR_VIDEOS: Final = 48
#: A snapshot of each partition is written every few seconds; all other points are passed several times a second.
_SELDOM: Final = frozenset(
    {"after_ids", "after_state", "after_snapshot", "before_commit", "after_commit", "after_evict"}
)
#: Passed by the role `intake`, which the fault run has no streams for, and by the scheduler, which it does not start.
_NOT_HERE: Final = frozenset({"after_intake", "before_job", "after_job", "after_job_record"})
_START_S: Final = 20.0
_REACHED_S: Final = 30.0
_FATAL: Final = 70


class CrashAt(Fault):
    """The process ends at the n-th passing of a point; the supervisor starts it again without the point."""

    ids = ("W2",)

    def __init__(self, point: str, place: str) -> None:
        self.name = f"crash at {point}"
        self.touches = frozenset({place})
        self._point = point

    async def inject(self, world: World) -> None:
        most = 2 if self._point in _ALERTS else 3 if self._point in _SELDOM else 8
        await strike(world, "CRASH", self._point, f"{world.rng.randrange(1, most)}", EXIT_CODE)


class RaiseAt(Fault):
    """An unexpected error in an agent or background task ends the process before anything is acknowledged."""

    name, ids, touches = "unexpected error in the code", ("W3",), frozenset({ONE_WORKER})

    async def inject(self, world: World) -> None:
        point = world.rng.choice(["after_decode", "before_flush", "after_progress", "after_clickhouse", "after_redis"])
        await strike(world, "RAISE", point, f"{world.rng.randrange(1, 8)}", _FATAL)


async def strike(world: World, action: str, point: str, rest: str, code: int) -> None:
    """Start one worker again with an armed point and wait until it has ended there.

    Raises:
        NotInjectedError: the point was not passed in time: the machine is slow, or others were struck as well.
    """
    worker = await any_worker(world, _ROLES.get(point, "windows"))
    # Not the supervisor's, so that nobody starts it again before its end was seen.
    worker.wanted = False
    try:
        world.kill(worker)
        worker.start(**{f"STREAMPROC_{action}_AT": f"{point}:{rest}"})
        worker.wanted = False
        # It may pass the point before it is ready, and a sink that is away keeps it from being so.
        with contextlib.suppress(AssertionError):
            await world.until("it works", lambda: _is_over(worker), _START_S)
        if worker.alive and point in _ALERTS:
            await dear_videos(world, _DEAR_VIDEOS)
        with contextlib.suppress(AssertionError):
            await world.until("the point is reached", lambda: not worker.alive, _REACHED_S)
        found = worker.exit_code
        entry = {"event": "failpoint", "point": point, "action": action, "worker": worker.name, "code": found}
        world.log(entry)
    finally:
        if worker.alive:
            world.kill(worker)
        worker.start()
    if found != code:
        raise NotInjectedError(f"{worker.name} ended with {found} instead of passing {point}")
    world.counts["kills"] += 1


async def _is_over(worker: WorkerHandle) -> bool:
    """Whether the worker has ended already, or works."""
    return not worker.alive or await worker.ready()


class BlockLoop(Fault):
    """The event loop is busy for seconds, between any two steps, while another worker is killed or joins."""

    name, ids, touches = "event loop blocked during a rebalance", ("W7", "W8"), frozenset({WORKERS})
    weight = 2.0

    async def inject(self, world: World) -> None:
        worker = await any_worker(world, "windows")
        points = ["after_decode", "before_flush", "before_progress", "after_progress", "after_ids", "after_state"]
        point, seconds = world.rng.choice(points), world.rng.uniform(2.0, 2.5 * world.session_timeout_s)
        worker.wanted = False
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
    places = (ONE_WORKER, ANOTHER_WORKER)
    crashes = [CrashAt(point, places[number % 2]) for number, point in enumerate(POINTS) if point not in _NOT_HERE]
    return [*crashes, RaiseAt(), BlockLoop()]
