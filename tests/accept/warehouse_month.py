"""The month on real servers: produced through the broker, archived, built, compared, asked as dashboards ask."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.accept.result import Line, say, step
from tests.accept.warehouse_queries import QUERIES
from tests.support.stack import Stack, wait_for
from tests.warehouse.clickhouse import ClickHouse
from tests.warehouse.compare import Options, compare
from tests.warehouse.month import CDC_TOPICS, EVENT_TOPICS, Plan, write_month
from tests.warehouse.truth import compute

_TOPICS = (*EVENT_TOPICS, *CDC_TOPICS)
_BRONZE = ("user_events", "video_status", "cost_events", "ops_events", "billing_events", "cdc")
_GOLD = (
    "fact_video_generation",
    "fact_user_activity",
    "dim_user",
    "dim_channel",
    "daily_metrics",
    "financial_daily",
    "retention_weekly",
)
_TURNS = 15


class Month:
    """Servers with the month in them; `equals_the_truth` comes first. Use as a context manager."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan, self._directory = plan, directory
        self._files = directory / "month"
        self._stack = Stack(directory / "stack", partitions=4)
        self._records = 0
        self._ingest_s = self._build_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.__exit__()

    @property
    def _reader(self) -> ClickHouse:
        return ClickHouse(self._stack.clickhouse.url)

    def _ask(self, sql: str) -> list[list[Any]]:
        return list(self._reader.rows(sql))

    def equals_the_truth(self) -> Line:
        """Item 1."""
        with step(f"the month: {self._plan.events:,} events"):
            write_month(self._plan, self._files)
        asyncio.run(_create_topics(self._stack.broker.bootstrap, self._stack.partitions))
        self._stack.create_topics()
        archive = self._stack.worker("archive")
        with step("produced through the broker, archived"):
            began = time.monotonic()
            self._records = asyncio.run(_produce(self._stack.broker.bootstrap, self._files))
            count = " + ".join(f"(SELECT count() FROM bronze.{table})" for table in _BRONZE)
            wait_for("all in bronze", lambda: int(self._ask(f"SELECT {count}")[0][0]) >= self._records, 1800, 0.5)
            self._ingest_s = time.monotonic() - began
        archive.stop()
        with step("streamproc warehouse build"):
            began = time.monotonic()
            self._stack.cli("warehouse", "build")
            self._build_s = time.monotonic() - began
        with step("the truth, and the comparison"):
            wrong = compare(self._stack.clickhouse.url, compute(self._files), Options(cdc=("id", "position")))
        for text in wrong[:20]:
            say(f"  {text[:300]}")
        whole = self._plan.users >= 1000 and self._plan.videos >= 3000 and self._plan.events >= 2_000_000
        return Line(
            1,
            "a month of the whole company through the broker: gold against a truth from the files",
            "no difference",
            f"{len(wrong)} differences; {self._records:,} records, {self._plan.users:,} users, {self._plan.videos:,} videos",
            whole and not wrong,
        )

    def builds_repeated(self) -> Line:
        """Item 2, as far as it is there: builds again, from scratch, killed. (Replays of a day and back-fills are not.)"""
        before = self._hashes()
        with step("everything computed again, once killed in the middle"):
            killed = subprocess.Popen(
                [sys.executable, "-m", "streamproc.cli.main", "warehouse", "build", "--everything"],
                env={**os.environ, **self._stack.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(random.Random(1).uniform(4, 8))
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            self._stack.cli("warehouse", "build", "--everything", "--no-tests")
            self._stack.cli("warehouse", "build", "--no-tests")
        after = self._hashes()
        wrong = [table for table in before if before[table] != after[table]]
        said = (
            f"{len(wrong)} of {len(before)} tables differ {wrong or ''}; a day's replay and back-fills: not there yet"
        )
        return Line(2, "builds repeated and killed leave the same gold", "the same", said, False)

    def _hashes(self) -> dict[str, Any]:
        found = {}
        for table in _GOLD:
            final = "FINAL" if self._reader.merges("gold", table) else ""
            own = (
                "EXCEPT (updated_at)" if table in ("fact_video_generation", "daily_metrics", "financial_daily") else ""
            )
            found[table] = self._ask(
                f"SELECT count(), sum(cityHash64(tuple(*))) FROM (SELECT * {own} FROM gold.{table} {final})"
            )
        return found

    def queries(self) -> Line:
        """Item 3: medians; ten times the data is not measured here."""
        medians: dict[str, float] = {}
        for name, sql in QUERIES.items():
            self._ask(sql)
            times = []
            for _ in range(_TURNS):
                began = time.perf_counter()
                rows = self._ask(sql)
                times.append((time.perf_counter() - began) * 1000)
            medians[name] = statistics.median(times)
            say(f"  {name}: {medians[name]:.0f} ms median of {_TURNS}, {len(rows)} rows")
        slowest = max(medians, key=lambda name: medians[name])
        return Line(
            3,
            f"{len(QUERIES)} dashboard queries on the month",
            "each below 100 ms (median)",
            f"slowest {medians[slowest]:.0f} ms ({slowest}), median of all {statistics.median(medians.values()):.0f} ms; ten times: not measured",
            medians[slowest] < 100,
        )

    def keeps_up(self) -> Line:
        """Item 4: what bronze, silver and gold took for the month, one after the other on these cores."""
        rate = self._records / (self._ingest_s + self._build_s)
        return Line(
            4,
            "bronze to gold",
            "20,000 events/s without growing lag",
            f"{rate:,.0f}/s (broker to silver {self._records / self._ingest_s:,.0f}/s while producing, build {self._build_s:.1f} s)",
            rate >= 20_000,
        )


def _messages(directory: Path) -> Iterator[tuple[str, bytes | None, bytes | None, int]]:
    for topic in _TOPICS:
        with (directory / f"{topic}.ndjson").open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                value = base64.b64decode(row["value_b64"]) if "value_b64" in row else row.get("value")
                raw = value.encode() if isinstance(value, str) else value
                yield topic, None if row.get("key") is None else row["key"].encode(), raw, row["ts"]


async def _produce(bootstrap: str, directory: Path) -> int:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_request_size=64 << 20, max_batch_size=1 << 19
    )
    await producer.start()
    count, waiting = 0, []
    try:
        for topic, key, value, ts in _messages(directory):
            # The client refuses a record without key and value; an empty value is refused by the same rule.
            value = b"" if key is None and value is None else value
            waiting.append(await producer.send(topic, key=key, value=value, timestamp_ms=ts))
            count += 1
            if len(waiting) >= 20_000:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return count


async def _create_topics(bootstrap: str, partitions: int) -> None:
    """With the producer's times, for the month's own times decide, and kept for ever, for it is long over."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(32 << 20)}
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config) for topic in _TOPICS])
    finally:
        await admin.close()
