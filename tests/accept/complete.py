"""Whether an emptied Redis shows again all that ClickHouse holds: each live value, series and total, none older."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.stack import Stack

_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Due:
    """A hash of Redis and what it has to show: `start` (epoch s, of live values) and `version` are the least."""

    key: str
    field: str
    start: int
    version: int

    def shown(self, start: str | None, version: str | None) -> bool:
        """Whether these fields of the hash show it, or something newer."""
        if version is None:
            return False
        return (int(start or 0), int(version)) >= (self.start, self.version)


def stored(stack: Stack) -> list[Due]:
    """What ClickHouse holds now: the newest window of each metric, every window of its series, and every total."""
    windows = stack.query(
        "SELECT metric, window, dimension, dimension_value, toUnixTimestamp(window_start), version FROM gold.windows FINAL"
        " ORDER BY window_start"
    )
    newest: dict[str, Due] = {}
    due: list[Due] = []
    for metric, window, dimension, value, start, version in windows:
        name = f"{metric}:{window}" + (f":{dimension}={value}" if dimension else "")
        newest[name] = Due(f"sp:live:{name}", "version", start, version)
        due.append(Due(f"sp:series-version:{name}", str(start), 0, version))
    totals = stack.query("SELECT metric, entity, version FROM gold.entities FINAL")
    due += [Due(f"sp:entity:{metric}:{entity}", "version", 0, version) for metric, entity, version in totals]
    return [*newest.values(), *due]


def wait_complete(stack: Stack, due: Sequence[Due], begun: float, limit_s: float) -> float:
    """Seconds from `begun` (monotonic) until Redis shows all of it. Nothing shown goes back, so each is looked at until
    it is there, and never again.

    Raises:
        AssertionError: something was not there in time; with how much, and an example.
    """
    place = 0
    while place < len(due):
        some = due[place : place + _AT_ONCE]
        pipe = stack.redis.pipeline(transaction=False)
        for each in some:
            pipe.hmget(each.key, "window_start", each.field)
        there = [each.shown(*fields) for each, fields in zip(some, pipe.execute(), strict=True)]
        missing = there.index(False) if False in there else len(some)
        place += missing
        if missing < len(some):
            spent = time.monotonic() - begun
            assert spent < limit_s, f"after {spent:.0f} s Redis lacks {len(due) - place} of {len(due)}: {due[place]}"
            time.sleep(0.1)
    return time.monotonic() - begun
