"""What gold.windows and Redis show after a minute of demo traffic, and whether a person would believe it."""

from __future__ import annotations

from dataclasses import dataclass

import clickhouse_connect
import redis
from clickhouse_connect.driver.exceptions import ClickHouseError

_SIZES = ("1m", "5m", "1h", "1d")
#: Lowest and highest value that a day's window may show after a minute at 50 events/s, in the unit of the metric.
_RANGES: dict[str, tuple[float, float]] = {
    "active_users": (10, 10_000),
    "user_events": (100, 100_000),
    "api_response_time_p50_ms": (1, 2_000),
    "api_response_time_p95_ms": (5, 20_000),
    "api_response_time_p99_ms": (5, 60_000),
    "videos_requested": (1, 10_000),
    "videos_started": (1, 10_000),
    "videos_completed": (1, 10_000),
    "videos_failed": (1, 10_000),
    "videos_published": (1, 10_000),
    "avg_generation_time_seconds": (1, 600),
    "queue_processing_time_seconds": (0.1, 300),
    "video_success_rate": (1, 100),
    "total_cost_usd": (0.01, 10_000),
    "avg_cost_per_video_usd": (0.01, 10),
}
_ALIASES = {"dau": "active_users", "daily_burn_rate_usd": "total_cost_usd"}


@dataclass(frozen=True)
class Shown:
    """(metric, window) -> newest value by store; Redis as text ('' for null). `entities`: totals in Redis, USD."""

    gold: dict[tuple[str, str], float | None]
    live: dict[tuple[str, str], str]
    aliases: dict[str, str]
    entities: list[float]


def look(clickhouse_port: int, redis_port: int) -> Shown | None:
    """What both stores show now; None while one does not answer (it is starting or stopping)."""
    try:
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=clickhouse_port, autogenerate_session_id=False, connect_timeout=3
        )
        rows = client.query(
            "SELECT metric, window, argMax(tuple(value), window_start).1 FROM gold.windows FINAL"
            " WHERE dimension = '' GROUP BY metric, window"
        ).result_rows
        client.close()
        with redis.Redis(port=redis_port, decode_responses=True, socket_timeout=3) as store:
            live = {(m, s): store.hget(f"sp:live:{m}:{s}", "value") for m in _RANGES for s in _SIZES}
            aliases = {name: store.hget(f"sp:live:{name}:1d", "value") for name in _ALIASES}
            keys = list(store.scan_iter("sp:entity:cost_per_video_usd:*", count=1000))
            entities = [float(store.hget(key, "value") or "nan") for key in keys]
    except (ClickHouseError, redis.RedisError, OSError):
        return None
    return Shown(
        {(metric, window): value for metric, window, value in rows},
        {name: value for name, value in live.items() if value is not None},
        {name: value for name, value in aliases.items() if value is not None},
        entities,
    )


def problems(shown: Shown) -> list[str]:
    """What is missing or not to be believed; [] if all is well."""
    wrong = []
    for metric, (low, high) in _RANGES.items():
        for size in _SIZES:
            for store, found in (("gold.windows", shown.gold), ("Redis", shown.live)):
                if (metric, size) not in found:
                    wrong.append(f"{store} has no {metric} of {size}")
        for store, value in (
            ("gold.windows", shown.gold.get((metric, "1d"))),
            ("Redis", shown.live.get((metric, "1d"))),
        ):
            if value in (None, ""):
                wrong.append(f"{store}: {metric} of today is null")
            elif not low <= float(value) <= high:
                wrong.append(f"{store}: {metric} of today is {value}, not within {low:g} to {high:g}")
    wrong += _order(shown)
    wrong += [
        f"Redis has no {alias}"
        for alias, of in _ALIASES.items()
        if shown.aliases.get(alias) != shown.live.get((of, "1d"))
    ]
    if not shown.entities or not all(-1 < usd < 20 for usd in shown.entities):
        wrong.append(f"Redis: totals of videos are {shown.entities[:5]}")
    return wrong


def _order(shown: Shown) -> list[str]:
    """Percentiles rise, and no more videos end than began."""
    day = {metric: value for (metric, size), value in shown.gold.items() if size == "1d" and value is not None}
    chains = [
        [f"api_response_time_p{percent}_ms" for percent in (50, 95, 99)],
        ["videos_published", "videos_completed", "videos_started", "videos_requested"],
    ]
    wrong = []
    for chain in chains:
        values = [day.get(name, 0.0) for name in chain]
        if values != sorted(values):
            wrong.append(f"{' <= '.join(chain)} does not hold: {values}")
    return wrong
