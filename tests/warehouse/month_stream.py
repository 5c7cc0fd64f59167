"""One event topic in the making: heads, arrival times, duplicates and invalid records, the same way for all topics."""

from __future__ import annotations

import orjson

from tests.warehouse.month_bad import breakers
from tests.warehouse.month_company import Plan
from tests.warehouse.month_write import DAY, HOUR, MINUTE, SECOND, Census, Deck, Log, Value, new_uuid, spelled, text

_MIB = 1 << 20
_ARRIVALS = {
    "soon": 930,
    "late by minutes": 40,
    "late by hours": 10,
    "late by days": 10,
    "ahead of log time": 7,
    "exactly 5 minutes ahead": 3,
}
_FUTURE = ("too far ahead", "a millisecond too far ahead")
_AGAIN = {
    "identical, soon": 6,
    "identical, in the same millisecond": 1,
    "identical, days later": 3,
    "id in the other case, soon": 2,
    "id in the other case, days later": 1,
    "other content, soon": 2,
    "other content, days later": 1,
    "refused as future, later valid": 1,
    "refused as malformed, later valid": 1,
}
#: What another content of the same id says; the first of these that the event has is changed.
_OTHER: dict[str, object] = {
    "activity_type": "altered",
    "title": "altered",
    "requested_at": "2026-01-01T00:00:00Z",
    "amount_usd": "777.7777",
    "mrr_usd": "555.5555",
    "ok": False,
    "latency_ms": 987_654,
    "response_time_ms": 987_654,
    "queue": "altered",
}


class Stream:
    """Sends events into a log: most once and soon, some twice, late, ahead or broken."""

    def __init__(self, plan: Plan, topic: str, census: Census, expected: int) -> None:
        """`expected` events: of few, more are sent twice or broken, so that every way to do so occurs."""
        self.log = Log(topic)
        self.rng = plan.rng(topic)
        self.census = census
        self._topic = topic
        self._breakers = breakers(topic)
        self._again, self._bad = max(0.02, min(0.3, 40 / expected)), max(0.01, min(0.4, 80 / expected))
        self._arrivals = Deck(self.rng, census, topic, _ARRIVALS)
        self._ways = Deck(self.rng, census, f"{topic} again", _AGAIN)
        self._broken = Deck(self.rng, census, f"{topic} invalid", dict.fromkeys((*_FUTURE, *self._breakers), 1))
        census.declare(f"{topic} invalid", ["too_large"])
        census.declare(topic, ["upper-case event_id"])
        self._large = 1 + (plan.events >= 100_000)

    def arrival(self, at: int) -> int:
        """Kafka's timestamp of an event that happened at `at`."""
        rng = self.rng
        way = self._arrivals.deal()
        if way == "soon":
            return at + int(rng.expovariate(1 / (2 * SECOND)))
        if way == "late by minutes":
            return at + rng.randrange(30 * MINUTE)
        if way == "late by hours":
            return at + rng.randrange(HOUR, 12 * HOUR)
        if way == "late by days":
            return at + rng.randrange(DAY, 4 * DAY)
        return at - (rng.randrange(5 * MINUTE) if way == "ahead of log time" else 5 * MINUTE)

    def send(self, at: int, key: str | None, body: str, ts: int | None = None) -> str:
        """One event of time `at`; `body` is its JSON after the head, from the comma on. Returns the event_id sent."""
        rng = self.rng
        event_id = new_uuid(rng)
        if rng.random() < 0.03:
            event_id = event_id.upper()
            self.census.note(self._topic, "upper-case event_id")
        if ts is None:
            ts = self.arrival(at)
        value = self._headed(event_id, at, body)
        if rng.random() < self._again and key is not None:
            self._twice(ts, key, value, at, body, event_id)
        else:
            self.log.add(ts, key, value)
        if rng.random() < self._bad:
            self._broken_one(ts, key, at, body)
        return event_id

    def _headed(self, event_id: str, at: int, body: str) -> str:
        version = "1.0.0" if self.rng.random() < 0.95 else "1.7.2-rc.1+b5"
        when = spelled(self.rng, at)
        return f'{{"event_id":"{event_id}","schema_version":"{version}","occurred_at":"{when}"{body}'

    def _twice(self, ts: int, key: str, value: str, at: int, body: str, event_id: str) -> None:
        rng, log = self.rng, self.log
        way = self._ways.deal()
        if way == "refused as future, later valid":
            log.add(at - 5 * MINUTE - 1 - rng.randrange(HOUR), key, value)
            log.add(max(ts, at), key, value)
            return
        if way == "refused as malformed, later valid":
            log.add(ts, key, value[:-1] + ",}")
            log.add(ts + rng.randrange(HOUR), key, value)
            return
        log.add(ts, key, value)
        copy = value
        if way.startswith("id in the other case"):
            other = event_id.lower() if event_id.lower() != event_id else event_id.upper()
            copy = self._headed(other, at, body)
        elif way.startswith("other content"):
            copy = _altered(value)
        if way.endswith("days later"):
            ts += rng.randrange(DAY, 9 * DAY)
        elif way.endswith("soon"):
            ts += rng.randrange(1, 20 * MINUTE)
        log.add(ts, key, copy)

    def _broken_one(self, ts: int, key: str | None, at: int, body: str) -> None:
        """A record of its own that is refused, made from a valid one."""
        rng, census, name = self.rng, self.census, f"{self._topic} invalid"
        event_id = new_uuid(rng)
        value: Value
        if self._large:
            self._large -= 1
            census.note(name, "too_large")
            value = self._headed(event_id, at, body)[:-1] + f',"padding":"{"x" * _MIB}"}}'
        elif (way := self._broken.deal()) in _FUTURE:
            ahead = 1 if way == "a millisecond too far ahead" else rng.randrange(1, 3 * DAY)
            value = self._headed(event_id, ts + 5 * MINUTE + ahead, body)
        else:
            value = self._breakers[way](self._headed(event_id, at, body))
        self.log.add(ts, key, value)


def _altered(value: str) -> str:
    event = orjson.loads(value)
    for name, other in _OTHER.items():
        if event.get(name) is not None:
            event[name] = other
            break
    return text(event)
