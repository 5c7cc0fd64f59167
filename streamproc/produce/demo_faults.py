"""The small part of demo traffic that is wrong, late or double, as it is in every real stream."""

from __future__ import annotations

import random
from typing import Any

import orjson

#: Shares of all messages.
DUPLICATE = 0.003
MALFORMED = 0.001
UNKNOWN_VERSION = 0.0003
FUTURE = 0.0003
LATE = 0.005
VERY_LATE = 0.001


def shift_ms(rng: random.Random) -> int:
    """By how many ms an event's time is off: mostly 0; some minutes old, few older than 10 minutes, few in the future."""
    draw = rng.random()
    if draw < VERY_LATE:
        return -rng.randrange(660_000, 3 * 3_600_000)
    if draw < VERY_LATE + LATE:
        return -rng.randrange(60_000, 540_000)
    if draw < VERY_LATE + LATE + FUTURE:
        return rng.randrange(600_000, 3_600_000)
    return 0


def spoil(rng: random.Random, event: dict[str, Any], *, for_certain: bool = False) -> bytes | None:
    """The bytes of a broken form of the event, rarely or `for_certain`; None: the event stays as it is."""
    draw = rng.random()
    if draw < UNKNOWN_VERSION:
        return orjson.dumps(event | {"schema_version": "2.0.0"})
    if draw > UNKNOWN_VERSION + MALFORMED and not for_certain:
        return None
    way = rng.randrange(5)
    if way == 0:
        return orjson.dumps(event)[:-7]
    if way == 1:
        return orjson.dumps({name: value for name, value in event.items() if name != "event_id"})
    if way == 2:
        return orjson.dumps(event | {"occurred_at": event["occurred_at"][:-1]})
    if way == 3:
        return orjson.dumps(event | {"user_id": f"user-{event.get('user_id')}"})
    return b"<html><body>502 Bad Gateway</body></html>"
