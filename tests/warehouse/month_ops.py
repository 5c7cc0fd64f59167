"""Operations: health of services with outages, silence and flapping, queues, requests to the API and calls of AI."""

from __future__ import annotations

from tests.warehouse.month_company import Company
from tests.warehouse.month_stream import Stream
from tests.warehouse.month_write import DAY, MINUTE, SECOND, Census, Deck, Log, spelled

TOPIC = "ops-events"
_SERVICES = ("api", "worker", "renderer", "uploader", "scheduler", "bücher-dienst")
_QUEUES = ("uploads", "thumbnails", "файлы", "video-generation")
_MINUTE = {
    "healthy minute": 60,
    "outage begins": 1,
    "silence begins": 1,
    "flapping minute": 2,
    "flapping within a millisecond": 1,
    "several healthy events in a minute": 2,
}
_OTHERS = {"queue": 4, "api_request": 5, "ai_call": 4, "ai_call that failed": 1, "unknown extra fields": 1}


class _Ops:
    def __init__(self, company: Company, events: int, census: Census) -> None:
        self.plan = company.plan
        self.stream = Stream(self.plan, TOPIC, census, events)
        self.rng = self.stream.rng
        self.minutes = Deck(self.rng, census, f"{TOPIC} health", _MINUTE)
        self.others = Deck(self.rng, census, TOPIC, _OTHERS)

    def health(self, at: int, service: str, ok: bool) -> None:
        body = f',"service":"{service}","kind":"health","ok":{"true" if ok else "false"},"interval_s":60}}'
        self.stream.send(at, service, body)

    def day(self, service: str, begin: int, minutes: int) -> None:
        """A service's day: `minutes` of it are watched, from the first sign of life on."""
        rng = self.rng
        first = rng.randrange(1440 - minutes + 1)
        down = silent = 0
        for minute in range(first, first + minutes):
            at = begin + minute * MINUTE + rng.randrange(MINUTE - SECOND)
            if silent:
                silent -= 1
                continue
            if down:
                down -= 1
                self.health(at, service, ok=False)
                continue
            way = self.minutes.deal()
            if way == "outage begins":
                down = rng.randrange(1, 30)
                self.health(at, service, ok=False)
            elif way == "silence begins":
                silent = rng.randrange(1, 20)
            elif way == "flapping minute":
                for turn in range(rng.randrange(2, 5)):
                    self.health(at - at % MINUTE + turn * 14 * SECOND, service, ok=(turn + minute) % 2 == 0)
            elif way == "flapping within a millisecond":
                self.health(at, service, ok=True)
                self.health(at, service, ok=False)
            elif way.startswith("several"):
                self.health(at - at % MINUTE, service, ok=True)
                self.health(at - at % MINUTE + MINUTE - 1, service, ok=True)
            else:
                self.health(at, service, ok=True)

    def other(self, at: int) -> None:
        rng = self.rng
        way = self.others.deal()
        service = rng.choice(_SERVICES)
        more = ""
        if way == "unknown extra fields":
            way, more = "queue", ',"attempt":3,"größe":[1]'
        if way == "queue":
            queued = at - int(rng.expovariate(1 / (20 * SECOND)))
            times = f'"queued_at":"{spelled(rng, queued)}","processing_start":"{spelled(rng, at)}"'
            body = f'"kind":"queue","queue":"{rng.choice(_QUEUES)}",{times}{more}'
        elif way == "api_request":
            took = int(rng.lognormvariate(4.2, 0.8))
            status = rng.choice((200, 200, 200, 201, 404, 500))
            body = f'"kind":"api_request","endpoint":"/v1/vidéos","http_status":{status},"response_time_ms":{took}'
        else:
            ok = "true" if way == "ai_call" else "false"
            took = int(rng.lognormvariate(7, 1))
            body = f'"kind":"ai_call","provider":"p{rng.randrange(3)}","model":"m-1","latency_ms":{took},"ok":{ok}'
        self.stream.send(at, service, f',"service":"{service}",{body}}}')


def ops_events(company: Company, events: int, census: Census) -> Log:
    """About `events` records; six in ten tell of health, at most one a minute and service."""
    ops = _Ops(company, events, census)
    plan, rng = company.plan, ops.rng
    quiet = plan.quiet("health")[0]
    minutes = max(20, min(1440, int(events * 0.6 / (plan.days * len(_SERVICES)))))
    for day in range(plan.days):
        begin = plan.begin_ms + day * DAY
        for service in _SERVICES:
            # Some services are not there on some days.
            if begin != quiet and rng.random() < 0.95:
                ops.day(service, begin, minutes)
    while len(ops.stream.log) < events:
        ops.other(plan.begin_ms + int(rng.random() * plan.days * DAY))
    return ops.stream.log
