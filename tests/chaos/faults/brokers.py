"""Faults of brokers that keep their data: killed, paused, restarted one by one, offsets of groups set wrong."""

from __future__ import annotations

import asyncio

from tests.chaos.fault import BROKERS, WORKERS, Fault
from tests.chaos.faults.processes import graceful
from tests.chaos.world import Broker, World


def _needs_kafka(world: World) -> str:
    return "" if world.kind == "kafka" else "the embedded broker keeps its log in memory only"


def _needs_three(world: World) -> str:
    return _needs_kafka(world) or ("" if len(world.brokers) >= 3 else "one broker has no replicas")


async def _start_all(world: World) -> None:
    # Together: a node of three is ready only beside another one.
    await asyncio.gather(*(broker.start() for broker in world.brokers if not broker.pid))


class PauseBroker(Fault):
    """SIGSTOP of a broker: connections stay open, nothing answers."""

    name, ids, touches = "SIGSTOP a broker", ("B1",), frozenset({BROKERS})

    async def inject(self, world: World) -> None:
        broker = world.rng.choice(world.brokers)
        world.pause(broker)
        await asyncio.sleep(world.rng.uniform(1.0, 15.0))
        broker.resume()


class KillBroker(Fault):
    """kill -9 of one broker; it comes back with its data after seconds."""

    name, ids, touches, weight = "kill -9 a broker", ("B1",), frozenset({BROKERS}), 2.0

    def impossible(self, world: World) -> str:
        return _needs_kafka(world)

    async def inject(self, world: World) -> None:
        broker = world.rng.choice(world.brokers)
        world.kill(broker)
        await asyncio.sleep(world.rng.uniform(0.5, 8.0))
        await broker.start()


class KillAllBrokers(Fault):
    """kill -9 of all brokers at once."""

    # Three JVMs that start at once while everything else tries to reach them took 60 s at a load of 25 on two cores.
    name, ids, touches, longest_s = "kill -9 all brokers at once", ("B1",), frozenset({BROKERS}), 150.0

    def impossible(self, world: World) -> str:
        return _needs_kafka(world)

    async def inject(self, world: World) -> None:
        for broker in world.brokers:
            world.kill(broker)
        await asyncio.sleep(world.rng.uniform(0.5, 8.0))
        await _start_all(world)


class RollingBrokers(Fault):
    """SIGTERM and start of one broker after the other."""

    name, ids, touches, longest_s = "rolling restart of brokers", ("B1",), frozenset({BROKERS}), 150.0

    def impossible(self, world: World) -> str:
        return _needs_three(world)

    async def inject(self, world: World) -> None:
        for broker in _shuffled(world):
            await broker.stop()
            await broker.start()


class LeaderLost(Fault):
    """kill -9 of one broker of three, then of workers while the leaderships move."""

    name, ids, touches = "kill -9 one of three brokers, and a worker", ("B1", "W1"), frozenset({BROKERS, WORKERS})

    def impossible(self, world: World) -> str:
        return _needs_three(world)

    async def inject(self, world: World) -> None:
        broker = world.rng.choice(world.brokers)
        world.kill(broker)
        await asyncio.sleep(world.rng.uniform(0.0, 2.0))
        alive = [worker for worker in world.workers if worker.alive]
        if alive:
            world.kill(world.rng.choice(alive))
        await asyncio.sleep(world.rng.uniform(2.0, 8.0))
        await broker.start()


class WrongOffsets(Fault):
    """The groups' committed offsets are set to the beginning, or ahead of our own progress: they are a hint only."""

    name, ids, touches = "committed offsets set to 0 or to the end", ("B4",), frozenset({BROKERS, WORKERS})
    alone, longest_s = True, 120.0

    def impossible(self, world: World) -> str:
        return _needs_kafka(world)

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        workers = [worker for worker in world.workers if worker.role in ("windows", "archive")]
        to_the_end = world.rng.random() < 0.5
        try:
            for worker in workers:
                await graceful(world, worker)
            for group in ("streamproc-windows", "streamproc-archive"):
                for topic, count in sorted((await asyncio.to_thread(_ends, world)).items()):
                    for partition, end in count.items():
                        offset = end if to_the_end else 0
                        await asyncio.to_thread(world.cluster.set_group_offset, group, topic, partition, offset)
        finally:
            for worker in workers:
                if not worker.alive:
                    worker.start()


class MorePartitions(Fault):
    """An event topic gets one partition more while all run: it is read without a restart."""

    name, ids, touches = "partitions added to an event topic", ("B5",), frozenset({BROKERS})
    _most = 8

    def impossible(self, world: World) -> str:
        return _needs_kafka(world)

    async def inject(self, world: World) -> None:
        assert world.cluster is not None
        ends = await asyncio.to_thread(_ends, world)
        topic = world.rng.choice(sorted(ends))
        total = min(self._most, len(ends[topic]) + 1)
        if total > len(ends[topic]):
            await asyncio.to_thread(world.cluster.add_partitions, topic, total)
        world.log({"event": "partitions", "topic": topic, "total": total})


def _ends(world: World) -> dict[str, dict[int, int]]:
    assert world.cluster is not None
    topics = ("user-events", "video-status", "cost-events")
    return {topic: {n: end for n, (_, end) in world.cluster.bounds(topic).items()} for topic in topics}


def _shuffled(world: World) -> list[Broker]:
    brokers = list(world.brokers)
    world.rng.shuffle(brokers)
    return brokers


def faults() -> list[Fault]:
    """All of this module."""
    return [
        PauseBroker(),
        KillBroker(),
        KillAllBrokers(),
        RollingBrokers(),
        LeaderLost(),
        WrongOffsets(),
        MorePartitions(),
    ]
