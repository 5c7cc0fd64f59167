"""The newest of each daily metric in Redis: `sp:daily:{metric}` (contract: value, day, updated_at)."""

from __future__ import annotations

import asyncio
from typing import Final

import redis

from schemas import redis_keys
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.clickhouse_client import ClickHouse

_NEWEST: Final = """
    SELECT metric, toString(max(day)), argMax(tuple(value), day).1
    FROM gold.daily_metrics FINAL WHERE grain = 'day' AND dimension = '' GROUP BY metric ORDER BY metric
"""


def publish(settings: Settings) -> int:
    """Write the newest value of each metric in all ('' for null); how many there are.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason, or Redis is away.
    """
    rows = asyncio.run(_newest(settings))
    client = redis.Redis.from_url(settings.redis_url.get_secret_value())
    try:
        with client.pipeline(transaction=False) as pipe:
            for metric, day, value in rows:
                shown = "" if value is None else repr(value)
                key = redis_keys.daily(settings.redis_prefix, metric)
                pipe.hset(key, mapping={"value": shown, "day": day, "updated_at": str(now_ms())})
            pipe.execute()
    except redis.RedisError as error:
        raise RetryableError("redis", f"daily metrics: {error}") from error
    finally:
        client.close()
    return len(rows)


async def _newest(settings: Settings) -> list[tuple[str, str, float | None]]:
    clickhouse = ClickHouse.of(settings)
    try:
        return [(metric, day, value) for metric, day, value in await clickhouse.rows(_NEWEST)]
    finally:
        await clickhouse.close()
