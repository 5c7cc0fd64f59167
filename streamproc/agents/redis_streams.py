"""One Redis Stream read by a consumer group: the commands that the intake needs, and nothing of Kafka."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.redis_errors import sort_redis_error
from streamproc.sinks.redis_live import connect

FIRST: Final = b"0-0"

# In one script, so that nobody is given an entry between the look and the removal: that would take the entry along.
_TIDY: Final = """
local removed = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local is = {}
  for i = 1, #row, 2 do is[row[i]] = row[i + 1] end
  if is.pending == 0 and is.idle >= tonumber(ARGV[2]) and (ARGV[3] == '' or is.name == ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is.name)
    removed = removed + 1
  end
end
return removed
"""


class NoGroupError(RetryableError):
    """The stream or its group is gone: Redis was emptied, or somebody deleted them."""


class Entry(NamedTuple):
    """One entry; `fields` is None if it was trimmed or deleted while it waited for its acknowledgement."""

    id: bytes
    fields: tuple[tuple[bytes, bytes], ...] | None


class Claimed(NamedTuple):
    """A page of entries taken over. `following`: where the next page begins, FIRST at the end. `gone`: trimmed meanwhile.

    `unnamed` of them only older servers do not name (6.2); they are ours now, and come again as our own.
    """

    following: bytes
    entries: list[Entry]
    gone: int
    unnamed: int


class Backlog(NamedTuple):
    """Entries handed out and not acknowledged; entries not handed out yet, None if Redis cannot say."""

    pending: int
    lag: int | None


def intake_client(settings: Settings) -> Any:
    """The client of the streams. Replies stay as they come: redis-py would make a dict of an entry's fields."""
    client: Any = connect(settings, settings.intake_redis_url, protocol=2)
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, lambda reply, **_: reply)
    return client


class RedisStream:
    """A stream, its group and one consumer. Every method raises RetryableError or PermanentError; NoGroupError if it is gone."""

    def __init__(self, client: Any, name: str, group: str, consumer: str) -> None:
        self.name = name
        self._client = client
        self._group = group
        self._consumer = consumer

    async def create_group(self) -> bool:
        """A group that begins with the stream's first entry, and the stream if there is none. False: it was there."""
        try:
            await self._client.xgroup_create(self.name, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if str(error).startswith("BUSYGROUP"):
                return False
            raise sort_redis_error(error) from error
        except Exception as error:
            raise sort_redis_error(error) from error
        return True

    async def own(self, after: bytes, count: int) -> list[Entry]:
        """What was handed to us and never acknowledged, after this id."""
        return _entries(await self._read(after, count))

    async def new(self, count: int, block_ms: int) -> list[Entry]:
        """What was handed to nobody yet; waits up to `block_ms` for some (0: not at all)."""
        return _entries(await self._read(b">", count, *(("BLOCK", block_ms) if block_ms else ())))

    async def _read(self, after: bytes, count: int, *more: Any) -> Any:
        words = ("GROUP", self._group, self._consumer, "COUNT", count, *more, "STREAMS", self.name, after)
        return await self._asked(self._client.execute_command("XREADGROUP", *words))

    async def claim(self, after: bytes, count: int, min_idle_ms: int) -> Claimed:
        """Take over what others were given and have not acknowledged for `min_idle_ms`."""
        words = (self.name, self._group, self._consumer, min_idle_ms, after, "COUNT", count)
        reply = await self._asked(self._client.execute_command("XAUTOCLAIM", *words))
        found = [_entry(each) for each in reply[1] if each is not None]
        unnamed = len(reply[1]) - len(found)
        return Claimed(bytes(reply[0]), found, len(reply[2]) if len(reply) > 2 else 0, unnamed)

    async def acknowledge(self, ids: list[bytes]) -> None:
        """Whoever holds them: they are handed out no more."""
        await self._asked(self._client.execute_command("XACK", self.name, self._group, *ids))

    async def backlog(self) -> Backlog:
        """How much waits in the group."""
        for group in await self._asked(self._client.xinfo_groups(self.name)):
            if group["name"] == self._group.encode():
                lag = group.get("lag")
                return Backlog(int(group["pending"]), None if lag is None else int(lag))
        raise NoGroupError("no_group", self.name)

    async def readers(self, within_s: float) -> int:
        """Consumers that asked for entries within these seconds."""
        rows = await self._asked(self._client.xinfo_consumers(self.name, self._group))
        return sum(row["idle"] <= 1000 * within_s for row in rows)

    async def remove_idle(self, idle_ms: int) -> int:
        """Forget consumers that hold nothing and have not asked for so long; returns how many."""
        return await self._tidy(idle_ms, "")

    async def leave(self) -> None:
        """Forget ourselves, unless we hold something."""
        await self._tidy(0, self._consumer)

    async def _tidy(self, idle_ms: int, consumer: str) -> int:
        return int(await self._asked(self._client.eval(_TIDY, 1, self.name, self._group, idle_ms, consumer)))

    @staticmethod
    async def _asked(asking: Awaitable[Any]) -> Any:
        try:
            return await asking
        except Exception as error:
            if "NOGROUP" in str(error) or "no such key" in str(error):
                raise NoGroupError("no_group", str(error)) from error
            raise sort_redis_error(error) from error


def _entries(reply: Any) -> list[Entry]:
    """Of one stream's part of a reply; none at the end of the wait."""
    if not reply:
        return []
    rows = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
    return [_entry(row) for row in rows]


def _entry(row: Any) -> Entry:
    number, words = row
    return Entry(number, None if words is None else tuple(zip(words[::2], words[1::2], strict=True)))
