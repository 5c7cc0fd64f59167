"""Faults of the machine: full disks, no file descriptors, no memory, clocks that jump, odd time zones."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import Final

from tests.chaos.fault import CLICKHOUSE, WORKERS, Fault
from tests.chaos.faults.processes import any_worker
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World
from tests.support.faketime import Clock, libfaketime
from tests.support.limits import address_space, lowered, open_files
from tests.support.proxy import Mode

_DAY: Final = 86_400
_JUMPS: Final = (300, -300, _DAY, -_DAY, 3600, -1, 0)
_ZONES: Final = (
    "UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Europe/London", ":nowhere", "XXX-14",
)  # fmt: skip


class DiskFull(Fault):
    """ClickHouse's disk is full for a while; sometimes it is killed then."""

    name, ids, touches = "no room on ClickHouse's disk", ("F1",), frozenset({CLICKHOUSE})

    def impossible(self, world: World) -> str:
        return "" if world.clickhouse.disk is not None else "a full disk needs the right to mount one"

    async def inject(self, world: World) -> None:
        disk = world.clickhouse.disk
        assert disk is not None
        await asyncio.to_thread(disk.fill)
        try:
            await asyncio.sleep(world.rng.uniform(2.0, 15.0))
            if killed := world.rng.random() < 0.3:
                world.kill(world.clickhouse)
        finally:
            await asyncio.to_thread(disk.free)
        if killed:
            await world.clickhouse.start()


class WorkerDiskFull(Fault):
    """A worker cannot write its log, its temporary files or alerts.log."""

    name, ids, touches = "no room on a worker's disk", ("F1",), frozenset({WORKERS})

    async def inject(self, world: World) -> None:
        with lowered((await any_worker(world)).pid, resource.RLIMIT_FSIZE, 0):
            await asyncio.sleep(world.rng.uniform(3.0, 15.0))


class NoFiles(Fault):
    """A worker gets no new file descriptor while its connections to the sinks are cut."""

    name, ids, touches = "no file descriptors left", ("F2",), frozenset({WORKERS, CLICKHOUSE})

    async def inject(self, world: World) -> None:
        worker = await any_worker(world)
        with lowered(worker.pid, resource.RLIMIT_NOFILE, max(8, open_files(worker.pid) + world.rng.randrange(-4, 3))):
            world.clickhouse.proxy.set(Mode.REFUSE)
            await asyncio.sleep(0.5)
            world.clickhouse.proxy.set(Mode.PASS)
            await asyncio.sleep(world.rng.uniform(3.0, 15.0))


class NoMemory(Fault):
    """A worker gets no more memory than a few MB: it may die of it, and must not lose anything."""

    name, ids, touches = "no memory left", ("W9",), frozenset({WORKERS})

    async def inject(self, world: World) -> None:
        worker = await any_worker(world)
        room = world.rng.choice((1, 4, 16)) << 20
        with lowered(worker.pid, resource.RLIMIT_AS, address_space(worker.pid) + room):
            await asyncio.sleep(world.rng.uniform(3.0, 15.0))


class _Restarted(Fault):
    """Base: one worker lives for a while with another environment, and then as before."""

    touches = frozenset({WORKERS})

    async def _with(self, world: World, worker: WorkerHandle, env: dict[str, str]) -> None:
        worker.wanted = False
        await self._end(world, worker)
        with suppress(AssertionError):  # the supervisor was faster
            worker.start(**env)

    @staticmethod
    async def _end(world: World, worker: WorkerHandle) -> None:
        if not worker.alive:
            return
        if world.rng.random() < 0.5:
            world.kill(worker)
        else:
            await worker.stop()


class Jumps(_Restarted):
    """The wall clock of one worker jumps by minutes and days, both ways, while it works."""

    name, ids = "a clock that jumps", ("T1",)

    def impossible(self, world: World) -> str:
        return "" if libfaketime() else "libfaketime is not on this machine (PyPI libfaketime, Debian faketime)"

    async def inject(self, world: World) -> None:
        worker = await any_worker(world, world.rng.choice(("windows", "windows", "archive", "notify")))
        clock = Clock(world.directory / f"clock-{world.rng.getrandbits(32):08x}")
        clock.jump(world.rng.choice(_JUMPS))
        await self._with(world, worker, clock.env)
        for _ in range(world.rng.randrange(2, 5)):
            await asyncio.sleep(world.rng.uniform(2.0, 6.0))
            seconds = world.rng.choice(_JUMPS)
            world.log({"event": "clock", "worker": worker.name, "seconds": seconds})
            clock.jump(seconds)
        await self._with(world, worker, {})


class Zones(_Restarted):
    """A worker in another time zone."""

    name, ids = "another time zone", ("T2",)

    async def inject(self, world: World) -> None:
        worker = await any_worker(world)
        await self._with(world, worker, {"TZ": world.rng.choice(_ZONES)})
        await asyncio.sleep(world.rng.uniform(5.0, 15.0))
        await self._with(world, worker, {})


def faults() -> list[Fault]:
    """All of this module."""
    return [DiskFull(), WorkerDiskFull(), NoFiles(), NoMemory(), Jumps(), Zones()]
