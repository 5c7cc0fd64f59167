"""Live values, series and entity totals in Redis: absolute, versioned, thousands in one round trip."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from schemas import redis_keys
from schemas.results import ALL, MetricValue
from streamproc.catalogue import METRICS
from streamproc.config import Settings
from streamproc.sinks.redis_errors import sort_redis_error
from streamproc.sinks.redis_instance import LiveInstance, live_instance
from streamproc.sinks.redis_script import ENTITY, LIVE_SCRIPT, ROLL, WRITE, Item

#: Items in one script call: Redis answers nobody else meanwhile (about 15 microseconds an item).
_ITEMS_PER_CALL: Final = 200
#: Script calls in one round trip.
_CALLS_PER_TRIP: Final = 25

_SHA: Final = hashlib.sha1(LIVE_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_MONEY: Final = frozenset(metric.name for metric in METRICS if metric.formula in ("money", "id_money"))
_JSON: Final = msgspec.json.Encoder()
_PACK: Final = msgspec.msgpack.Encoder()


def connect(settings: Settings, url: SecretStr | None = None, **options: Any) -> Redis:
    """A client (of `redis_url` without another one) with explicit timeouts, without retries; it connects on first use."""
    return Redis.from_url(
        (url or settings.redis_url).get_secret_value(),
        socket_timeout=5.0,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        client_name="streamproc",
        **options,
    )


def value_text(value: MetricValue) -> str:
    """'' for null (and for what is no number); money exactly from `sum_e4`; else the shortest text that reads back as the same float."""
    if value.value is None or not math.isfinite(value.value):
        return ""
    if value.metric in _MONEY:
        return money_text(value.sum_e4)
    if value.value.is_integer() and abs(value.value) < 1e15:
        return str(int(value.value))
    return repr(value.value)


def money_text(e4: int) -> str:
    """1/10000 as a decimal without trailing zeros: 26000 -> '2.6', -5 -> '-0.0005'."""
    whole, rest = divmod(abs(e4), 10_000)
    text = f"{whole}.{rest:04d}".rstrip("0").rstrip(".") if rest else str(whole)
    return f"-{text}" if e4 < 0 else text


class RedisLive:
    """Writes `sp:live`, `sp:series`, `sp:entity`, and publishes on `sp:updates`. The caller retries."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._channel = redis_keys.updates(prefix)

    async def write(self, values: Sequence[MetricValue]) -> int:
        """Write windows and entity totals; returns how many live values or entities changed.

        Raises:
            RetryableError, PermanentError: with a reason; a part may have been applied, and may be written again.
        """
        return await self._run([item for value in values for item in self._items(value, WRITE)])

    async def roll(self, values: Sequence[MetricValue]) -> int:
        """Move quiet metrics into their new window (0 or null, version 0): live values only, no series.

        Raises:
            RetryableError, PermanentError: with a reason; a part may have been applied, and may be written again.
        """
        return await self._run([item for value in values for item in self._items(value, ROLL)])

    async def instance(self) -> LiveInstance:
        """Which data set answers, and what time it is there; raises as `live_instance`."""
        return await live_instance(self._redis, self._prefix)

    def _items(self, value: MetricValue, op: str) -> Iterable[Item]:
        text = value_text(value)
        if value.size == ALL:
            key = redis_keys.entity(self._prefix, value.metric, value.dimension_value)
            return (self._item(ENTITY, value, key, "", "", redis_keys.ENTITY_TTL_S, text, ""),)
        keep = redis_keys.SERIES_LENGTH[value.size]
        where = (value.metric, value.size, value.dimension, value.dimension_value)
        key = redis_keys.live(self._prefix, *where)
        series = redis_keys.series(self._prefix, *where)
        versions = redis_keys.series_versions(self._prefix, *where)
        item = self._item(op, value, key, series, versions, keep, text, value.metric)
        alias = "" if value.dimension else redis_keys.ALIASES.get((value.metric, value.size), "")
        if not alias:
            return (item,)
        alias_key = redis_keys.live(self._prefix, alias, value.size)
        return (item, self._item(op, value, alias_key, "", "", 0, text, alias))

    def _item(
        self, op: str, value: MetricValue, key: str, series: str, versions: str, keep: int, text: str, name: str
    ) -> Item:
        return (
            op,
            key,
            series,
            versions,
            keep,
            str(value.window_start_ms // 1000),
            str(value.window_end_ms // 1000),
            text,
            str(value.count),
            value.status,
            str(value.late),
            str(value.version),
            str(value.updated_at_ms),
            _message(name, key, value, text) if name else "",
        )

    async def _run(self, items: list[Item]) -> int:
        changed = 0
        per_trip = _ITEMS_PER_CALL * _CALLS_PER_TRIP
        try:
            for first in range(0, len(items), per_trip):
                trip = items[first : first + per_trip]
                calls = [trip[at : at + _ITEMS_PER_CALL] for at in range(0, len(trip), _ITEMS_PER_CALL)]
                changed += await self._trip([_PACK.encode(call) for call in calls])
        except Exception as error:
            raise sort_redis_error(error) from error
        return changed

    async def _trip(self, calls: list[bytes]) -> int:
        """One round trip; a server that does not know the script (restarted, flushed) is told, and all is sent again."""
        replies = await self._send(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            await self._redis.script_load(LIVE_SCRIPT)
            replies = await self._send(calls)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return sum(replies)

    async def _send(self, calls: list[bytes]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command("EVALSHA", _SHA, 0, call, self._channel)
        return await pipe.execute(raise_on_error=False)


def _message(name: str, key: str, value: MetricValue, text: str) -> str:
    return _JSON.encode(
        {
            "key": key,
            "metric": name,
            "window": value.size,
            "dimension": value.dimension,
            "dimension_value": value.dimension_value,
            "value": msgspec.Raw(text.encode()) if text else None,
            "count": value.count,
            "window_start": value.window_start_ms // 1000,
            "window_end": value.window_end_ms // 1000,
            "status": value.status,
            "late": value.late,
            "version": value.version,
            "updated_at": value.updated_at_ms,
        }
    ).decode()
