"""Kills and pauses beside the faults of a round: any process that none of them strikes, at any time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Final

from tests.chaos.fault import BROKERS, CLICKHOUSE, EVERYTHING, REDIS, Fault
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import Server, World

#: Within so many seconds from the beginning of the round.
_WITHIN_S: Final = 10.0
#: Workers are most of what there is, and start in seconds; a broker or ClickHouse takes longer.
_WORKER_WEIGHT, _SERVER_WEIGHT = 4.0, 1.0
_KILLED: Final = 0.65
_WAIT_S: Final = 15.0


async def hail(world: World, faults: Iterable[Fault], count: int) -> None:
    """Kill or pause so many processes; servers are started again, workers by their supervisor."""
    struck = frozenset[str]().union(*(fault.places for fault in faults))
    if struck >= EVERYTHING:
        return
    seeds = [world.rng.getrandbits(32) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for seed in seeds:
            group.create_task(_one(world.seen_by(random.Random(seed)), struck))


async def _one(world: World, struck: frozenset[str]) -> None:
    await asyncio.sleep(world.rng.uniform(0.0, _WITHIN_S))
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while not (found := _candidates(world, struck)):
        if asyncio.get_running_loop().time() > deadline:
            return  # all are down already
        await asyncio.sleep(0.2)
    process = world.rng.choices([each for each, _ in found], [weight for _, weight in found])[0]
    if world.rng.random() < _KILLED:
        world.kill(process)
        if not isinstance(process, WorkerHandle):
            await asyncio.sleep(world.rng.uniform(0.2, 4.0))
            await process.start()
        return
    world.pause(process)
    most_s = 2.5 * world.session_timeout_s if world.rng.random() < 0.3 else 0.8 * world.session_timeout_s
    await asyncio.sleep(world.rng.uniform(0.5, most_s))
    process.resume()


def _candidates(world: World, struck: frozenset[str]) -> list[tuple[WorkerHandle | Server, float]]:
    """Processes that run and that nobody holds, with how likely each is drawn."""
    found: list[tuple[WorkerHandle | Server, float]] = [
        (worker, _WORKER_WEIGHT) for worker in world.workers if worker.alive and worker.wanted and not worker.paused
    ]
    servers: list[Server] = []
    if CLICKHOUSE not in struck:
        servers.append(world.clickhouse)
    if REDIS not in struck:
        servers.append(world.redis)
    # One of three at a time: what was acknowledged must stay, and be served.
    if BROKERS not in struck and len(world.brokers) >= 3 and all(_runs(broker) for broker in world.brokers):
        servers += world.brokers
    return found + [(server, _SERVER_WEIGHT) for server in servers if _runs(server)]


def _runs(server: Server) -> bool:
    return server.pid != 0 and not server.paused
