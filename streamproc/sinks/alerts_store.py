"""Alert transitions in gold.alerts and in Redis, and what a restarted alert engine and notifier need to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from schemas import redis_keys
from schemas.alerts import AlertState, AlertTransition
from streamproc.clock import now_ms
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, block, floats, integers, nullable_floats, text_maps, texts
from streamproc.sinks.redis_errors import sort_redis_error
from streamproc.sinks.redis_instance import LiveInstance, live_instance

DELIVERY: Final = "delivery"
TRANSITION: Final = "transition"
#: An instance stays in Redis for a week after it was resolved.
RESOLVED_SHOWN_S: Final = 7 * 24 * 3600

_COLUMNS: Final = (
    "transition_id",
    "fingerprint",
    "seq",
    "kind",
    "rule",
    "severity",
    "state",
    "labels",
    "metric",
    "window",
    "window_start",
    "window_end",
    "value",
    "threshold",
    "operator",
    "unit",
    "summary",
    "event_time",
    "recorded_at",
    "version",
    "started_at",
    "inhibited_by",
    "delivered_at",
    "delivery",
)
_TIMES: Final = ("window_start", "window_end", "event_time", "recorded_at", "started_at", "delivered_at")
_SELECT: Final = ", ".join(
    f"toUnixTimestamp64Milli({name}) AS {name}_ms" if name in _TIMES else name for name in _COLUMNS
)
_FIELDS: Final = tuple(f"{name}_ms" if name in _TIMES else name for name in _COLUMNS)

_NEWEST: Final = f"kind = '{TRANSITION}' ORDER BY seq DESC, version DESC LIMIT 1 BY fingerprint"
_DELIVERED: Final = f"SELECT transition_id FROM gold.alerts WHERE kind = '{DELIVERY}'"  # noqa: S608 (constants)
_UNDELIVERED: Final = f"""(kind = '{TRANSITION}' AND state IN ('{AlertState.FIRING}', '{AlertState.RESOLVED}')
                           AND transition_id NOT IN ({_DELIVERED}))"""

# Never older than what is there: a repeat of an old transition (at least once) must not hide a newer state.
_SCRIPT: Final = """
local seq = redis.call('HGET', KEYS[1], 'seq')
if seq and tonumber(ARGV[1]) < tonumber(seq) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
if ARGV[2] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""


class GoldAlerts:
    """Keeps alerts in gold.alerts. The caller retries; a repeated write changes nothing."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def write(self, items: Sequence[AlertTransition]) -> None:
        """Write transitions and delivery records in one insert.

        Raises:
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        if items:
            await self._clickhouse.insert("gold.alerts", _COLUMNS, _encode(items))

    async def load_states(self) -> list[AlertTransition]:
        """The newest transition of each instance: what a restarted engine goes on from, so that nothing fires again.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        return await self._select(_NEWEST)

    async def load_undelivered(self) -> list[AlertTransition]:
        """What a restarted notifier goes on from, by time: transitions without a delivery record, and each firing
        instance's newest transition with its delivery records (for reminders).

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        firing = [each.transition_id for each in await self._select(_NEWEST) if each.state is AlertState.FIRING]
        known = await self._select(f"transition_id IN {{firing:Array(String)}} OR {_UNDELIVERED}", {"firing": firing})
        return sorted(known, key=lambda each: (each.recorded_at_ms, each.seq, each.kind == DELIVERY))

    async def _select(self, where: str, parameters: dict[str, Any] | None = None) -> list[AlertTransition]:
        sql = f"SELECT {_SELECT} FROM gold.alerts FINAL WHERE {where}"  # noqa: S608 (constants, values bound)
        return [_transition(row) for row in await self._clickhouse.rows(sql, parameters)]


class LiveAlerts:
    """Keeps the newest transition of each instance in `sp:alert:{fingerprint}`; a week after it was resolved it goes."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def instance(self) -> LiveInstance:
        """Which data set answers; raises as `live_instance`."""
        return await live_instance(self._redis, self._prefix)

    async def write(self, items: Sequence[AlertTransition]) -> None:
        """Write the states; delivery records and older states change nothing.

        Raises:
            RetryableError, PermanentError: with a reason; a part may have been applied, and may be written again.
        """
        states = [each for each in items if each.kind == TRANSITION]
        if not states:
            return
        try:
            pipe = self._redis.pipeline(transaction=False)
            for each in states:
                key = redis_keys.alert(self._prefix, each.fingerprint)
                fields = [str(part) for pair in _hash_of(each).items() for part in pair]
                pipe.eval(_SCRIPT, 1, key, str(each.seq), _lives_s(each), *fields)
            await pipe.execute()
        except Exception as error:
            raise sort_redis_error(error) from error


def is_shown(each: AlertTransition) -> bool:
    """Whether `sp:alert:*` holds an instance whose newest transition is this one."""
    return each.state is not AlertState.RESOLVED or now_ms() - each.recorded_at_ms < RESOLVED_SHOWN_S * 1000


def _lives_s(each: AlertTransition) -> str:
    """Seconds until the key goes, '' for never: written again after a loss it must not live longer."""
    if each.state is not AlertState.RESOLVED:
        return ""
    age_s = (now_ms() - each.recorded_at_ms) // 1000
    return str(min(max(1, RESOLVED_SHOWN_S - age_s), RESOLVED_SHOWN_S))


def _hash_of(each: AlertTransition) -> dict[str, str | int | float]:
    return {
        "state": each.state.value,
        "rule": each.rule,
        "severity": each.severity,
        "metric": each.metric,
        "window": each.window,
        "labels": ",".join(f"{name}={value}" for name, value in sorted(each.labels.items())),
        "value": "" if each.value is None else repr(each.value),
        "threshold": repr(each.threshold),
        "operator": each.operator,
        "unit": each.unit,
        "summary": each.summary,
        "seq": each.seq,
        "transition_id": each.transition_id,
        "inhibited_by": each.inhibited_by,
        "window_start": each.window_start_ms // 1000,
        "started_at": each.started_at_ms,
        "event_time": each.event_time_ms,
        "recorded_at": each.recorded_at_ms,
    }


def _transition(row: Sequence[object]) -> AlertTransition:
    fields = dict(zip(_FIELDS, row, strict=True))
    fields["state"] = AlertState(str(fields["state"]))
    return AlertTransition(**fields)  # type: ignore[arg-type]  # the driver's rows are untyped; the columns are ours


def _encode(items: Sequence[AlertTransition]) -> bytes:
    special = {
        "seq": integers("seq", "UInt64", [each.seq for each in items]),
        "version": integers("version", "UInt64", [each.version for each in items]),
        "labels": text_maps("labels", [each.labels for each in items]),
        "value": nullable_floats("value", [each.value for each in items]),
        "threshold": floats("threshold", [each.threshold for each in items]),
    }
    for name in _TIMES:
        special[name] = integers(name, DATETIME_MS, [getattr(each, f"{name}_ms") for each in items])
    columns = [special.get(name) or texts(name, [str(getattr(each, name)) for each in items]) for name in _COLUMNS]
    return block(columns, len(items))
