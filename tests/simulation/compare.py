"""Values of the product's stores and of the oracle side by side."""

from __future__ import annotations

from typing import Final

from tests.simulation.broker import Log
from tests.simulation.oracle import Judged, Place, Value
from tests.simulation.world import World

#: Every log of the event topics, and what the oracle makes of it.
Logs = list[tuple[Log, Judged]]

_BITS: Final = 1e-9


def stored(world: World) -> dict[Place, Value]:
    """What ClickHouse publishes."""
    return {name: Value(v.value, v.count, v.late) for name, v in world.clickhouse.values.items()}


def equal(name: Place, one: Value | None, other: Value | None) -> bool:
    """Equal but for the last bits of a float; percentiles lie within 1 %."""
    if one is None or other is None or one == other:
        return one == other
    if (one.count, one.late) != (other.count, other.late) or one.value is None or other.value is None:
        return False
    allowed = 0.01 * other.value if name[0].startswith("api_response_time") else _BITS * max(1.0, abs(other.value))
    return abs(one.value - other.value) <= allowed
