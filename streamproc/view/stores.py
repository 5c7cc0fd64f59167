"""Reads what the view shows from Redis and ClickHouse; a store that is away gives nothing, and says so."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import redis.asyncio as aioredis
from redis.exceptions import RedisError

from schemas.redis_keys import live
from streamproc.catalogue import Metric
from streamproc.config import Settings
from streamproc.view.snapshot import SHOWN, WINDOWS, AlertRow, LiveRow

_FIELDS = ("value", "final_value", "final_window_start")
_CLICKHOUSE_TIMEOUT = aiohttp.ClientTimeout(total=5.0)

_FIRING_SQL = """
SELECT rule, severity, summary, since FROM (
    SELECT rule, severity, summary, state, toString(toDateTime(started_at)) AS since
    FROM gold.alerts FINAL
    WHERE kind = 'transition' AND recorded_at > now() - INTERVAL 7 DAY
    ORDER BY fingerprint, seq DESC
    LIMIT 1 BY fingerprint
) WHERE state = 'firing' ORDER BY since DESC
"""


class RedisReader:
    """Live values."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.redis_prefix
        self._client: aioredis.Redis = aioredis.Redis.from_url(
            settings.redis_url.get_secret_value(), decode_responses=True, socket_timeout=1.0, socket_connect_timeout=1.0
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def live_rows(self) -> list[LiveRow] | None:
        """Values of all shown metrics; None if Redis is away."""
        keys = [live(self._prefix, metric.name, window) for metric in SHOWN for window in WINDOWS]
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hmget(key, list(_FIELDS))
                found: list[list[str | None]] = await pipeline.execute()
        except (RedisError, OSError):
            return None
        by_key = dict(zip(keys, found, strict=True))
        return [self._row(metric, by_key) for metric in SHOWN]

    def _row(self, metric: Metric, by_key: dict[str, list[str | None]]) -> LiveRow:
        found = {window: by_key[live(self._prefix, metric.name, window)] for window in WINDOWS}
        minute = found["1m"]
        return LiveRow(
            metric,
            {window: fields[0] or "" for window, fields in found.items()},
            minute[1] or "",
            int(float(minute[2])) if minute[2] else 0,
        )


class ClickHouseReader:
    """Queries over HTTP; None or an error's text instead of rows when it cannot answer."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.clickhouse_url.get_secret_value()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def rows(self, sql: str) -> list[list[Any]] | None:
        """Rows of a query; None if ClickHouse is away or refuses it (a table may not exist yet)."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_CLICKHOUSE_TIMEOUT)
        try:
            async with self._session.post(
                self._url, data=f"{sql}\nFORMAT JSONCompact", params={"output_format_json_quote_64bit_integers": "0"}
            ) as response:
                if response.status != 200:
                    return None
                data: list[list[Any]] = orjson.loads(await response.read())["data"]
                return data
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, KeyError):
            return None

    async def firing(self) -> list[AlertRow] | None:
        """Alerts whose newest transition is 'firing'; None if ClickHouse cannot say."""
        rows = await self.rows(_FIRING_SQL)
        return None if rows is None else [AlertRow(*map(str, row)) for row in rows]
