"""What the intake needs and no more: a broker with topics, a Redis with streams, and real worker processes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import redis

from schemas.topics import USER_EVENTS
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.support.broker import start_broker
from tests.support.events import encode, user_event
from tests.support.redis import start_redis
from tests.support.stack import Worker, read_raw, wait_for

STREAM = "sp:in:user-events"
GROUP = "streamproc-intake"
NOW = 1_772_445_600_000


class IntakeStack:
    """Use as a context manager; `streams` is the setting, by default user-events alone."""

    def __init__(self, directory: Path, streams: Mapping[str, str] | None = None) -> None:
        self.dir = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.workers: list[Worker] = []
        self.broker = start_broker()
        self.redis_server = start_redis(directory)
        self.env = {
            "STREAMPROC_BROKER_URL": self.broker.url,
            "STREAMPROC_REDIS_URL": self.redis_server.url,
            "STREAMPROC_DATA_DIR": str(directory),
            "STREAMPROC_PARTITIONS": "4",
            "STREAMPROC_INTAKE_STREAMS": json.dumps(streams or {STREAM: USER_EVENTS}),
        }
        asyncio.run(ensure_topics(Settings(broker_url=self.broker.url, partitions=4)))
        self.redis = redis.Redis.from_url(self.redis_server.url)

    def __enter__(self) -> IntakeStack:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.redis.close()
        self.redis_server.kill()
        self.broker.discard()

    def intake(self, wait: bool = True, port: int = 0, **extra: str) -> Worker:
        """Start an intake; settings as keyword arguments. With the `port` of a dead one it takes that one's place."""
        settings = {f"STREAMPROC_{name.upper()}": value for name, value in extra.items()}
        worker = Worker(self, "intake", settings, port)  # type: ignore[arg-type]  # it uses dir, env and workers only
        self.workers.append(worker)
        return worker.wait_ready() if wait else worker

    def add(self, values: Iterable[bytes], stream: str = STREAM) -> list[bytes]:
        """Entries with the field `value`; their ids."""
        pipe = self.redis.pipeline(transaction=False)
        for value in values:
            pipe.xadd(stream, {"value": value})
        return pipe.execute()

    def records(self, topic: str = USER_EVENTS) -> list[Any]:
        """What Kafka has, by partition and offset."""
        found = asyncio.run(read_raw(self.broker.bootstrap, [topic]))
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def values(self, topic: str = USER_EVENTS) -> Counter[bytes]:
        """How often Kafka has which value."""
        return Counter(record.value for record in self.records(topic))

    def wait_for_all(
        self, values: Iterable[bytes], topic: str = USER_EVENTS, timeout_s: float = 30.0
    ) -> Counter[bytes]:
        """Wait until Kafka has each of them, however often; what it has."""
        wanted = set(values)
        try:
            wait_for(f"{len(wanted)} values in {topic}", lambda: wanted <= self.values(topic).keys(), timeout_s, 0.2)
        except AssertionError as error:
            logs = "\n".join(worker.output()[-3000:] for worker in self.workers)
            lacking = len(wanted - self.values(topic).keys())
            raise AssertionError(f"{error}: {lacking} are lacking\n{logs}") from None
        return self.values(topic)

    def pending(self, stream: str = STREAM) -> int:
        """Entries handed out and not acknowledged."""
        return int(self.redis.xpending(stream, GROUP)["pending"])

    def wait_acknowledged(self, stream: str = STREAM) -> None:
        """Wait until Redis has nothing more to give and nothing unacknowledged."""

        def nothing_left() -> bool:
            (group,) = self.redis.xinfo_groups(stream)
            return group["lag"] == 0 and group["pending"] == 0

        wait_for("all is acknowledged", nothing_left)


def user_events(number: int, users: int = 7, first: int = 0) -> list[bytes]:
    """Valid events that differ, of some users."""
    return [encode(user_event(NOW + i, user_id=i % users, resource_id=i)) for i in range(first, first + number)]
