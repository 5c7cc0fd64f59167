"""Silver's views in ClickHouse against the windows' decoder: the same verdict and values for every record."""

from __future__ import annotations

import asyncio
import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from streamproc.sinks.clickhouse_client import ClickHouse
from tests.fuzz.jsonish import TOPICS, record
from tests.fuzz.mutate import MIB
from tests.fuzz.target import Check, Target, Wrong
from tests.sinks.agreement import TABLES, differing, expected, stored
from tests.support.migrated import start_migrated

_BRONZE = {
    topic: table.replace("silver.user_activity", "bronze.user_events").replace("silver.", "bronze.")
    for topic, table in TABLES.items()
}


def _maker(topic: str) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        value = record(rng, topic)
        return value if len(value) < MIB // 4 else b""

    return make


def _opener(topic: str) -> Callable[[], AbstractContextManager[Check]]:
    @contextmanager
    def opened() -> Iterator[Check]:
        with tempfile.TemporaryDirectory(prefix="streamproc-fuzz-") as folder:
            server = start_migrated(Path(folder))
            loop = asyncio.new_event_loop()
            try:
                clickhouse = ClickHouse(server.url, 60.0)

                def check(inputs: list[bytes]) -> None:
                    for table in (_BRONZE[topic], TABLES[topic], "silver.rejected"):
                        loop.run_until_complete(clickhouse.command(f"TRUNCATE TABLE {table}"))
                    values: list[bytes | None] = list(inputs)
                    found = loop.run_until_complete(stored(clickhouse, uuid.uuid4().hex, topic, values))
                    wrong = differing(expected(topic, values), found)
                    if wrong:
                        position, text = next(iter(wrong.items()))
                        raise Wrong(f"{text}: {inputs[position][:300]!r}", *wrong)

                yield check
                loop.run_until_complete(clickhouse.close())
            finally:
                loop.close()
                server.kill()

    return opened


TARGETS = [
    Target(
        f"silver-{topic}", f"silver of {topic} against decode_batch", _maker(topic), _opener(topic), 5000, cheap=False
    )
    for topic in TOPICS
]
