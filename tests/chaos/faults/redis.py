"""Faults of Redis: refused, slow, silent, its own errors, emptied, out of memory."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Final

from redis.asyncio import Redis

from tests.chaos.fault import REDIS, Fault
from tests.chaos.world import World
from tests.support import redis_proxy as resp
from tests.support.proxy import Mode
from tests.support.redis_proxy import RedisFault

_LONGEST_S: Final = 12.0


class Answers(Fault):
    """The proxy strikes all commands, or a random share of them."""

    ids, touches = ("R3",), frozenset({REDIS})

    def __init__(self, fault: RedisFault) -> None:
        self.name = f"Redis: {fault.name.replace('_', ' ')}"
        self._fault = fault

    async def inject(self, world: World) -> None:
        share = world.rng.choice((1.0, 1.0, 0.3))
        world.redis.proxy.apply(dataclasses.replace(self._fault, share=share))
        try:
            await asyncio.sleep(world.rng.uniform(1.0, _LONGEST_S))
        finally:
            world.redis.proxy.clear()
        struck = world.redis.proxy.struck[self._fault.name]
        world.log({"event": "struck", "fault": self.name, "share": share, "commands_so_far": struck})


class Connections(Fault):
    """Refused and reset, or delayed."""

    ids, touches = ("R3",), frozenset({REDIS})

    def __init__(self, mode: Mode) -> None:
        self.name = f"Redis: {mode.value}"
        self._mode = mode

    async def inject(self, world: World) -> None:
        try:
            for _ in range(world.rng.choice((1, 1, 4))):
                world.redis.proxy.set(self._mode, world.rng.uniform(0.05, 2.0))
                await asyncio.sleep(world.rng.uniform(0.3, 6.0))
                world.redis.proxy.set(Mode.PASS)
                await asyncio.sleep(world.rng.uniform(0.1, 1.0))
        finally:
            world.redis.proxy.set(Mode.PASS)


class Killed(Fault):
    """SIGKILL, and an empty one on the same port."""

    name, ids, touches, weight = "Redis: kill -9, comes back empty", ("R1",), frozenset({REDIS}), 3.0

    async def inject(self, world: World) -> None:
        world.kill(world.redis)
        await asyncio.sleep(world.rng.uniform(0.0, 8.0))
        await world.redis.start()


class Paused(Fault):
    """SIGSTOP: nobody answers, and what is sent meanwhile is done later."""

    name, ids, touches = "Redis: SIGSTOP", ("R3",), frozenset({REDIS})

    async def inject(self, world: World) -> None:
        world.pause(world.redis)
        await asyncio.sleep(world.rng.uniform(1.0, 15.0))
        world.redis.resume()


class Emptied(Fault):
    """FLUSHALL while everything runs."""

    name, ids, touches = "Redis: FLUSHALL", ("R1",), frozenset({REDIS})

    async def inject(self, world: World) -> None:
        async with Redis.from_url(world.redis.url) as client:
            await client.flushall()


class OutOfMemory(Fault):
    """`maxmemory` is reached and nothing may be evicted: writes are refused with OOM, then there is room again."""

    name, ids, touches = "Redis: out of memory, noeviction", ("R2", "R3"), frozenset({REDIS})

    async def inject(self, world: World) -> None:
        async with Redis.from_url(world.redis.url) as client:
            before = await client.config_get("maxmemory*")
            try:
                await client.config_set("maxmemory-policy", "noeviction")
                await client.config_set("maxmemory", "1mb")
                await asyncio.sleep(world.rng.uniform(1.0, _LONGEST_S))
            finally:
                await _restore(client, before)


class Evicting(Fault):
    """`maxmemory` 4 MB and any key may go: what is evicted is only what people see, and who ends it restarts Redis."""

    name, ids, touches = "Redis: evicts any key", ("R2",), frozenset({REDIS})

    async def inject(self, world: World) -> None:
        async with Redis.from_url(world.redis.url) as client:
            before = await client.config_get("maxmemory*")
            try:
                await client.config_set("maxmemory-policy", world.rng.choice(("allkeys-lru", "allkeys-random")))
                await client.config_set("maxmemory", "4mb")
                await asyncio.sleep(world.rng.uniform(2.0, _LONGEST_S))
            finally:
                await _restore(client, before)
                # Nobody can know which keys are missing: an operator who gives Redis more memory empties it.
                await client.flushall()


async def _restore(client: Redis, settings: dict[str, str]) -> None:
    for name in ("maxmemory", "maxmemory-policy"):
        await client.config_set(name, settings[name])


def faults() -> list[Fault]:
    """All of this module."""
    answers = [Answers(fault) for fault in resp.FAULTS]
    connections = [Connections(mode) for mode in (Mode.REFUSE, Mode.DELAY)]
    return [*answers, *connections, Killed(), Paused(), Emptied(), OutOfMemory(), Evicting()]
