"""The hand-over to a sink: bounded while it is away, complete when it is back, and clear about what needs a human."""

from __future__ import annotations

import asyncio

from streamproc.agents.handover import Handover
from streamproc.clock import monotonic
from streamproc.errors import PermanentError, RetryableError
from tests.agents.waiting import until


class Sink:
    """Keeps the newest value of each key, as the merge agent's state does."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        self.stored: dict[int, int] = {}
        self.fault: Exception | None = None
        self.calls = 0
        self.handover: Handover[int] = Handover("test", self.write, max_keys=50, min_interval_s=0.0)

    async def write(self, keys: list[int]) -> None:
        self.calls += 1
        values = {key: self.newest[key] for key in keys}
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        self.stored |= values

    def put(self, key: int, value: int) -> None:
        self.newest[key] = value
        self.handover.add(key)


def test_a_sink_that_is_away_costs_a_key_a_window_and_misses_nothing() -> None:
    """100 updates of each of 300 keys while it is down: 300 keys wait, and the newest values arrive."""

    async def act() -> None:
        sink = Sink()
        running = asyncio.create_task(sink.handover.run())
        sink.fault = RetryableError("away", "for the test")
        for value in range(100):
            for key in range(300):
                sink.put(key, value)
            await asyncio.sleep(0)
        await until(lambda: not sink.handover.up)
        assert len(sink.handover) == 300
        assert not sink.handover.blocked
        assert not await sink.handover.drained(0.05)
        sink.fault = None
        assert await sink.handover.drained(10)
        assert sink.stored == dict.fromkeys(range(300), 99)
        assert sink.handover.up
        running.cancel()

    asyncio.run(act())


def test_a_value_that_changes_while_it_is_written_is_written_again() -> None:
    """The key goes back to the queue by itself."""

    async def act() -> None:
        sink = Sink()
        running = asyncio.create_task(sink.handover.run())
        sink.put(1, 1)
        await until(lambda: sink.calls == 1)
        sink.put(1, 2)
        assert await sink.handover.drained(5)
        assert sink.stored == {1: 2}
        assert sink.calls == 2
        running.cancel()

    asyncio.run(act())


def test_a_permanent_error_blocks_and_is_over_when_a_human_has_acted() -> None:
    """It is named, it keeps everything, and it ends by itself."""

    async def act() -> None:
        sink = Sink()
        running = asyncio.create_task(sink.handover.run())
        sink.fault = PermanentError("unknown_table", "for the test")
        sink.put(1, 1)
        await until(lambda: sink.handover.blocked == "unknown_table")
        assert 1 in sink.handover
        sink.fault = None
        assert await sink.handover.drained(20)
        assert sink.handover.up
        assert sink.handover.blocked == ""
        assert sink.stored == {1: 1}
        running.cancel()

    asyncio.run(act())


def test_a_write_that_took_long_is_no_reason_for_a_long_rest() -> None:
    """A server stood still and answered in the end: at a hundredth of the time that would be most of a minute's rest."""

    async def act() -> None:
        sink = Sink()
        slow = asyncio.Event()

        async def write(keys: list[int]) -> None:
            await sink.write(keys)
            if not slow.is_set():
                slow.set()
                await asyncio.sleep(0.45)

        sink.handover = Handover("test", write, max_keys=50, min_interval_s=0.0, max_share=0.01, max_interval_s=0.6)
        running = asyncio.create_task(sink.handover.run())
        sink.put(1, 1)
        await slow.wait()
        sink.put(2, 2)
        await until(lambda: sink.stored == {1: 1, 2: 2})
        running.cancel()

    asyncio.run(act())


def test_with_more_waiting_than_one_write_takes_the_sink_does_not_rest_for_long() -> None:
    """After a day's worth of windows a busy ClickHouse got 20,000 of 100,000 every ten seconds."""

    async def act() -> None:
        sink = Sink()
        began: list[float] = []

        async def write(keys: list[int]) -> None:
            began.append(monotonic())
            await asyncio.sleep(0.02)
            await sink.write(keys)

        sink.handover = Handover("test", write, max_keys=50, min_interval_s=0.0, max_share=0.001)
        for key in range(199):
            sink.put(key, 1)
        running = asyncio.create_task(sink.handover.run())
        await until(lambda: len(sink.stored) >= 150)
        # The last one holds less than it could: it waits for more.
        await asyncio.sleep(0.2)
        assert len(began) == 3 and began[-1] - began[0] < 2.0
        running.cancel()

    asyncio.run(act())
