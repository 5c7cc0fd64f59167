"""A stream's group on a real Redis: what is trimmed while it is pending, and names of consumers that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streamproc.agents.redis_streams import FIRST, Backlog, NoGroupError, RedisStream, intake_client
from streamproc.config import Settings
from tests.support.redis import RedisHandle, start_redis

GROUP = "g"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisHandle]:
    handle = start_redis(tmp_path)
    yield handle
    handle.kill()


def act(server: RedisHandle, work: Callable[[Callable[[str], RedisStream], Any], Awaitable[None]]) -> None:
    """Run `work(stream_of, plain client)`; `stream_of(consumer)` is the stream `s` as that consumer sees it."""

    async def run() -> None:
        client = intake_client(Settings(redis_url=server.url))
        with redis.Redis.from_url(server.url) as plain:
            await work(lambda consumer: RedisStream(client, "s", GROUP, consumer), plain)
        await client.aclose()

    asyncio.run(run())


def test_fields_keep_their_order_and_repetition(server: RedisHandle) -> None:
    async def work(stream_of: Callable[[str], RedisStream], plain: Any) -> None:
        stream = stream_of("a")
        assert await stream.create_group()
        assert not await stream.create_group()
        entry = plain.execute_command("XADD", "s", "*", "b", "1", "a", b"\xff", "b", "2")
        (found,) = await stream.new(10, 0)
        assert found == (entry, ((b"b", b"1"), (b"a", b"\xff"), (b"b", b"2")))
        assert await stream.new(10, 0) == []
        assert await stream.backlog() == Backlog(1, 0)
        assert await stream.own(FIRST, 10) == [found]
        await stream.acknowledge([entry])
        assert await stream.own(FIRST, 10) == []

    act(server, work)


def test_trimmed_entries_are_told(server: RedisHandle) -> None:
    """One of ours comes without fields; one of another's is counted at the claim, and is pending no more."""

    async def work(stream_of: Callable[[str], RedisStream], plain: Any) -> None:
        ours, other = stream_of("ours"), stream_of("other")
        await ours.create_group()
        first = plain.xadd("s", {"value": "1"})
        await ours.new(10, 0)
        plain.xadd("s", {"value": "2"})
        last = plain.xadd("s", {"value": "3"})
        await other.new(10, 0)
        plain.xtrim("s", maxlen=1, approximate=False)
        assert await ours.own(FIRST, 10) == [(first, None)]
        await ours.acknowledge([first])
        page = await ours.claim(FIRST, 10, 0)
        assert (page.following, [entry.id for entry in page.entries], page.gone) == (FIRST, [last], 1)
        assert (await ours.backlog()).pending == 1

    act(server, work)


def test_pages_of_claims_go_through_all(server: RedisHandle) -> None:
    async def work(stream_of: Callable[[str], RedisStream], plain: Any) -> None:
        ours, dead = stream_of("ours"), stream_of("dead")
        await ours.create_group()
        ids = [plain.xadd("s", {"value": str(number)}) for number in range(25)]
        await dead.new(100, 0)
        claimed: list[bytes] = []
        page = await ours.claim(FIRST, 10, 0)
        claimed += [entry.id for entry in page.entries]
        while page.following != FIRST:
            page = await ours.claim(page.following, 10, 0)
            claimed += [entry.id for entry in page.entries]
        assert claimed == ids
        assert (await ours.claim(FIRST, 10, 60_000)).entries == []

    act(server, work)


def test_only_those_who_hold_nothing_are_forgotten(server: RedisHandle) -> None:
    async def work(stream_of: Callable[[str], RedisStream], plain: Any) -> None:
        idle, holder = stream_of("idle"), stream_of("holder")
        await idle.create_group()
        await idle.new(1, 0)
        plain.xadd("s", {"value": "1"})
        await holder.new(1, 0)
        names = lambda: sorted(row["name"] for row in plain.xinfo_consumers("s", GROUP))  # noqa: E731
        assert await idle.remove_idle(60_000) == 0
        assert names() == [b"holder", b"idle"]
        await holder.leave()
        assert names() == [b"holder", b"idle"]
        assert await holder.remove_idle(0) == 1
        assert names() == [b"holder"]
        assert (await holder.backlog()).pending == 1
        # Whoever wakes up late is simply there again.
        await idle.new(1, 0)
        await idle.leave()
        assert names() == [b"holder"]

    act(server, work)


def test_a_group_that_is_gone_is_told_apart(server: RedisHandle) -> None:
    async def work(stream_of: Callable[[str], RedisStream], plain: Any) -> None:
        stream = stream_of("a")
        with pytest.raises(NoGroupError):
            await stream.new(1, 0)
        with pytest.raises(NoGroupError):
            await stream.backlog()
        await stream.create_group()
        plain.xadd("s", {"value": "1"})
        plain.xgroup_destroy("s", GROUP)
        for asked in (stream.new(1, 0), stream.own(FIRST, 1), stream.claim(FIRST, 1, 0), stream.backlog()):
            with pytest.raises(NoGroupError):
                await asked
        await stream.acknowledge([b"1-1"])
        await stream.create_group()
        assert len(await stream.new(1, 0)) == 1

    act(server, work)
