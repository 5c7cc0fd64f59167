"""A small real run gives no violation; then mistakes are planted in every store, and each is reported."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.oracle.plants import PLANTS, Plant
from tests.oracle.report import Finding
from tests.support.stack import Stack, wait_for
from tests.support.webhook import Webhook, start_webhook

pytestmark = [pytest.mark.xdist_group("oracle"), pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


@dataclass
class Judged:
    """Two judgements of one run: as it was, and after the planting."""

    clean: list[Finding]
    clean_code: int
    planted: list[Finding]
    planted_code: int
    records: int
    printed: str


def _python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *args], cwd=ROOT, capture_output=True, text=True, timeout=250)


class _Run:
    """One run: its servers, and the files that producers, webhook and sampler leave."""

    def __init__(self, folder: Path, stack: Stack, webhook: Webhook) -> None:
        self.stack, self._webhook = stack, webhook
        self.ledger, self.slack = folder / "ledger.jsonl", folder / "slack.json"
        self.samples, self._report = folder / "samples.jsonl", folder / "report.json"

    def produce(self) -> None:
        """Three seconds of traffic, with many dear videos and much to refuse."""
        args = ["--bootstrap", self.stack.broker.bootstrap, "--ledger", str(self.ledger), "--seed", "5"]
        args += ["--rate", "700", "--seconds", "3", "--malformed", "0.05", "--late", "0.1", "--duplicates", "0.1"]
        done = _python("tests.oracle.producer", *args, "--dear", "0.6", "--cost", "0.4")
        assert done.returncode == 0, done.stderr

    def note(self) -> None:
        """What the webhook received, and what a sampler would have seen."""
        calls = [{"status": call.answer.status, "ids": call.ids} for call in self._webhook.requests]
        self.slack.write_text(json.dumps(calls))
        line = {"at_s": 1.0, "worker": "windows-1", "pid": 1, "age_s": 1.0, "rss_mb": 90.0, "fds": 30}
        self.samples.write_text(json.dumps(line) + "\n")

    def judge(self, wait_s: float, app_id: str, *lost: str) -> tuple[int, list[Finding], int, str]:
        """Exit code, findings, records, and what was printed."""
        stack = self.stack
        args = ["--bootstrap", stack.broker.bootstrap, "--clickhouse", stack.clickhouse.url]
        args += ["--redis", stack.redis_server.url, "--ledger", str(self.ledger), "--only-ledger"]
        args += ["--slack", str(self.slack), "--samples", str(self.samples), "--logs", str(stack.dir)]
        args += ["--app-id", app_id, *lost]
        done = _python("tests.oracle", *args, "--json", str(self._report), "--wait", str(wait_s))
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(self._report.read_text())
        return done.returncode, [Finding(**each) for each in report["invariants"]], report["records"], done.stdout


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """Produce, settle, judge, plant, judge again."""
    folder = tmp_path_factory.mktemp("oracle")
    with start_webhook() as webhook, Stack(folder / "stack", slack_webhook_url=webhook.url) as stack:
        stack.create_topics()
        for role in ("windows", "archive", "notify"):
            stack.worker(role, wait=False)
        for worker in stack.workers:
            worker.wait_ready(60)
        run = _Run(folder, stack, webhook)
        run.produce()
        windows = stack.workers[0]
        wait_for("alerts are sent", lambda: windows.metric("streamproc_lag_records") == 0 and webhook.accepted, 60)
        wait_for("every alert is sent", lambda: _undelivered(stack) == 0, 60)
        run.note()
        code, findings, records, _ = run.judge(60, "streamproc")
        for worker in stack.workers:
            assert worker.stop() == 0
        _plant(run)
        planted_code, planted, _, printed = run.judge(0, "planted", "--lost", "billing-events/0:5-7")
        yield Judged(findings, code, planted, planted_code, records, printed)


def _undelivered(stack: Stack) -> int:
    counted = dict(
        stack.query("SELECT kind, uniq(transition_id) FROM gold.alerts WHERE inhibited_by = '' GROUP BY kind")
    )
    return int(counted.get("transition", 1)) - int(counted.get("delivery", 0))


def _plant(run: _Run) -> None:
    stack, redis = run.stack, run.stack.redis
    for plant in PLANTS:
        stack.query(plant.sql)
    redis.hincrby("sp:live:user_events:1d", "value", 1)
    redis.hset("sp:live:dau:1d", "count", "0")
    redis.delete("sp:live:videos_requested:1d")
    series = redis.hgetall("sp:series:total_cost_usd:1d")
    redis.hdel("sp:series:total_cost_usd:1d", next(iter(series)))
    redis.hset("sp:entity:cost_per_video_usd:424242", mapping={"value": "1", "count": "1"})
    redis.hset(next(redis.scan_iter("sp:alert:*")), "state", "inactive")
    asyncio.run(_plant_in_kafka(stack.broker.bootstrap))
    calls = json.loads(run.slack.read_text())
    run.slack.write_text(json.dumps([*calls[1:], {"status": 200, "ids": ["planted-id"]}]))
    lines = run.ledger.read_text().splitlines()
    first = json.loads(lines[0])
    changed = [{**first, "sha256": "0" * 64}, {**first, "offset": 10_000_000}]
    run.ledger.write_text("\n".join([*lines[1:], *map(json.dumps, changed)]) + "\n")
    with run.samples.open("a") as out:
        out.write(
            json.dumps({"at_s": 2.0, "worker": "windows-1", "pid": 1, "age_s": 2.0, "rss_mb": 900.0, "fds": 30}) + "\n"
        )
    text = (
        "user canary-77 wrote\nmail to a.b@example.com\nfrom 203.0.113.9 came\nlistens on 127.0.0.1, version 26.9.2.1\n"
    )
    (stack.dir / "planted.log").write_text(text)


async def _plant_in_kafka(bootstrap: str) -> None:
    """A dead letter once more, progress and a committed offset beyond the end, a record that no ledger knows."""
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await reader.start()
    await reader._client.force_metadata_update()
    parts = [TopicPartition("dead-letters", part) for part in reader.partitions_for_topic("dead-letters") or ()]
    reader.assign(parts)
    await reader.seek_to_beginning(*parts)
    letter: Any = await reader.getone()
    await reader.stop()
    # Only a member may commit to the embedded broker, and the workers' group takes no strangers: a group of our own.
    member = AIOKafkaConsumer(
        "user-events",
        bootstrap_servers=bootstrap,
        group_id="planted-windows",
        enable_auto_commit=False,
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
    )
    await member.start()
    await member.commit({TopicPartition("user-events", 1): 5_000_000})
    await member.stop()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait("dead-letters", letter.value, partition=letter.partition, headers=list(letter.headers))
    record = {"kind": "progress", "source": "user-events/2/x", "topic": "user-events", "partition": 2, "log_id": "x"}
    beyond = msgspec.msgpack.encode({**record, "offset": 7_000_000, "wall_ms": 0})
    await producer.send_and_wait("window-progress", beyond, partition=0)
    await producer.send_and_wait("user-events", b"{}", key=b"1", partition=3)
    await producer.stop()


def test_a_clean_run_has_no_violation(judged: Judged) -> None:
    """And everything was really looked at."""
    assert [text for each in judged.clean for text in each.shown] == []
    assert judged.clean_code == 0
    assert judged.records > 1500
    empty = {each.name for each in judged.clean if not each.checked}
    assert empty <= {
        "alerts on final windows: the newest decides",
        "what was deleted unread has a row, nothing else has",
    }
    assert {each.invariant for each in judged.clean} == {
        "I1",
        "I2",
        "I3",
        "I4",
        "I5",
        "I6",
        "I7",
        "I9",
        "I10",
        "ledger",
    }


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.what)
def test_what_is_planted_in_clickhouse_is_reported(judged: Judged, plant: Plant) -> None:
    """Each by the finding that is there for it."""
    assert plant.reported(judged.planted), judged.printed


_LOSSES = "what was deleted unread has a row, nothing else has"
_ELSEWHERE = (
    Plant("live value", "Redis: live values and aliases", ("live user_events:1d", "due")),
    Plant("alias", "Redis: live values and aliases", ("alias dau:1d",)),
    Plant("live key", "Redis: live values and aliases", ("live videos_requested:1d is missing",)),
    Plant("series", "Redis: series", ("total_cost_usd:1d lacks",)),
    Plant("entity", "Redis: totals by entity", ("424242", "the log holds nothing of it")),
    Plant("alert state", "Redis: state of each alert", ("inactive",)),
    Plant("repeated dead letter", "topic dead-letters: each refused record once", ("there 2 times",)),
    Plant("progress", "own progress is the end of every log", ("user-events/2", "7000000")),
    Plant("loss without a row", _LOSSES, ("billing-events/0/5", "was deleted unread and has no row")),
    Plant("log identity", "a log keeps its identity", ("user-events/2", "2 log ids")),
    Plant("commit", "committed <= own progress + 1", ("windows user-events/1", "5000000")),
    Plant("Slack forgot", "each alert was answered with 200 by Slack", ("never answered", "slack")),
    Plant("Slack made up", "each alert was answered with 200 by Slack", ("planted-id", "no recorded transition")),
    Plant("ledger, other record", "what was acknowledged lies in the log, there", ("holds another record",)),
    Plant("ledger, lost record", "what was acknowledged lies in the log, there", ("10000000", "not in the log")),
    Plant("no ledger", "the log holds nothing that no producer sent", ("user-events/3",)),
    Plant("memory", "memory below 500 MB, descriptors stable", ("windows-1 (1) took 900 MB",)),
    Plant("canary", "no payload, address or secret in logs", ("planted.log:1", "canary")),
    Plant("e-mail", "no payload, address or secret in logs", ("planted.log:2", "e-mail")),
    Plant("IP address", "no payload, address or secret in logs", ("planted.log:3", "IP address")),
)


@pytest.mark.parametrize("plant", _ELSEWHERE, ids=lambda plant: plant.what)
def test_what_is_planted_elsewhere_is_reported(judged: Judged, plant: Plant) -> None:
    """Redis, topics, the ledger, the webhook's log, samples and log files."""
    assert plant.reported(judged.planted), judged.printed


def test_versions_and_loopback_addresses_in_logs_are_fine(judged: Judged) -> None:
    """Only what can belong to a person is one."""
    found = next(each for each in judged.planted if each.invariant == "I10" and each.name.startswith("no payload"))
    assert not [text for text in found.shown if "planted.log:4" in text]
    assert judged.planted_code == 1
