"""Two schedulers side by side over simulated days, on a real Redis and ClickHouse: each run once, whatever is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from batch.scheduler.lease import Leases
from batch.scheduler.orders import Order, Said
from batch.scheduler.role import SchedulerRole
from batch.scheduler.table import Job
from streamproc.errors import RetryableError
from streamproc.sinks.redis_live import connect
from tests.scheduler.support import DAY_MS, HOUR_MS, Clock, InProcess, Servers, job

MIDNIGHT = int(datetime(2026, 10, 21, tzinfo=UTC).timestamp() * 1000)
#: Over the night in which the clocks of Berlin go back.
DAYS = 10
TABLE = (
    job("utc", "0 2 * * *"),
    job("berlin", "30 2 * * *", time_zone="Europe/Berlin"),
    job("after", "30 2 * * *", depends_on=("utc",), day_offset=-1),
    job("slot", "0 * * * *", body=""),
)


class Pair:
    """Two schedulers with one clock; `turn` lets both look, at once, until nothing is at work."""

    def __init__(self, servers: Servers, table: Sequence[Job], launcher: InProcess, now_ms: int, **more: float) -> None:
        self.clock = Clock(now_ms)
        self.launcher = launcher
        self.roles = [SchedulerRole(servers.settings(**more), table, launcher, self.clock) for _ in range(2)]

    async def turn(self, times: int = 2) -> None:
        for _ in range(times):
            for role in self.roles:
                role.sidecar._look_at_ms = 0
            await asyncio.gather(*(role.sidecar.tick() for role in self.roles))
            await asyncio.gather(*(role.sidecar.quiet() for role in self.roles))

    async def hours(self, count: float, step_h: float = 24.0) -> None:
        end = self.clock.now_ms + int(count * HOUR_MS)
        while self.clock.now_ms < end:
            self.clock.now_ms = min(end, self.clock.now_ms + int(step_h * HOUR_MS))
            await self.turn()

    async def days(self, count: int) -> None:
        """Every moment of a day at which something of the table may be due, in either summer or winter."""
        for _ in range(count):
            begin = self.clock.now_ms
            for hours in (0.6, 1.6, 2.1, 2.6, 24.0):
                self.clock.now_ms = begin + int(hours * HOUR_MS)
                await self.turn()

    async def close(self) -> None:
        for role in self.roles:
            await role.close()


def _run(pair: Callable[[], Pair], act: Callable[[Pair], Awaitable[None]]) -> Pair:
    async def run() -> Pair:
        made = pair()
        try:
            await act(made)
        finally:
            await made.close()
        return made

    return asyncio.run(run())


def test_every_job_runs_exactly_once_a_day(clean: Servers) -> None:
    """Ten days, two schedulers that look at the same moment: no day without a run, none with two, never two at once."""
    launcher = InProcess(takes_s=0.01)

    async def act(pair: Pair) -> None:
        await pair.turn()
        launcher.effects.clear()
        await pair.days(DAYS)

    _run(lambda: Pair(clean, TABLE, launcher, MIDNIGHT), act)
    assert set(launcher.effects.values()) == {1} and not launcher.overlaps
    done = clean.rows(
        "SELECT job, logical_date, count(), uniqExact(who) FROM meta.job_runs FINAL"
        f" WHERE status = 'done' AND scheduled_for > fromUnixTimestamp64Milli(toInt64({MIDNIGHT}), 'UTC') GROUP BY ALL ORDER BY ALL"
    )
    assert [(name, count) for name, _, count, _ in done] == [
        (name, 1) for name in ("after", "berlin", "utc") for _ in range(DAYS)
    ]
    assert len({(name, day) for name, day, _, _ in done}) == 3 * DAYS
    assert {status for *_, status in clean.books()} == {"done"}


def test_redis_away_loses_and_doubles_nothing(clean: Servers) -> None:
    """Due while Redis is away: run when it is back, once; and again when Redis comes back without what it held."""
    launcher = InProcess()

    async def act(pair: Pair) -> None:
        await pair.turn()
        launcher.effects.clear()
        await pair.hours(1)
        clean.redis.stop()
        await pair.hours(3)
        assert not launcher.effects
        assert all("connection" in role.problem() for role in pair.roles)
        clean.redis.start()
        await pair.turn()
        assert all(role.problem() == "" for role in pair.roles)
        await pair.hours(24)

    _run(lambda: Pair(clean, TABLE[:1], launcher, MIDNIGHT), act)
    assert [launcher.effects["utc", MIDNIGHT + day * DAY_MS + 2 * HOUR_MS] for day in (0, 1)] == [1, 1]
    assert sum(launcher.effects.values()) == 2


def test_redis_away_during_a_run_ends_it(clean: Servers) -> None:
    """Nobody can say whether the lease holds: the run is ended before another may begin, and done again."""
    launcher = InProcess(takes_s=3.0)

    async def act(pair: Pair) -> None:
        for role in pair.roles:
            await role.sidecar.tick()
        await asyncio.sleep(0.7)
        assert sum(launcher.at_work.values()) == 1
        clean.redis.stop()
        await asyncio.gather(*(role.sidecar.quiet() for role in pair.roles))
        assert not launcher.effects
        launcher.takes_s = 0.0
        clean.redis.start()
        await pair.turn()

    _run(lambda: Pair(clean, TABLE[:1], launcher, MIDNIGHT + 3 * HOUR_MS), act)
    assert list(launcher.effects.values()) == [1] and not launcher.overlaps
    assert [row[2:] for row in clean.books()] == [(1, "lost"), (2, "done")]


def test_missed_days_attempts_and_giving_up(clean: Servers) -> None:
    """Three days off: caught up once. A run that fails is tried three times, then has failed; the next day goes on."""
    fails: list[str] = []

    def act_on(_order: Order) -> Said:
        return (
            Said(ended=True, error=fails.pop(), details={"n": 1}) if fails else Said(ended=True, rows=7, quota_units=3)
        )

    launcher = InProcess(act_on)

    async def act(pair: Pair) -> None:
        await pair.hours(3)
        pair.clock.now_ms += 3 * DAY_MS
        await pair.turn()
        assert len(launcher.effects) == 2
        fails.extend(["c", "b", "a"])
        await pair.hours(23.1)
        await pair.hours(0.3, 0.1)
        assert not fails
        await pair.hours(24)

    _run(lambda: Pair(clean, TABLE[:1], launcher, MIDNIGHT), act)
    found = clean.rows(
        "SELECT toString(logical_date), attempt, status, rows, quota_units, error FROM meta.job_runs FINAL ORDER BY scheduled_for, attempt"
    )
    assert found[0][2:5] == ("done", 7, 3)
    assert found[1][:3] == ("2026-10-23", 1, "skipped") and "2 due runs were missed" in found[1][5]
    assert [row[:3] for row in found[2:]] == [
        ("2026-10-24", 1, "done"), ("2026-10-25", 1, "failed"), ("2026-10-25", 2, "failed"), ("2026-10-25", 3, "failed"),
        ("2026-10-26", 1, "done"),
    ]  # fmt: skip
    assert [row[5] for row in found[3:6]] == ["a", "b", "c"]


def test_a_pause_is_kept_and_its_end_catches_up(clean: Servers) -> None:
    """Paused before a start, it rests; resumed, what was due is done once."""
    launcher = InProcess()

    async def act(pair: Pair) -> None:
        await pair.hours(3)
        await pair.roles[0].books.pause("utc", True, "somebody", pair.clock())
        await pair.hours(48)
        assert list(await pair.roles[1].books.paused()) == ["utc"]
        assert len(launcher.effects) == 1
        pair.clock.now_ms += 1
        await pair.roles[1].books.pause("utc", False, "somebody", pair.clock())
        await pair.turn()
        assert len(launcher.effects) == 2

    _run(lambda: Pair(clean, TABLE[:1], launcher, MIDNIGHT), act)


def test_a_slot_without_a_body_never_runs(clean: Servers) -> None:
    launcher = InProcess()

    async def act(pair: Pair) -> None:
        await pair.hours(5)

    _run(lambda: Pair(clean, TABLE[3:], launcher, MIDNIGHT), act)
    assert not launcher.effects and not clean.books()


def test_a_lease_has_one_holder_and_its_fence_grows(clean: Servers) -> None:
    """Over its end, over a Redis that lost everything; who lost it can neither renew it nor give back another's."""

    async def run() -> None:
        redis = connect(clean.settings())
        one, two = (Leases(redis, "sp:", name, 0.3) for name in ("one", "two"))
        first = await one.acquire("x")
        assert first is not None and first.is_first and await two.acquire("x") is None
        assert await two.holder("x") == "one"
        await asyncio.sleep(0.4)
        second = await two.acquire("x")
        assert second is not None and second.fence > first.fence and not second.is_first
        assert not await one.renew(first)
        await one.release(first)
        assert await two.holder("x") == "two" and await two.renew(second)
        await redis.flushall()
        third = await one.acquire("x")
        assert third is not None and third.fence > second.fence and third.is_first
        clean.redis.stop()
        try:
            await one.renew(third)
            raise AssertionError("a Redis that is away says nothing")
        except RetryableError:
            pass
        await redis.aclose()

    asyncio.run(run())
    clean.redis.start()
