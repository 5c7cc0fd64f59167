"""Bad and strange events, in masses: duplicates near and far, late and future ones, malformed, huge, hot keys, bursts."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.world import World
from tests.oracle.breakers import ANY, BY_TOPIC
from tests.oracle.sending import Ledger, Sender
from tests.oracle.traffic import COST, TOPICS, USER, VIDEO, Event

_MIB: Final = 1 << 20
_PATIENCE_S: Final = 40.0
_SECOND: Final = 1000
_HOUR: Final = 3_600_000

Maker = Callable[[random.Random], list[Event]]


async def sent(world: World, events: Iterable[Event], compression: str | None = None) -> None:
    """Produce with a ledger of its own; what the broker does not take within a time is written down as such."""
    ledger = Ledger(world.directory / f"ledger-{world.rng.getrandbits(48):012x}.jsonl")
    sender = Sender(world.bootstrap, ledger, 0.0, compression, "")
    try:
        await sender.start(TOPICS)
        for event in events:
            sender.take(event, int(time.time() * 1000))
        await sender.finish(_PATIENCE_S)
    finally:
        ledger.close()


def rfc3339(ms: int) -> str:
    """Epoch ms as text, also before 1970 and after 2106."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def begun(rng: random.Random, at: str = "", event_id: str = "") -> tuple[str, str]:
    """A new event's id, and its text so far: `{"event_id":…,"schema_version":…,"occurred_at":…`."""
    text = f"{rng.getrandbits(128):032x}"
    event_id = event_id or f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    at = at or rfc3339(int(time.time() * 1000))
    return event_id, f'{{"event_id":"{event_id}","schema_version":"1.0.0","occurred_at":"{at}"'


def view(rng: random.Random, at: str = "", user: int = 0, event_id: str = "", more: str = "") -> Event:
    """A user event; `more` are further members."""
    event_id, head = begun(rng, at, event_id)
    user = user or rng.randrange(1, 5000)
    body = f'{head},"user_id":{user},"activity_type":"view","response_time_ms":{rng.randrange(500)}{more}}}'
    return Event(USER, str(user).encode(), body.encode(), event_id)


def duplicates(rng: random.Random) -> list[Event]:
    """Each id several times: in one batch, and in other partitions (where each counts by itself)."""
    events = [view(rng) for _ in range(1000)]
    again = [rng.choice(events)._replace(other_partition=rng.random() < 0.2) for _ in range(3000)]
    return events + again


def out_of_order(rng: random.Random) -> list[Event]:
    """From a second to two days late, in random order."""
    now = int(time.time() * 1000)
    backs = [int(10 ** rng.uniform(3, 8.2)) for _ in range(1500)]
    return [view(rng, rfc3339(now - back)) for back in backs]


def strange_times(rng: random.Random) -> list[Event]:
    """The future near and far, the past before there were computers, leap seconds, changes of the clocks, no offset."""
    now = int(time.time() * 1000)
    near = [rfc3339(now + ahead) for ahead in (60_000, 290_000, 310_000, _HOUR, 24 * _HOUR, 3650 * 24 * _HOUR)]
    odd = [
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2016-12-31T23:59:60Z",
        "2026-03-29T02:30:00+01:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00",
        "2026-11-01T01:30:00-04:00",
        "-2026-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
    ]
    return [view(rng, rng.choice(near + odd)) for _ in range(1000)]


def malformed(rng: random.Random) -> list[Event]:
    """Every way to break a record, a few times; good ones between them."""
    cost_id, cost = begun(rng)
    video_id, video = begun(rng)
    models = {
        USER: view(rng),
        COST: Event(COST, b"9", f'{cost},"video_id":9,"component":"voice","amount_usd":"0.0100"}}'.encode(), cost_id),
        VIDEO: Event(
            VIDEO,
            b"9",
            f'{video},"video_id":9,"channel_id":1,"user_id":1,"status":"requested",'
            f'"requested_at":"{rfc3339(int(time.time() * 1000))}","niche":"x","quality_score":0.5}}'.encode(),
            video_id,
        ),
    }
    events = []
    for topic, model in models.items():
        for way in (*ANY, *BY_TOPIC[topic]):
            events += [model._replace(value=way((model.value or b"").decode())) for _ in range(3)]
            events.append(view(rng))
    rng.shuffle(events)
    return events


