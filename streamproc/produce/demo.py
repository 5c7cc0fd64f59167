"""Demo traffic: users, videos going through their life, their costs, services and payments, drawn from a seed; time is passed in.

Pure: the same seed, rate and start give the same messages. Ids also depend on the start, so that two runs never share one.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from schemas.topics import BILLING_EVENTS, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from streamproc.produce.demo_faults import DUPLICATE, shift_ms, spoil
from streamproc.produce.demo_ops import HEALTH_INTERVAL_MS, billing_fields, health_fields, ops_fields
from streamproc.produce.demo_users import Sessions
from streamproc.produce.demo_videos import Step, Video, life_of

Event = dict[str, Any]

#: Load by hour of the UTC day around its mean: quiet at night, busiest in the evening. The mean is 1.
_DAY: tuple[float, ...] = (
    *(0.62, 0.55, 0.52, 0.52, 0.56, 0.64, 0.76, 0.90, 1.02, 1.10, 1.14, 1.16),
    *(1.18, 1.20, 1.22, 1.24, 1.28, 1.32, 1.38, 1.40, 1.36, 1.18, 0.95, 0.80),
)

#: Arrivals per event of the whole rate. A video brings about 3.9 statuses and 5 costs.
_VIDEO_SHARE = 0.02
_OVERHEAD_SHARE = 0.004
_OPS_SHARE = 0.04
_BILLING_SHARE = 0.004
_USER_SHARE = 1.0 - _VIDEO_SHARE * 8.9 - _OVERHEAD_SHARE - _OPS_SHARE - _BILLING_SHARE

#: Places in a run of messages that are broken for certain, so that the first minute has dead letters to look at.
_SPOILED = frozenset({40, 180})


class Message(NamedTuple):
    """One message to send at `due_ms` (epoch ms)."""

    due_ms: int
    topic: str
    key: bytes
    value: bytes


class _Planned(NamedTuple):
    """Something that happens at a time; `number` keeps the order of equal times."""

    due_ms: float
    number: int
    act: Callable[[float], list[Message]]


def rhythm(at_ms: float) -> float:
    """Load at a time of day, between hours in a straight line; 1 is the mean."""
    hour = at_ms / 3_600_000 % 24
    low = int(hour)
    return _DAY[low] + (_DAY[(low + 1) % 24] - _DAY[low]) * (hour - low)


def rfc3339(epoch_ms: float) -> str:
    """Epoch ms as RFC 3339 in UTC with three decimals."""
    seconds, millis = divmod(int(epoch_ms), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


class DemoTraffic:
    """Draws messages as time goes on. Memory is bounded by the lives under way: about `rate` * 10 planned steps.

    `rate` is the mean of the day in events/s; `start_ms` the epoch ms of the first moment.
    """

    def __init__(self, seed: int, rate: float, start_ms: int) -> None:
        self._rng = random.Random(f"{seed}/{start_ms}")
        self._rate = rate
        self._planned: list[_Planned] = []
        self._count = 0
        self._sessions = Sessions(self._rng, rate)
        # Unique among runs, for at most 1,000 videos a second: what one run has spent must not weigh on the next.
        self._next_video = (start_ms - 1_735_689_600_000) // 1000 * 1000 + 1
        self._videos = 0
        self._sent = 0
        self._plan(start_ms, self._user_acts)
        self._plan(start_ms, self._video_requested)
        self._plan(start_ms + 2_000, self._overhead_cost)
        self._plan(start_ms + 500, self._service_tells)
        self._plan(start_ms + 250, self._services_are_well)
        self._plan(start_ms + 1_000, self._customer_pays)

    @property
    def planned(self) -> int:
        """Number of steps planned: what this object holds in memory."""
        return len(self._planned)

    def due(self, until_ms: int) -> Iterator[Message]:
        """The messages due up to a time, oldest first."""
        while self._planned and self._planned[0].due_ms <= until_ms:
            at, _, act = heapq.heappop(self._planned)
            yield from act(at)

    def shift(self, gap_ms: int) -> None:
        """Put everything off, after a pause in which nothing could be sent."""
        self._planned = [step._replace(due_ms=step.due_ms + gap_ms) for step in self._planned]

    def _plan(self, due_ms: float, act: Callable[[float], list[Message]]) -> None:
        self._count += 1
        heapq.heappush(self._planned, _Planned(due_ms, self._count, act))

    def _next_arrival(self, at: float, share: float) -> float:
        return at + self._rng.expovariate(self._rate * share * rhythm(at)) * 1000

    def _uuid(self) -> str:
        text = f"{self._rng.getrandbits(128):032x}"
        # Version 4, variant 1, as a client library would draw it.
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def _head(self, at: float) -> Event:
        return {"event_id": self._uuid(), "schema_version": "1.0.0", "occurred_at": rfc3339(at)}

    def _user_acts(self, at: float) -> list[Message]:
        self._plan(self._next_arrival(at, _USER_SHARE), self._user_acts)
        fields = self._sessions.next_action(at, self._uuid)
        event = self._head(at + shift_ms(self._rng)) | fields
        return self._send(at, USER_EVENTS, str(event["user_id"]), event)

    def _video_requested(self, at: float) -> list[Message]:
        self._plan(self._next_arrival(at, _VIDEO_SHARE), self._video_requested)
        video, steps = life_of(self._rng, self._next_video, self._videos)
        self._next_video += 1
        self._videos += 1
        self._plan(at, self._live(video, steps, 0))
        return []

    def _live(self, video: Video, steps: list[Step], place: int) -> Callable[[float], list[Message]]:
        def act(at: float) -> list[Message]:
            step = steps[place]
            if place + 1 < len(steps):
                self._plan(at + steps[place + 1].wait_ms, self._live(video, steps, place + 1))
            if step.status:
                event = self._head(at) | video.status_fields(step.status, rfc3339(at))
                return self._send(at, VIDEO_STATUS, str(video.video_id), event)
            event = self._head(at) | video.cost_fields(step)
            if step.amount_e4 > 0:
                video.last_cost_id = event["event_id"]
            return self._send(at, COST_EVENTS, str(video.video_id), event)

        return act

    def _overhead_cost(self, at: float) -> list[Message]:
        self._plan(self._next_arrival(at, _OVERHEAD_SHARE), self._overhead_cost)
        amount = self._rng.lognormvariate(-3.2, 0.6)
        event = self._head(at) | {"video_id": None, "component": "other", "amount_usd": f"{amount:.4f}"}
        return self._send(at, COST_EVENTS, "overhead", event | {"provider": "hosting"})

    def _service_tells(self, at: float) -> list[Message]:
        self._plan(self._next_arrival(at, _OPS_SHARE), self._service_tells)
        queued = rfc3339(at - self._rng.expovariate(1 / 12_000))
        event = self._head(at) | ops_fields(self._rng, rfc3339(at), queued)
        return self._send(at, OPS_EVENTS, event["service"], event)

    def _services_are_well(self, at: float) -> list[Message]:
        self._plan(at + HEALTH_INTERVAL_MS, self._services_are_well)
        sent: list[Message] = []
        for fields in health_fields(at):
            sent += self._send(at, OPS_EVENTS, fields["service"], self._head(at) | fields)
        return sent

    def _customer_pays(self, at: float) -> list[Message]:
        self._plan(self._next_arrival(at, _BILLING_SHARE), self._customer_pays)
        user = self._rng.randrange(1, 2_000)
        event = self._head(at) | billing_fields(self._rng, user, rfc3339(at))
        return self._send(at, BILLING_EVENTS, str(user), event)

    def _send(self, at: float, topic: str, key: str, event: Event) -> list[Message]:
        self._sent += 1
        value = spoil(self._rng, event, for_certain=self._sent in _SPOILED) or orjson.dumps(event)
        message = Message(int(at), topic, key.encode(), value)
        if self._rng.random() < DUPLICATE:
            again = at + self._rng.uniform(200, 30_000)
            self._plan(again, lambda due: [message._replace(due_ms=int(due))])
        return [message]
