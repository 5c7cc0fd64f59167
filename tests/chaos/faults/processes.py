"""Faults of worker processes: killed, paused, stopped, multiplied, rebalanced while they write."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from tests.chaos.fault import CLICKHOUSE, WORKERS, Fault, NotInjectedError
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World
from tests.support.proxy import Mode

#: The promise: SIGTERM finishes the batch in flight, flushes and leaves the group within this time.
GRACEFUL_S: Final = 15.0
_START_S: Final = 20.0


async def any_worker(world: World, role: str = "") -> WorkerHandle:
    """A worker that runs and that no other fault holds, drawn at random.

    Raises:
        NotInjectedError: none runs.
    """
    deadline = time.monotonic() + _START_S
    while True:
        found = [w for w in world.workers if w.alive and w.wanted and not w.paused and role in ("", w.role)]
        if found:
            return world.rng.choice(found)
        if time.monotonic() > deadline:
            raise NotInjectedError(f"no {role or 'worker'} is alive")
        await asyncio.sleep(0.1)


async def up_or_late(world: World, worker: WorkerHandle) -> None:
    """Wait until the worker is ready, or go on after a while: whether it recovers is judged by the run, not here."""
    with contextlib.suppress(AssertionError):
        await world.until(f"{worker.name} is up", worker.ready, _START_S)


class KillSome(Fault):
    """Random workers, one after the other."""

    name, ids, touches, weight = "kill -9 random workers", ("W1",), frozenset({WORKERS}), 4.0

    async def inject(self, world: World) -> None:
        for _ in range(world.rng.randrange(1, 6)):
            world.kill(await any_worker(world))
            await asyncio.sleep(world.rng.uniform(0.1, 3.0))


class KillAll(Fault):
    """All workers at once, again and again while they start."""

    name, ids, touches, weight = "kill -9 all workers at once", ("W1",), frozenset({WORKERS}), 2.0

    async def inject(self, world: World) -> None:
        for _ in range(world.rng.randrange(1, 4)):
            for worker in world.workers:
                if worker.alive:
                    world.kill(worker)
            await asyncio.sleep(world.rng.uniform(1.5, 6.0))


class Pause(Fault):
    """SIGSTOP of one worker: shorter or longer than the session; the longer makes a zombie that wakes up."""

    ids, touches = ("W4",), frozenset({WORKERS})

    def __init__(self, long: bool) -> None:
        self.name = f"SIGSTOP a worker {'above' if long else 'below'} its session"
        self.weight = 2.0
        self._long = long

    async def inject(self, world: World) -> None:
        share = world.rng.uniform(1.3, 3.0) if self._long else world.rng.uniform(0.2, 0.8)
        worker = await any_worker(world, "windows" if world.rng.random() < 0.8 else "")
        world.pause(worker)
        await asyncio.sleep(min(30.0, share * world.session_timeout_s))
        worker.resume()


class PauseAll(Fault):
    """SIGSTOP of all windows workers above their session, and all wake up at once."""

    name, ids, touches = "SIGSTOP all windows workers above their session", ("W4",), frozenset({WORKERS})

    async def inject(self, world: World) -> None:
        paused = [worker for worker in world.of_role("windows") if worker.alive]
        for worker in paused:
            world.pause(worker)
        await asyncio.sleep(min(20.0, 1.5 * world.session_timeout_s))
        for worker in paused:
            worker.resume()


async def graceful(world: World, worker: WorkerHandle) -> None:
    """SIGTERM, and the end that was promised; the supervisor leaves the worker alone until it is started again.

    Raises:
        AssertionError: the exit code was not 0, or it took longer than `GRACEFUL_S`.
    """
    # While Python still starts it has nothing to finish, and ends by the signal; another fault may have killed it.
    allowed = {0, -9} if (await worker.get("live"))[0] else {0, -9, -15}
    armed = worker.alive and not worker.paused
    began = time.monotonic()
    code = await worker.stop(GRACEFUL_S)
    took = round(time.monotonic() - began, 2)
    world.log({"event": "graceful stop", "worker": worker.name, "code": code, "seconds": took})
    assert code in allowed or not armed, f"{worker.name} ended with {code} after SIGTERM; see {worker.log}"


class RollingRestart(Fault):
    """SIGTERM of one worker after the other under load; each must end with 0 within 15 s."""

    name, ids, touches, longest_s = "rolling restart (SIGTERM)", ("W5",), frozenset({WORKERS}), 200.0

    async def inject(self, world: World) -> None:
        for worker in list(world.workers):
            await up_or_late(world, worker)
            try:
                await graceful(world, worker)
            finally:
                worker.start()
            await asyncio.sleep(world.rng.uniform(0.0, 2.0))


class Scale(Fault):
    """Windows workers 3 -> 1 -> 3 (or as many as there are), by SIGTERM or SIGKILL."""

    name, ids, touches = "scale to one worker and back", ("W6",), frozenset({WORKERS})

    async def inject(self, world: World) -> None:
        windows = world.of_role("windows")
        world.rng.shuffle(windows)
        for worker in windows[1:]:
            if world.rng.random() < 0.5:
                worker.wanted = False
                world.kill(worker)
            else:
                await graceful(world, worker)
        await asyncio.sleep(world.rng.uniform(2.0, 12.0))
        for worker in windows[1:]:
            worker.start()
            await asyncio.sleep(world.rng.uniform(0.0, 3.0))


class MoreThanPartitions(Fault):
    """More windows workers than partitions; then one that works is killed and an idle one takes over."""

    name, ids, touches, longest_s = "more workers than partitions", ("W6",), frozenset({WORKERS}), 120.0

    async def inject(self, world: World) -> None:
        first = world.of_role("windows")
        added = [world.add_worker("windows") for _ in range(world.partitions + 1 - len(first))]
        for worker in added:
            await up_or_late(world, worker)
        world.kill(world.rng.choice([worker for worker in first if worker.alive] or added))
        await asyncio.sleep(world.rng.uniform(1.0, 5.0))
        for worker in added:
            await graceful(world, worker)
            world.workers.remove(worker)


class RebalanceInSlowFlush(Fault):
    """ClickHouse answers after seconds; meanwhile a worker joins, and leaves again."""

    name, ids, touches = "rebalances while flushes are slow", ("W7",), frozenset({WORKERS, CLICKHOUSE})

    async def inject(self, world: World) -> None:
        world.clickhouse.proxy.set(Mode.DELAY, world.rng.uniform(1.0, 6.0))
        try:
            added = world.add_worker("windows")
            await asyncio.sleep(world.rng.uniform(3.0, 12.0))
            await graceful(world, added)
            world.workers.remove(added)
        finally:
            world.clickhouse.proxy.set(Mode.PASS)


def faults() -> list[Fault]:
    """All of this module."""
    return [
        KillSome(),
        KillAll(),
        Pause(long=False),
        Pause(long=True),
        PauseAll(),
        RollingRestart(),
        Scale(),
        MoreThanPartitions(),
        RebalanceInSlowFlush(),
    ]