def huge(rng: random.Random) -> list[Event]:
    """Just below and above 1 MiB, 3 MiB, and hundreds of thousands of numbers in one record."""
    sizes = (_MIB - 300, _MIB + 1, 3 * _MIB)
    events = [view(rng, more=f',"padding":"{"p" * rng.choice(sizes)}"') for _ in range(6)]
    events.append(view(rng, more=',"wide":[' + ",".join("0" for _ in range(400_000)) + "]"))
    return events + [view(rng) for _ in range(20)]


def bomb(rng: random.Random) -> list[Event]:
    """What gets a thousand times larger when it is read: a megabyte of one letter in each record."""
    return [view(rng, more=f',"padding":"{"0" * (_MIB - 400)}"') for _ in range(24)]


def hot_key(rng: random.Random) -> list[Event]:
    """One user has 90 % of the events."""
    return [view(rng, user=1 if rng.random() < 0.9 else 0) for _ in range(8000)]


def many_users(rng: random.Random) -> list[Event]:
    """Users that nobody has seen before, in one go."""
    first = rng.randrange(1 << 40)
    return [view(rng, user=first + number) for number in range(12_000)]


def mixed_versions(rng: random.Random) -> list[Event]:
    """Producers of several releases: older and newer minor versions, unknown fields, a major version that is not ours."""
    events = []
    for _ in range(800):
        event = view(rng, more=rng.choice(("", ',"added":{"in":[2,{"later":null}]}', ',"user_Id":"no field of ours"')))
        version = rng.choice(("1.0.0", "1.99.0", "1.0.0-alpha.1+b7", "2.0.0", "0.1.0"))
        value = (event.value or b"").replace(b'"1.0.0"', f'"{version}"'.encode(), 1)
        events.append(event._replace(value=value))
    return events


class Masses(Fault):
    """A few thousand events of one kind, between all others."""

    touches: frozenset[str] = frozenset()

    def __init__(self, name: str, ids: tuple[str, ...], make: Maker, compression: str | None = None) -> None:
        self.name = f"events: {name}"
        self.ids = ids
        self._make = make
        self._compression = compression

    async def inject(self, world: World) -> None:
        events = await asyncio.to_thread(self._make, world.rng)
        await sent(world, events, self._compression)


class AgainLater(Fault):
    """The same ids once more after a while, before and after other events; within the horizon they count once."""

    name, ids = "events: duplicates after a while", ("D1",)
    touches: frozenset[str] = frozenset()

    async def inject(self, world: World) -> None:
        events = [view(world.rng) for _ in range(500)]
        await sent(world, events)
        await asyncio.sleep(world.rng.uniform(5.0, 15.0))
        await sent(world, events[::-1])


class Burst(Fault):
    """Ten times the load for some seconds, by a producer of its own."""

    name, ids = "events: a burst of ten times the load", ("D8",)
    touches: frozenset[str] = frozenset()

    async def inject(self, world: World) -> None:
        seed = world.rng.getrandbits(40)
        ledger = world.directory / f"ledger-{seed:010x}.jsonl"
        argv = [sys.executable, "-m", "tests.oracle.producer", "--bootstrap", world.bootstrap, "--seed", str(seed)]
        argv += ["--rate", "5000", "--seconds", f"{world.rng.uniform(4.0, 12.0):.1f}", "--ledger", str(ledger)]
        with (world.directory / "burst.log").open("ab") as said:
            process = await asyncio.create_subprocess_exec(*argv, stdout=said, stderr=said)
            try:
                assert await asyncio.wait_for(process.wait(), 60) == 0, f"see {said.name}"
            finally:
                if process.returncode is None:
                    process.kill()


def faults() -> list[Fault]:
    """All of this module."""
    return [
        Masses("duplicates", ("D1",), duplicates),
        Masses("out of order and late", ("D2",), out_of_order),
        Masses("strange times", ("D3",), strange_times),
        Masses("malformed", ("D4",), malformed),
        Masses("huge", ("D5",), huge),
        Masses("a compression bomb", ("D5",), bomb, "gzip"),
        Masses("old and new releases", ("D7",), mixed_versions),
        Masses("a hot key", ("D8",), hot_key),
        Masses("users never seen before", ("D8",), many_users),
        AgainLater(),
        Burst(),
    ]
