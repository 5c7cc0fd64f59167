"""Which Redis answers: one that restarted or was emptied does not hold what was written before."""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

from redis.asyncio import Redis

from schemas import redis_keys
from streamproc.clock import now_ms
from streamproc.sinks.redis_errors import sort_redis_error

#: Workers that start within this time of Redis' birth fill it with what is stored: it may have been lost while all were away.
_YOUNG_MS: Final = 300_000


class LiveInstance(NamedTuple):
    """What answers at the Redis address: `name` changes when the server starts anew, is emptied or is replaced by another;
    `is_young`: it was empty a few minutes ago; `now_ms`: its own time of day, the same for all workers (epoch ms)."""

    name: str
    is_young: bool
    now_ms: int


async def live_instance(redis: Redis, prefix: str) -> LiveInstance:
    """Which data set answers, and what time it is there.

    Raises:
        RetryableError, PermanentError: with a reason.
    """
    key = redis_keys.instance(prefix)
    pipe = redis.pipeline(transaction=False)
    pipe.get(key)
    # Some servers refuse these two to clients: then the marker alone says it, and the time is ours.
    pipe.time()
    pipe.info("server")
    try:
        marker, time, info = await pipe.execute(raise_on_error=False)
        if isinstance(marker, Exception):
            raise marker
        here = now_ms() if isinstance(time, Exception) else time[0] * 1000 + time[1] // 1000
        if marker is None:
            await redis.set(key, f"{here}-{secrets.token_hex(8)}", nx=True)
            marker = await redis.get(key)
    except Exception as error:
        raise sort_redis_error(error) from error
    run_id = "" if isinstance(info, Exception) else info.get("run_id", "")
    text = bytes(marker or b"").decode()
    born = text.split("-")[0]
    is_young = born.isdigit() and here - int(born) < _YOUNG_MS
    return LiveInstance(f"{text}/{run_id}", is_young, here)
