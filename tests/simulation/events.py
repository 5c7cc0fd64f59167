"""Events of one history: few keys, times around every limit of the rules, duplicates, repeats and bad records."""

from __future__ import annotations

import functools
import random
from datetime import UTC, datetime
from typing import Final

from tests.simulation.broker import Log

MINUTE_MS: Final = 60_000
LATENESS_MS: Final = 600_000
FUTURE_MS: Final = 300_000

_STATUSES: Final = ("requested", "started", "completed", "failed", "published")


@functools.cache
def _minute(minutes: int) -> str:
    return f"{datetime.fromtimestamp(60 * minutes, UTC):%Y-%m-%dT%H:%M}"


def rfc3339(epoch_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC."""
    seconds, millis = divmod(epoch_ms, 1000)
    return f"{_minute(seconds // 60)}:{seconds % 60:02d}.{millis:03d}Z"


class Events:
    """Makes the next record of a log. What was made before may come again."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: dict[str, list[tuple[str, bytes]]] = {}
        self._newest_ms = 0
        #: Below 100 ms percentiles are exact, and equal ones are compared faster.
        self._slowest_ms = rng.choice((99, 99, 99, 500))

    def next(self, log: Log, now_ms: int) -> tuple[bytes, bytes | None]:
        """Key and value of a record that is produced at this time."""
        rng = self._rng
        topic = log.name[0]
        made = self._made.setdefault(topic, [])
        draw = rng.random()
        if made and draw < 0.12:
            event_id, value = made[int(rng.random() * len(made))]
            way = rng.random()
            if way < 0.5:
                return b"k", value
            if way < 0.65:
                return b"k", value.replace(event_id.encode(), event_id.upper().encode())
            return b"k", self._value(topic, event_id, self._event_ms(now_ms))
        if draw < 0.17:
            return b"k", self._bad(topic, now_ms)
        bits = f"{rng.getrandbits(128):032x}"
        event_id = f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"
        value = self._value(topic, event_id, self._event_ms(now_ms))
        made.append((event_id, value))
        return b"k", value

    def _event_ms(self, now_ms: int) -> int:
        """Mostly seconds ago; some around the end of a window's lateness; a few ahead of the log."""
        draw = self._rng.random()
        if draw < 0.7:
            at = now_ms - int(self._rng.random() * 5000)
        elif draw < 0.77:
            at = now_ms - int(self._rng.random() * 120_000)
        elif draw < 0.87:
            # The first or last millisecond that a minute's window takes in.
            mark = self._newest_ms or now_ms
            at = mark - mark % MINUTE_MS - LATENESS_MS + int(self._rng.random() * 3) - 1
        elif draw < 0.93:
            at = now_ms - int(self._rng.random() * 800_000)
        elif draw < 0.95:
            at = now_ms - int(self._rng.random() * 7_200_000)
        elif draw < 0.97:
            at = now_ms + int(self._rng.random() * 200_000)
        else:
            at = now_ms + FUTURE_MS + int(self._rng.random() * 3) - 1
        self._newest_ms = max(self._newest_ms, min(at, now_ms))
        return at

    def _value(self, topic: str, event_id: str, at_ms: int) -> bytes:
        rng = self._rng
        head = f'{{"event_id":"{event_id}","schema_version":"1.0.0","occurred_at":"{rfc3339(at_ms)}",'
        if topic == "user-events":
            user, kind = int(rng.random() * 4) + 1, "ab"[rng.random() < 0.2]
            draw = rng.random()
            spent = f',"response_time_ms":{int(draw * self._slowest_ms)}' if draw < 0.8 else ""
            return f'{head}"user_id":{user},"activity_type":"{kind}"{spent}}}'.encode()
        if topic == "cost-events":
            video = "null" if rng.random() < 0.1 else str(int(rng.random() * 3) + 1)
            component = ("voice", "image")[rng.random() < 0.2]
            # By the id: which of two amounts an entity's total takes would depend on the order of sources.
            units = int(event_id[:4], 16)
            sign = "-" if units % 17 == 0 else ""
            amount = f"{sign}{units // 10_000}.{units % 10_000:04d}"
            return f'{head}"video_id":{video},"component":"{component}","amount_usd":"{amount}"}}'.encode()
        return self._video(head, at_ms)

    def _video(self, head: str, at_ms: int) -> bytes:
        rng = self._rng
        video, status = int(rng.random() * 3) + 1, _STATUSES[int(rng.random() * 5)]
        parts = [f'"video_id":{video},"channel_id":1,"user_id":1,"status":"{status}"']
        parts.append(f'"requested_at":"{rfc3339(at_ms - 90_000)}"')
        if status != "requested":
            parts.append(f'"started_at":"{rfc3339(at_ms - 60_000 - int(rng.random() * 9000))}"')
        if status in ("completed", "published"):
            parts.append(f'"completed_at":"{rfc3339(at_ms - 20_000 - int(rng.random() * 9000))}"')
        if status == "published":
            parts.append(f'"published_at":"{rfc3339(at_ms)}","youtube_video_id":"y"')
        if rng.random() < 0.8:
            parts.append(f'"niche":"{"xy"[rng.random() < 0.2]}"')
        return f"{head}{','.join(parts)}}}".encode()

    def _bad(self, topic: str, now_ms: int) -> bytes | None:
        draw = int(self._rng.random() * 5)
        if draw == 0:
            return None
        if draw == 1:
            return b'{"event_id":"'
        whole = self._value(topic, "0" * 8 + "-0000-4000-8000-" + "0" * 12, self._event_ms(now_ms))
        if draw == 2:
            return whole.replace(b'"1.0.0"', b'"2.0.0"')
        if draw == 3:
            return whole.replace(b'"event_id":"0', b'"event_id":"g')
        return whole.replace(b'"occurred_at":"2', b'"occurred_at":"x')
