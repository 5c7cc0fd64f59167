"""Faults that really lose records: a log that is gone, retention that overtakes a stopped worker. The oracle is told."""

from __future__ import annotations

import asyncio
from typing import Final

from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.chaos.fault import EVERYTHING, Fault
from tests.chaos.faults.processes import graceful
from tests.chaos.judge import save_log
from tests.chaos.recovery import at_rest
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World

_REST_S: Final = 3.0
_SOON_S: Final = 60.0
_START_S: Final = 60.0


class LostLog(Fault):
    """Every broker comes back empty while all workers live: a new log, whose events count beside the old ones.

    All is at rest when it happens, because what nobody had read is lost with a log by nature.
    """

    name, ids, touches, weight, longest_s = "the brokers lose their data", ("B2",), EVERYTHING, 0.5, 240.0
    alone = True

    async def inject(self, world: World) -> None:
        assert world.load is not None and world.watch is not None
        world.load.pause()
        try:
            await at_rest(world, world.watch, _REST_S, _SOON_S)
            await save_log(world)
            for broker in world.brokers:
                world.kill(broker)
            if world.cluster is not None:
                await asyncio.to_thread(world.cluster.lose_log)
            else:
                await asyncio.gather(*(broker.start() for broker in world.brokers))
            await ensure_topics(
                Settings(
                    broker_url=world.env["STREAMPROC_BROKER_URL"],
                    partitions=world.partitions,
                    replication_factor=int(world.env["STREAMPROC_REPLICATION_FACTOR"]),
                ),
                timeout_s=_SOON_S,
                replace_empty=True,
            )
            await world.watch.new_logs()
        finally:
            world.load.resume()


class Retention(Fault):
    """The windows workers are away, and the log is cut beyond their place: exactly that is counted as lost."""

    name, ids, touches, weight, longest_s = "retention overtakes a stopped worker", ("B3",), EVERYTHING, 0.5, 240.0
    alone = True

    def impossible(self, world: World) -> str:
        return "" if world.cluster is not None else "the embedded broker has no DeleteRecords"

    async def inject(self, world: World) -> None:
        assert world.cluster is not None and world.watch is not None and world.load is not None
        windows = world.of_role("windows")
        for worker in windows:
            await world.until(f"{worker.name} is ready", worker.ready, _START_S)
        try:
            for worker in windows:
                await graceful(world, worker)
            topic, partition, begins, cut = await self._cut(world)
        finally:
            for worker in windows:
                if not worker.alive:
                    worker.start()
        world.lost.append(f"{topic}/{partition}:{begins}-{cut}@{world.saved_logs[0].name}")
        world.log({"event": "lost", "place": world.lost[-1]})

        async def told() -> bool:
            return await _lost_offsets(windows, topic) >= cut - begins

        await world.until(f"{cut - begins} lost offsets of {topic} are counted", told, _START_S)
        found = await _lost_offsets(windows, topic)
        assert found == cut - begins, f"lost_offsets of {topic} is {found:.0f}, the gap {cut - begins}"

    @staticmethod
    async def _cut(world: World) -> tuple[str, int, int, int]:
        """Save and cut one partition; topic, partition, the first offset that nobody will have counted, and the cut."""
        assert world.cluster is not None and world.watch is not None and world.load is not None
        topic = world.rng.choice(["user-events", "video-status", "cost-events"])
        partition = world.rng.randrange(world.partitions)
        begins = 1 + world.watch.snapshots.get((topic, partition), -1)
        end = begins

        async def grown() -> bool:
            nonlocal end
            end = (await asyncio.to_thread(world.cluster.bounds, topic))[partition][1]  # type: ignore[union-attr]
            return end >= begins + 40

        await world.until(f"{topic}/{partition} has grown", grown, _SOON_S, 0.5)
        # Others count these records: the archive has them before they go.
        world.load.pause()
        try:
            await world.until("the archive has all", lambda: _has_all(world, topic, partition), _SOON_S)
            begins = 1 + world.watch.snapshots.get((topic, partition), -1)
            await save_log(world)
            cut = world.rng.randrange(begins + 1, end + 1)
            await asyncio.to_thread(world.cluster.delete_records, topic, partition, cut)
        finally:
            world.load.resume()
        return topic, partition, begins, cut


async def _lost_offsets(workers: list[WorkerHandle], topic: str) -> float:
    total = 0.0
    for worker in workers:
        samples = (await worker.metrics()).get("streamproc_lost_offsets_total", [])
        total += sum(value for labels, value in samples if labels["topic"] == topic)
    return total


async def _has_all(world: World, topic: str, partition: int) -> bool:
    """Whether bronze holds the last record of the partition's log of today; its own word for it is not enough."""
    assert world.cluster is not None
    end = (await asyncio.to_thread(world.cluster.bounds, topic))[partition][1]
    newest = await world.ask(
        f"SELECT argMax(offset, (kafka_timestamp, offset)) FROM bronze.{topic.replace('-', '_')}"
        f" WHERE partition = {partition} FORMAT TSV",
    )
    return newest.strip() == str(end - 1)


def faults() -> list[Fault]:
    """All of this module."""
    return [LostLog(), Retention()]
