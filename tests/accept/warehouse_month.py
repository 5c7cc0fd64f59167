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
from datetime import UTC, date, datetime, timedelta
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
        with step("produced through the broker"):
            self._records = asyncio.run(_produce(self._stack.broker.bootstrap, self._files))
        # Nobody produces meanwhile: a producer in Python takes a core of two for itself.
        self._ingest_s = self._archived(self._records)
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

    def _archived(self, records: int) -> float:
        """Run the archive until so many records are in bronze; how many seconds that took."""
        count = " + ".join(f"(SELECT count() FROM bronze.{table})" for table in _BRONZE)
        with step("archived"):
            archive = self._stack.worker("archive")
            began = time.monotonic()
            wait_for("all in bronze", lambda: int(self._ask(f"SELECT {count}")[0][0]) >= records, 1800, 0.5)
            took = time.monotonic() - began
            assert archive.stop() == 0
        return took

    def repeated(self) -> Line:
        """Item 2: a day sent again, silver derived again twice and once killed, gold built again and once killed."""
        before = self._hashes()
        day = self._plan.begin + timedelta(days=self._plan.days // 2)
        with step(f"all records of {day} once more through the broker"):
            again = asyncio.run(_produce(self._stack.broker.bootstrap, self._files, day))
            self._archived(self._records + again)
            self._stack.cli("warehouse", "build", "--no-tests")
        with step("silver derived again from bronze, killed, then twice"):
            days = (date.today() - timedelta(days=1), date.today())
            backfill = ["backfill", "silver", "--from", str(days[0]), "--to", str(days[1])]
            self._kill_soon(backfill)
            wrote = [self._stack.cli(*backfill).stdout.strip() for _ in range(2)]
        for text in wrote:
            say(f"  {text}")
        with step("everything computed again, once killed in the middle"):
            self._kill_soon(["warehouse", "build", "--everything"])
            self._stack.cli("warehouse", "build", "--everything", "--no-tests")
            self._stack.cli("warehouse", "build", "--no-tests")
        after = self._hashes()
        wrong = [table for table in before if before[table] != after[table]]
        return Line(
            2,
            f"a replayed day ({again:,} records), back-fills and builds repeated and killed leave the same gold",
            "the same",
            f"{len(wrong)} of {len(before)} tables differ {wrong or ''}",
            not wrong and all(text.startswith("0 rows written, 0 deleted") for text in wrote),
        )

    def _kill_soon(self, command: list[str]) -> None:
        """Start a command and kill it some seconds later, in the middle of its work."""
        killed = subprocess.Popen(
            [sys.executable, "-m", "streamproc.cli.main", *command],
            env={**os.environ, **self._stack.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(random.Random(1).uniform(4, 8))
        assert killed.poll() is None, f"{' '.join(command)} ended before it was killed"
        killed.send_signal(signal.SIGKILL)
        killed.wait()

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
        """Item 3: medians on the month, and how they and the rows to be read grow with ten times the users and videos."""
        with step("ten times the users and videos, in a database beside gold"):
            self._grow(10)
        medians = {name: self._median(sql) for name, sql in QUERIES.items()}
        for name, sql in QUERIES.items():
            large = sql.replace("gold.", "gold10.")
            say(
                f"  {name}: {medians[name]:.0f} ms median of {_TURNS}, {self._rows_read(sql):,} rows read;"
                f" ten times: {self._median(large):.0f} ms, {self._rows_read(large):,} rows"
            )
        slowest = max(medians, key=lambda name: medians[name])
        return Line(
            3,
            f"{len(QUERIES)} dashboard queries on the month",
            "each below 100 ms (median)",
            f"slowest {medians[slowest]:.0f} ms ({slowest}), median of all {statistics.median(medians.values()):.0f} ms",
            medians[slowest] < 100,
        )

    def _median(self, sql: str) -> float:
        self._ask(sql)
        times = []
        for _ in range(_TURNS):
            began = time.perf_counter()
            self._ask(sql)
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    def _rows_read(self, sql: str) -> int:
        """By ClickHouse's own estimate, all tables of the query together."""
        return sum(int(row[3]) for row in self._ask(f"EXPLAIN ESTIMATE {sql}"))

    def _grow(self, times: int) -> None:
        """Each user, video and event so many times, under other ids; what has a row a day is the same."""
        self._stack.query("CREATE DATABASE gold10")
        shifts = {
            "fact_video_generation": "video_id + n * 1000000000 AS video_id, user_id + n * 1000000000 AS user_id",
            "fact_user_activity": "generateUUIDv4() AS event_id, user_id + n * 1000000000 AS user_id",
            "dim_user": "user_id + n * 1000000000 AS user_id",
        }
        for table in (*shifts, "daily_metrics", "financial_daily", "retention_weekly"):
            self._stack.query(f"CREATE TABLE gold10.{table} AS gold.{table}")
            final = "FINAL" if self._reader.merges("gold", table) else ""
            if table in shifts:
                for n in range(times):
                    shifted = shifts[table].replace("n *", f"{n} *")
                    self._stack.query(
                        f"INSERT INTO gold10.{table} SELECT * REPLACE ({shifted}) FROM gold.{table} {final}"
                    )
            else:
                self._stack.query(f"INSERT INTO gold10.{table} SELECT * FROM gold.{table} {final}")
            self._stack.query(f"OPTIMIZE TABLE gold10.{table}")

    def keeps_up(self) -> Line:
        """Item 4: what bronze, silver and gold took for the month, one after the other on these cores."""
        rate = self._records / (self._ingest_s + self._build_s)
        return Line(
            4,
            "bronze to gold",
            "20,000 events/s without growing lag",
            f"{rate:,.0f}/s (broker to silver {self._records / self._ingest_s:,.0f}/s, build {self._build_s:.1f} s)",
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


async def _produce(bootstrap: str, directory: Path, day: date | None = None) -> int:
    """Send the files' records, or those of one UTC day; how many."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_request_size=64 << 20, max_batch_size=1 << 19
    )
    await producer.start()
    count, waiting = 0, []
    try:
        for topic, key, value, ts in _messages(directory):
            if day is not None and (datetime.fromtimestamp(ts / 1000, UTC).date() != day or _was_ahead(value, ts)):
                continue
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


def _was_ahead(value: bytes | None, ts: int) -> bool:
    """Whether an event was refused for lying in the future: sent again, it would be one of the past, and rightly count."""
    try:
        at = datetime.fromisoformat(orjson.loads(value or b"null")["occurred_at"])
    except (ValueError, TypeError, KeyError):
        return False
    return at.timestamp() * 1000 > ts + 300_000


async def _create_topics(bootstrap: str, partitions: int) -> None:
    """With the producer's times, for the month's own times decide, and kept for ever, for it is long over."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(32 << 20)}
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config) for topic in _TOPICS])
    finally:
        await admin.close()
