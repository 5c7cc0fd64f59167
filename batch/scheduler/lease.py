"""A lease on a job in Redis, with a fence that only grows: who holds it runs the job, and notices when it is gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from schemas import redis_keys
from streamproc.clock import monotonic
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.sinks.redis_errors import sort_redis_error
from streamproc.telemetry import JOB_LEASE_GAP

log = get_logger("lease")

# The fence is Redis' own time, and above the last one: it grows over an emptied Redis too. ('%.0f': Lua's numbers have 53 bits.)
_ACQUIRE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {0, 0} end
local now = redis.call('TIME')
local last = redis.call('GET', KEYS[2])
local fence = math.max(now[1] * 1000 + math.floor(now[2] / 1000), (tonumber(last) or 0) + 1)
local text = string.format('%.0f', fence)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], ARGV[1] .. '/' .. text, 'NX', 'PX', ARGV[2])
return {fence, last and 1 or 0}
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class LeaseLostError(Exception):
    """Somebody else may run the job now: nothing more may be written for this run."""


@dataclass(slots=True)
class Held:
    """A lease that was taken. `valid_until` is by our own steady clock, counted from before Redis was asked.

    `is_first`: Redis knew no fence of this job, so it may have been emptied under another holder.
    """

    job: str
    key: str
    value: str
    fence: int
    is_first: bool
    valid_until: float


class Leases:
    """Takes, renews and gives back leases; `owner` tells processes apart."""

    def __init__(self, redis: Redis, prefix: str, owner: str, ttl_s: float) -> None:
        self._redis: Any = redis
        self._prefix = prefix
        self._owner = owner
        self.ttl_s = ttl_s

    async def acquire(self, job: str) -> Held | None:
        """The lease, or None while another holds it.

        Raises:
            RetryableError, PermanentError: Redis' reason.
        """
        key, before = redis_keys.job_lease(self._prefix, job), monotonic()
        fence, known = await self._eval(
            _ACQUIRE, 2, key, redis_keys.job_fence(self._prefix, job), self._owner, self._ttl_ms
        )
        if not fence:
            return None
        return Held(job, key, f"{self._owner}/{fence}", int(fence), not known, before + self.ttl_s)

    async def renew(self, held: Held) -> bool:
        """Prolong it; False if it is another's, or over.

        Raises:
            RetryableError, PermanentError: Redis' reason; whether it still holds is not known.
        """
        before = monotonic()
        if not await self._eval(_RENEW, 1, held.key, held.value, self._ttl_ms):
            return False
        held.valid_until = before + self.ttl_s
        return True

    async def release(self, held: Held) -> None:
        """Give it back, if it is still ours.

        Raises:
            RetryableError, PermanentError: Redis' reason; it then ends by itself.
        """
        await self._eval(_RELEASE, 1, held.key, held.value)

    async def holder(self, job: str) -> str:
        """Who holds it now, '' if nobody does.

        Raises:
            RetryableError, PermanentError: Redis' reason.
        """
        try:
            value = await self._redis.get(redis_keys.job_lease(self._prefix, job))
        except Exception as error:
            raise sort_redis_error(error) from error
        return bytes(value or b"").decode().rpartition("/")[0]

    @property
    def _ttl_ms(self) -> int:
        return int(self.ttl_s * 1000)

    async def _eval(self, script: str, keys: int, *arguments: str | int) -> Any:
        try:
            return await self._redis.eval(script, keys, *arguments)
        except Exception as error:
            raise sort_redis_error(error) from error


class Keeper:
    """Renews a lease three times in its life, and says at once when it is lost. Use as an async context manager.

    A Redis that does not answer is asked again until the lease would be over: from then on another may have it.
    """

    def __init__(self, leases: Leases, held: Held) -> None:
        self.held = held
        self.lost = asyncio.Event()
        self._leases = leases
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Keeper:
        self._task = asyncio.create_task(self._renew(), name=f"lease of {self.held.job}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not self.lost.is_set():
            try:
                await self._leases.release(self.held)
            except (RetryableError, PermanentError) as error:
                log.warning("a lease could not be given back and ends by itself", job=self.held.job, error=str(error))

    async def confirm(self) -> None:
        """Ask Redis now; before every write.

        Raises:
            LeaseLostError: it is not ours any more, or nobody can say for as long as it lasts.
        """
        while not self.lost.is_set() and monotonic() < self.held.valid_until:
            try:
                if await self._leases.renew(self.held):
                    return
                break
            except (RetryableError, PermanentError) as error:
                log.warning("Redis does not say whether a lease holds", job=self.held.job, error=str(error))
                await asyncio.sleep(self._leases.ttl_s / 20)
        self.lost.set()
        raise LeaseLostError(self.held.job)

    async def _renew(self) -> None:
        pause, renewed = self._leases.ttl_s / 3, monotonic()
        while True:
            await asyncio.sleep(pause)
            try:
                await self.confirm()
            except LeaseLostError:
                log.error("a lease is lost: the run is ended, another may do it", job=self.held.job)
                return
            JOB_LEASE_GAP.set(monotonic() - renewed)
            renewed = monotonic()
