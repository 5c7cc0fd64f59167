"""Faults of ClickHouse: its own errors, lost answers, cut requests, slowness, silence, kills, missing tables."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Final

from tests.chaos.fault import CLICKHOUSE, Fault
from tests.chaos.world import World
from tests.support import clickhouse_proxy as http
from tests.support.clickhouse_proxy import HttpFault
from tests.support.proxy import Mode

_C1, _C2, _C3, _C4, _C5, _C6 = (("C1",), ("C2",), ("C3",), ("C4",), ("C5",), ("C6",))
#: What the proxy does to requests, by the matrix' rows, and for how long at most (s).
_ANSWERS: Final[tuple[tuple[HttpFault, tuple[str, ...], float], ...]] = (
    (http.SERVER_ERROR, _C1, 12.0),
    (http.UNAVAILABLE, _C1, 12.0),
    (http.TOO_MANY_REQUESTS, _C1, 12.0),
    (http.LOST_ACK, _C2, 15.0),
    (http.HALF_OPEN, _C3, 20.0),
    (http.RESET_IN_BODY, _C4, 15.0),
    (http.TRUNCATED, _C4, 15.0),
    (http.SLOW, _C5, 15.0),
    (http.TOO_MANY_PARTS, _C6, 15.0),
    (http.READ_ONLY, _C6, 15.0),
    (http.MEMORY, _C6, 15.0),
    (http.AUTHENTICATION, _C6, 10.0),
)


class Answers(Fault):
    """The proxy strikes all requests, or a random share of them."""

    touches = frozenset({CLICKHOUSE})

    def __init__(self, fault: HttpFault, ids: tuple[str, ...], longest_s: float) -> None:
        self.name = f"ClickHouse: {fault.name.replace('_', ' ')}"
        self.ids = ids
        self._fault = fault
        self._longest_s = longest_s

    async def inject(self, world: World) -> None:
        share = world.rng.choice((1.0, 1.0, 0.5, 0.2))
        world.clickhouse.proxy.apply(dataclasses.replace(self._fault, share=share))
        try:
            await asyncio.sleep(world.rng.uniform(1.0, self._longest_s))
        finally:
            world.clickhouse.proxy.clear()
        struck = world.clickhouse.proxy.struck[self._fault.name]
        world.log({"event": "struck", "fault": self.name, "share": share, "requests_so_far": struck})


class Mixture(Fault):
    """Each request meets another of the faults that pass, half of them none."""

    name, ids, touches = "ClickHouse: a mixture of errors", ("C1", "C2", "C4", "C6"), frozenset({CLICKHOUSE})

    async def inject(self, world: World) -> None:
        quick = [fault for fault in http.PASSING if fault.kind not in (http.Kind.HALF_OPEN, http.Kind.SLOW)]
        try:
            for _ in range(world.rng.randrange(10, 40)):
                world.clickhouse.proxy.apply(dataclasses.replace(world.rng.choice(quick), share=0.5))
                await asyncio.sleep(world.rng.uniform(0.05, 0.8))
        finally:
            world.clickhouse.proxy.clear()


class Delay(Fault):
    """Each answer comes later."""

    name, ids, touches = "ClickHouse: delayed answers", ("C5",), frozenset({CLICKHOUSE})

    async def inject(self, world: World) -> None:
        world.clickhouse.proxy.set(Mode.DELAY, world.rng.uniform(0.2, 5.0))
        try:
            await asyncio.sleep(world.rng.uniform(3.0, 15.0))
        finally:
            world.clickhouse.proxy.set(Mode.PASS)


class Refused(Fault):
    """Nobody listens, and open connections are reset: again and again, or for long."""

    name, ids, touches = "ClickHouse: connections refused", ("C1",), frozenset({CLICKHOUSE})

    async def inject(self, world: World) -> None:
        try:
            for _ in range(world.rng.choice((1, 1, 5))):
                world.clickhouse.proxy.set(Mode.REFUSE)
                await asyncio.sleep(world.rng.uniform(0.2, 8.0))
                world.clickhouse.proxy.set(Mode.PASS)
                await asyncio.sleep(world.rng.uniform(0.1, 2.0))
        finally:
            world.clickhouse.proxy.set(Mode.PASS)


class Killed(Fault):
    """SIGKILL in the middle of inserts, and a start on the same files."""

    name, ids, touches, weight = "ClickHouse: kill -9", ("C9",), frozenset({CLICKHOUSE}), 3.0

    async def inject(self, world: World) -> None:
        for _ in range(world.rng.choice((1, 1, 2, 3))):
            world.kill(world.clickhouse)
            await asyncio.sleep(world.rng.uniform(0.0, 4.0))
            await world.clickhouse.start()
            await asyncio.sleep(world.rng.uniform(0.0, 3.0))


class Paused(Fault):
    """SIGSTOP: connections are accepted by the kernel and nobody answers."""

    name, ids, touches = "ClickHouse: SIGSTOP", ("C3",), frozenset({CLICKHOUSE})

    async def inject(self, world: World) -> None:
        world.pause(world.clickhouse)
        await asyncio.sleep(world.rng.uniform(2.0, 18.0))
        world.clickhouse.resume()


class TableGone(Fault):
    """A table is renamed away, and comes back: a permanent error until somebody mends it, and nothing is lost."""

    name, ids, touches = "ClickHouse: a table is missing", ("C7",), frozenset({CLICKHOUSE})

    async def inject(self, world: World) -> None:
        table = world.rng.choice(
            ("gold.windows", "gold.entities", "meta.window_sources", "bronze.cost_events", "gold.alerts")
        )
        await world.ask(f"RENAME TABLE {table} TO {table}_away")
        try:
            await asyncio.sleep(world.rng.uniform(2.0, 12.0))
        finally:
            await world.ask(f"RENAME TABLE {table}_away TO {table}")


def faults() -> list[Fault]:
    """All of this module."""
    answers = [Answers(*each) for each in _ANSWERS]
    return [*answers, Mixture(), Delay(), Refused(), Killed(), Paused(), TableGone()]
