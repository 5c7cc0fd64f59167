"""Redis held against the independent truth: series, live values, aliases and entity totals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import redis

from tests.support.compare import differences
from tests.support.truth import Key, Value

#: As contracts have it; written down again, so that an error in the product's constants is seen.
_KEPT = {"1m": 120, "5m": 288, "1h": 168, "1d": 35}
_ALIASES = {("active_users", "1d"): "dau", ("total_cost_usd", "1d"): "daily_burn_rate_usd"}
_CHUNK = 2000

#: (metric, window, dimension, dimension value) -> {window start in epoch s: (value, count)}.
Series = dict[tuple[str, str, str, str], dict[int, tuple[float | None, int]]]


def redis_differences(client: redis.Redis, windows: Mapping[Key, Value], entities: Mapping[Key, Value]) -> list[str]:
    """What is wrong in Redis, in words; [] if every key shows the truth."""
    expected: Series = defaultdict(dict)
    for (metric, window, start_ms, dimension, dim_value), (value, count, _) in windows.items():
        expected[metric, window, dimension, dim_value][start_ms // 1000] = (value, count)
    wrong: list[str] = []
    names = list(expected)
    series = _hashes(client, [_key("series", *name) for name in names])
    live = _hashes(client, [_key("live", *name) for name in names])
    for name, kept, newest in zip(names, series, live, strict=True):
        wrong += _series(name, kept, expected[name])
        wrong += _live(name, newest, expected[name])
    for (metric, window), alias in _ALIASES.items():
        own, other = _hashes(client, [f"sp:live:{metric}:{window}", f"sp:live:{alias}:{window}"])
        if {**own, "updated_at": ""} != {**other, "updated_at": ""}:
            wrong.append(f"alias {alias} differs: {other} and {own}")
    return wrong + _entities(client, entities)


def _key(kind: str, metric: str, window: str, dimension: str, value: str) -> str:
    return f"sp:{kind}:{metric}:{window}" + (f":{dimension}={value}" if dimension else "")


def _hashes(client: redis.Redis, keys: list[str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for first in range(0, len(keys), _CHUNK):
        pipe = client.pipeline(transaction=False)
        for key in keys[first : first + _CHUNK]:
            pipe.hgetall(key)
        found += pipe.execute()
    return found


def _number(text: str) -> float | None:
    return float(text) if text else None


def _same(metric: str, got: str, expected: tuple[float | None, int]) -> bool:
    """Equal as the comparison of ClickHouse has it (counts are not part of a series)."""
    key: Key = (metric, "", 0, "", "")
    return not differences({key: (_number(got), 1, 0)}, {key: (expected[0], 1, 0)})


def _series(
    name: tuple[str, str, str, str], kept: Mapping[str, str], truth: Mapping[int, tuple[float | None, int]]
) -> Iterable[str]:
    keep = _KEPT[name[1]]
    if len(kept) > keep:
        yield f"series {name} holds {len(kept)} windows, more than {keep}"
    found = {int(start): value for start, value in kept.items()}
    # A full series has let its oldest go: only what is newer than its oldest must be there.
    oldest = min(found) if len(found) == keep else 0
    for start, expected in truth.items():
        if start >= oldest and start not in found:
            yield f"series {name} lacks {start}: truth says {expected}"
    for start, value in found.items():
        if start not in truth:
            # Metrics of one measure share windows: one without events of this metric may be there, and empty.
            if value not in ("", "0"):
                yield f"series {name} has {start} = {value}, which is not in the truth"
        elif not _same(name[0], value, truth[start]):
            yield f"series {name} at {start}: {value!r}, truth says {truth[start]}"


def _live(
    name: tuple[str, str, str, str], live: Mapping[str, str], truth: Mapping[int, tuple[float | None, int]]
) -> Iterable[str]:
    if not live:
        yield f"live {name} is missing"
        return
    start = int(live["window_start"])
    if start < max(truth):
        yield f"live {name} shows window {start}, the newest is {max(truth)}"
    if start in truth:
        if not _same(name[0], live["value"], truth[start]) or int(live["count"]) != truth[start][1]:
            yield f"live {name}: {live['value']!r} of {live['count']}, truth says {truth[start]}"
    elif live["value"] not in ("", "0") or live["count"] != "0":
        # The clock has rolled it into a window of its own, which is empty.
        yield f"live {name}: {live['value']!r} of {live['count']} in a window without events"
    before = int(live.get("final_window_start") or 0)
    if before in truth and not _same(name[0], live["final_value"], truth[before]):
        yield f"live {name}: the window before shows {live['final_value']!r}, truth says {truth[before]}"


def _entities(client: redis.Redis, truth: Mapping[Key, Value]) -> list[str]:
    keys = list(truth)
    found = _hashes(client, [f"sp:entity:{key[0]}:{key[4]}" for key in keys])
    shown = {
        key: (_number(reply["value"]), int(reply["count"]), 0) for key, reply in zip(keys, found, strict=True) if reply
    }
    return [f"entity {text}" for text in differences(shown, truth)]
