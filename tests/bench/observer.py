"""An observer process: asks Redis every few milliseconds, and writes down since when it shows each probe.

python -m tests.bench.observer --redis redis://127.0.0.1:6379/0 --seconds 45 --out seen.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import redis

from tests.bench.traffic import FIRST_PROBE_VIDEO, PROBE_TYPE

_PAUSE_S = 0.004
#: Entity probes looked for at once, from the first that is not there yet.
_AHEAD = 100
_LIVE = f"sp:live:user_events:1d:activity_type={PROBE_TYPE}"
_FIELDS = ("window_start", "count", "final_window_start", "final_value")


class Observer:
    """`windows`: (count, first seen) whenever the count rose; `entities`: number of a probe -> first seen."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._days: dict[str, int] = {}
        self._first = 0
        self.windows: list[tuple[int, float]] = []
        self.entities: dict[int, float] = {}

    def look(self) -> None:
        """One round trip; the time is taken after the answer, so a value is never seen too early."""
        numbers = [n for n in range(self._first, self._first + _AHEAD) if n not in self.entities]
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(_LIVE, *_FIELDS)
        for number in numbers:
            pipe.exists(f"sp:entity:cost_per_video_usd:{FIRST_PROBE_VIDEO + number}")
        (start, count, final_start, final_value), *there = pipe.execute()
        now = time.monotonic()
        self._windows(start, count, final_start, final_value, now)
        for number, found in zip(numbers, there, strict=True):
            if found:
                self.entities[number] = now
        while self._first in self.entities:
            self._first += 1

    def _windows(self, start: str, count: str, final_start: str, final_value: str, now: float) -> None:
        # By day, so that a run over midnight UTC counts on.
        if count:
            self._days[start] = max(self._days.get(start, 0), int(count))
        if final_value:
            self._days[final_start] = max(self._days.get(final_start, 0), int(final_value))
        total = sum(self._days.values())
        if total > (self.windows[-1][0] if self.windows else 0):
            self.windows.append((total, now))


def main() -> None:
    """Look until the time is over, and write what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with redis.Redis.from_url(arguments.redis, decode_responses=True) as client:
        observer = Observer(client)
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end:
            observer.look()
            time.sleep(_PAUSE_S)
    arguments.out.write_text(json.dumps({"windows": observer.windows, "entities": observer.entities}))


if __name__ == "__main__":
    main()
