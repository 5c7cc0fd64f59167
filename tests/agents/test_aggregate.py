"""The aggregator on its own: floods pause and are probed, and a body that gives up loses nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from streamproc.agents.aggregate import Aggregator
from streamproc.agents.flood import FloodGuard
from streamproc.config import Settings
from tests.agents.waiting import until
from tests.support.events import encode, user_event

NOW = 1_795_341_600_000
TOPIC = "user-events"


def records(first: int, good: int, bad: int) -> list[Any]:
    values = [b"{broken"] * bad + [encode(user_event(NOW)) for _ in range(good)]
    return [
        SimpleNamespace(offset=first + i, timestamp=NOW, key=b"1", value=value, topic=TOPIC)
        for i, value in enumerate(values)
    ]


def make(probe_s: float) -> tuple[Aggregator, list[tuple[int, bool]]]:
    said: list[tuple[int, bool]] = []
    settings = Settings(flood_probe_s=probe_s)
    made = Aggregator(settings, lambda topic, partition, offset, paused: said.append((offset, paused)))
    made.runtime(TOPIC, 0)
    return made, said


def test_a_flood_is_probed_in_small_parts_and_told_once() -> None:
    """1,500 bad records pass in probes of 100, good ones end the pause; nothing is skipped or taken twice."""

    async def act() -> None:
        made, said = make(0.1)
        await made.handle(TOPIC, 0, records(0, good=0, bad=1500))
        assert made.paused
        assert [paused for _, paused in said] == [True]
        await made.handle(TOPIC, 0, records(1500, good=600, bad=0))
        assert [paused for _, paused in said] == [True, False]
        assert not made.paused
        runtime = made.runtimes[TOPIC, 0]
        assert runtime.next_offset == 2100
        assert [letter.record.offset for letter in runtime.dead] == list(range(1500))

    asyncio.run(act())


def test_a_flood_from_the_future_pauses_too() -> None:
    """A producer whose clock is hours ahead: dead letters as well, however well-formed."""

    async def act() -> None:
        made, said = make(0.1)
        ahead = records(0, good=900, bad=0)
        for record in ahead:
            record.timestamp = NOW - 3_600_000
        await made.handle(TOPIC, 0, ahead)
        assert [paused for _, paused in said] == [True]
        assert len(made.runtimes[TOPIC, 0].dead) == 900

    asyncio.run(act())


def test_a_paused_body_gives_up_at_once_and_what_follows_is_left_too() -> None:
    """Partitions are taken away: neither the batch in hand nor the next one may be taken, or a hole would stay."""

    async def act() -> None:
        made, said = make(3600)
        body = asyncio.create_task(made.handle(TOPIC, 0, records(0, good=0, bad=1000)))
        await until(lambda: said)
        made.revoked.set()
        await asyncio.wait_for(body, 2)
        taken = made.runtimes[TOPIC, 0].next_offset
        await made.handle(TOPIC, 0, records(1000, good=10, bad=0))
        assert made.runtimes[TOPIC, 0].next_offset == taken < 1000
        assert [paused for _, paused in said] == [True, False]

    asyncio.run(act())


def test_what_was_applied_is_skipped_when_it_comes_again() -> None:
    """Batches overlap after a restart."""

    async def act() -> None:
        made, _ = make(60)
        batch = records(0, good=30, bad=0)
        await made.handle(TOPIC, 0, batch[:20])
        await made.handle(TOPIC, 0, batch[10:])
        await made.handle(TOPIC, 0, batch[:5])
        runtime = made.runtimes[TOPIC, 0]
        assert runtime.state is not None
        assert runtime.next_offset == 30
        assert (
            sum(slot.acc.n for key, slot in runtime.state.cells.items() if key[:4] == ("user_events", "", "", 0)) == 30
        )

    asyncio.run(act())


def test_the_guard_needs_five_hundred_records_and_forgets_old_ones() -> None:
    """A handful of bad records is no flood, and a flood long ago neither."""
    guard = FloodGuard(0.95)
    assert not guard.would_flood(400, 400)
    assert guard.would_flood(500, 500)
    for _ in range(5):
        guard.add(100, 100)
    assert guard.flooded
    for _ in range(10):
        guard.add(0, 100)
    assert not guard.flooded
    assert not guard.would_flood(100, 100)
