"""What Redis shows once everything has come to rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.results import SIZES_MS
from tests.simulation import virtual
from tests.simulation.oracle import Place, Value
from tests.simulation.world import World

#: How many windows a series shows, and for how long at least; what is older may be missing once Redis was emptied.
_SERIES: Final = {"1m": 120, "5m": 288, "1h": 168, "1d": 35}
_SHOWN_MS: Final = 48 * 3_600_000
_BITS: Final = 1e-9

Where = tuple[str, str, str, str]
"""metric, size, dimension, value."""


def wrong_in_redis(world: World, truth: dict[Place, Value]) -> Iterator[str]:
    """Live values, series and entity totals that differ from the truth.

    After a broker lost its logs, Redis may show what no other store has any more: a higher version.
    """
    newest: dict[Where, int] = {}
    for metric, dimension, value, size, start in truth:
        where = (metric, size, dimension, value)
        newest[where] = max(start, newest.get(where, start))
    lossy = "broker lost its logs" in world.faults

    def is_ahead(place: Place, version: int) -> bool:
        stored = world.clickhouse.values.get(place)
        return lossy and (stored is None or version > stored.version)

    entries: dict[Where, set[int]] = {}
    for metric, dimension, value, size, start in truth:
        if size != "all" and virtual.clock.ms - start < max(_SHOWN_MS, _SERIES[size] * SIZES_MS[size]) - SIZES_MS[size]:
            entries.setdefault((metric, size, dimension, value), set()).add(start)
    for where, starts in entries.items():
        entries[where] = set(sorted(starts)[-_SERIES[where[1]] :])
    for where, start in newest.items():
        metric, size, dimension, value = where
        place = (metric, dimension, value, size, start)
        expected = truth[place]
        if size == "all":
            entity = world.redis.entities.get((metric, value))
            right = entity is not None and entity[2] == expected.count and shows(metric, entity[1], expected)
            if not right and not (entity is not None and is_ahead(place, entity[0])):
                yield f"Redis: {metric} {value} is {entity}, must be {expected}"
            continue
        live = world.redis.live.get(where)
        if live is None:
            if start in entries.get(where, ()):
                yield f"Redis: {where} is missing, must be {expected}"
        elif live.start == start:
            right = (live.count, live.late) == (expected.count, expected.late) and shows(metric, live.text, expected)
            if not right and not is_ahead(place, live.version):
                yield f"Redis: {where} shows {live.text} ({live.count}), must be {expected}"
        elif live.start < start or not (live.version == 0 or is_ahead((*place[:4], live.start), live.version)):
            yield f"Redis: {where} shows the window of {live.start}, the newest is {start}"
        series = world.redis.series.get(where, {})
        if entries.get(where, set()) - series.keys():
            yield f"Redis: series {where} lacks {sorted(entries[where] - series.keys())}"
        for at, (version, text) in series.items():
            known = truth.get((metric, dimension, value, size, at))
            if (known is None or not shows(metric, text, known)) and not is_ahead((*place[:4], at), version):
                yield f"Redis: series {where} holds {text} at {at}, must be {known}"


def shows(metric: str, text: str, expected: Value) -> bool:
    """Whether a text of Redis is that value."""
    if expected.value is None or text == "":
        return expected.value is None and text == ""
    if metric.startswith("api_response_time"):
        return abs(float(text) - expected.value) <= 0.01 * expected.value
    return abs(float(text) - expected.value) <= _BITS * max(1.0, abs(expected.value))
