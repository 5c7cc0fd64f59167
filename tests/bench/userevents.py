"""User events of 333 bytes for throughput runs, what every window of them must show, and a fast way into a topic."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from aiokafka import AIOKafkaProducer

EVENT_BYTES = 333
SPAN_MS = 2 * 3_600_000
SIZES_MS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
_USERS = 50_000
_TYPES = ("view_video", "login", "create_video", "edit_script", "publish")
_BATCH_BYTES = 256 * 1024


@dataclass(frozen=True)
class UserEvents:
    """Events in produce order: event time rises over two hours up to `base_ms`, so that none is late in its partition."""

    keys: list[bytes]
    values: list[bytes]
    times_ms: list[int]
    users: list[int]
    types: list[str]

    def __len__(self) -> int:
        return len(self.values)


def make_user_events(count: int, base_ms: int, seed: int = 1) -> UserEvents:
    """`count` events of EVENT_BYTES bytes each; the same arguments give the same bytes."""
    rng = random.Random(seed)
    made = UserEvents([], [], [], [], [])
    for number in range(count):
        at = base_ms - SPAN_MS + SPAN_MS * (number + 1) // count
        user, kind = rng.randrange(1, _USERS + 1), _TYPES[int(len(_TYPES) * rng.random() ** 1.5)]
        made.keys.append(b"%d" % user)
        made.values.append(_render(rng, at, user, kind))
        made.times_ms.append(at)
        made.users.append(user)
        made.types.append(kind)
    return made


def _uuid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _render(rng: random.Random, at_ms: int, user: int, kind: str) -> bytes:
    seconds, millis = divmod(at_ms, 1000)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"
    head = (
        f'{{"event_id":"{_uuid(rng)}","schema_version":"1.0.0","occurred_at":"{at}","user_id":{user},'
        f'"activity_type":"{kind}","response_time_ms":{int(rng.lognormvariate(4.4, 0.7))},'
        f'"session_id":"{_uuid(rng)}","resource_type":"v","resource_id":{rng.randrange(100_000)},'
        f'"ip_address":"192.0.2.{rng.randrange(1, 255)}","user_agent":"Moz/5 '
    )
    return f'{head}{"x" * (EVENT_BYTES - len(head) - 2)}"}}'.encode()


#: (window, window_start in epoch s, activity type or '') -> events.
Counts = dict[tuple[str, int, str], int]


def expected_counts(events: UserEvents) -> Counts:
    """Events in every window, in all and by activity type: counted from the drawn numbers, not from the bytes."""
    times = np.array(events.times_ms, dtype=np.int64)
    kinds = np.array(events.types)
    counts: Counts = defaultdict(int)
    for window, size in SIZES_MS.items():
        starts = (times - times % size) // 1000
        for kind in ("", *_TYPES):
            chosen = starts if not kind else starts[kinds == kind]
            for start, number in zip(*np.unique(chosen, return_counts=True), strict=True):
                counts[window, int(start), kind] = int(number)
    return dict(counts)


def expected_users(events: UserEvents) -> dict[tuple[str, int], int]:
    """Distinct users in every window."""
    times = np.array(events.times_ms, dtype=np.int64)
    users = np.array(events.users, dtype=np.int64)
    found: dict[tuple[str, int], int] = {}
    for window, size in SIZES_MS.items():
        pairs = np.unique(np.stack(((times - times % size) // 1000, users)), axis=1)
        for start, number in zip(*np.unique(pairs[0], return_counts=True), strict=True):
            found[window, int(start)] = int(number)
    return found


async def preload(bootstrap: str, topic: str, events: UserEvents, partitions: int) -> dict[int, int]:
    """Produce all, a user always into the same partition; returns partition -> last offset.

    Batches are built by hand: `send` for each event would take as long as what is measured.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=_BATCH_BYTES)
    await producer.start()
    try:
        acks = []
        builders = {number: producer.create_batch() for number in range(partitions)}
        for key, value, user in zip(events.keys, events.values, events.users, strict=True):
            place = user % partitions
            if builders[place].append(key=key, value=value, timestamp=None) is None:
                acks.append(await producer.send_batch(builders[place], topic, partition=place))
                builders[place] = producer.create_batch()
                builders[place].append(key=key, value=value, timestamp=None)
        for place, builder in builders.items():
            if builder.record_count():
                acks.append(await producer.send_batch(builder, topic, partition=place))
        last: dict[int, int] = {}
        for ack in acks:
            await ack
        counts = np.bincount(np.array(events.users) % partitions, minlength=partitions)
        for place in range(partitions):
            last[place] = int(counts[place]) - 1
        return last
    finally:
        await producer.stop()
