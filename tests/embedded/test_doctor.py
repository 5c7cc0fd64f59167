"""The doctor, on real servers and on missing ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiokafka.admin import NewTopic

from schemas.topics import ALL, USER_EVENTS
from streamproc.cli.doctor import examine
from streamproc.cli.doctor_broker import check_broker
from streamproc.cli.doctor_checks import Finding, Verdict, _clock, check_clickhouse, check_redis, check_settings
from streamproc.config import Settings
from streamproc.kafka_topics import admin_client, ensure_topics, topic_states
from streamproc.migrate import migrate
from tests.support.broker import Broker, chosen_broker, start_broker
from tests.support.clickhouse import start_clickhouse
from tests.support.ports import free_port
from tests.support.redis import start_redis


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


def problems(findings: list[Finding]) -> dict[str, str]:
    return {f.what: f.found for f in findings if f.verdict is Verdict.PROBLEM}


def test_a_complete_broker_has_no_problem_and_notes_say_what_it_lacks(broker: Broker) -> None:
    settings = Settings.model_validate({"broker_url": broker.url, "topic_prefix": "fine.", "partitions": 2})

    async def scenario() -> tuple[list[Finding], list[str]]:
        await ensure_topics(settings)
        findings = await check_broker(settings)
        async with admin_client(settings) as admin:
            return findings, list(await topic_states(admin))

    findings, names = asyncio.run(scenario())
    assert problems(findings) == {}
    notes = {f.what for f in findings if f.verdict is Verdict.NOTE}
    lacks = {"LogAppendTime", "idempotent producer"}
    assert lacks & notes == (set() if chosen_broker() == "kafka" else lacks)
    assert not [name for name in names if "doctor" in name], "the probe's topic is removed"


def test_missing_topics_and_other_partitions_are_named(broker: Broker) -> None:
    settings = Settings.model_validate({"broker_url": broker.url, "topic_prefix": "some.", "partitions": 3})

    async def scenario() -> list[Finding]:
        async with admin_client(settings) as admin:
            await admin.create_topics([NewTopic(settings.topic(USER_EVENTS), 4, 1)])
        return await check_broker(settings)

    found = problems(asyncio.run(scenario()))
    assert found["topics"].count("some.") == len(ALL) - 1
    assert "some.user-events (4)" in found["partitions"]


def test_redis_is_described_and_its_clock_compared(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    try:
        findings = asyncio.run(check_redis(Settings.model_validate({"redis_url": server.url})))
    finally:
        server.stop()
    assert problems(findings) == {}
    assert findings[0].found.startswith("Valkey ")


@pytest.mark.parametrize(
    ("server_ms", "verdict"),
    [(50_000, Verdict.OK), (50_900, Verdict.OK), (52_000, Verdict.PROBLEM), (40_000, Verdict.PROBLEM)],
)
def test_clocks_that_differ_are_a_problem(server_ms: int, verdict: Verdict) -> None:
    assert _clock("clock", server_ms, 49_990, 50_010).verdict is verdict


def test_missing_servers_are_one_problem_each() -> None:
    ports = [free_port() for _ in range(3)]
    settings = Settings.model_validate(
        {
            "broker_url": f"kafka://127.0.0.1:{ports[0]}",
            "redis_url": f"redis://:secret@127.0.0.1:{ports[1]}/0",
            "clickhouse_url": f"http://user:secret@127.0.0.1:{ports[2]}",
        }
    )
    findings = asyncio.run(examine(settings))
    assert set(problems(findings)) == {"broker", "Redis", "ClickHouse"}
    assert "secret" not in str(findings)


def test_clickhouse_is_described_and_missing_migrations_are_named(tmp_path: Path) -> None:
    server = start_clickhouse(tmp_path)
    settings = Settings.model_validate({"clickhouse_url": server.url})
    try:
        before = asyncio.run(check_clickhouse(settings))
        migrate(settings)
        after = asyncio.run(check_clickhouse(settings))
        asyncio.run(_lose(server.url))
        lossy = asyncio.run(check_clickhouse(settings))
    finally:
        server.stop()
    assert set(problems(before)) == {"migrations"} and "0001_" in problems(before)["migrations"]
    assert problems(after) == {}
    assert {finding.what for finding in after} == {"ClickHouse", "clock of ClickHouse", "migrations", "lost records"}
    (lost,) = [finding for finding in lossy if finding.what == "lost records"]
    assert lost.verdict is Verdict.NOTE
    assert "user-events: 40 were deleted before they were read by windows" in lost.found


async def _lose(url: str) -> None:
    sql = "INSERT INTO meta.lost_offsets SELECT 'user-events', 1, 'x', 10, 49, now64(3), 'deleted_before_counted'"
    async with aiohttp.ClientSession() as session, session.post(url, data=sql) as response:
        assert response.status == 200


def test_bad_alert_rules_are_a_problem(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - name: x\n    metric: no_such_metric\n")
    findings = asyncio.run(check_settings(Settings.model_validate({"alert_rules": str(rules)})))
    assert "no_such_metric" in problems(findings)["alert rules"]


def test_the_command_ends_with_1_when_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, scheme in (("BROKER", "kafka"), ("REDIS", "redis"), ("CLICKHOUSE", "http")):
        monkeypatch.setenv(f"STREAMPROC_{name}_URL", f"{scheme}://127.0.0.1:{free_port()}")
    done = subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", "doctor"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "3 problem(s) found" in done.stdout
    assert "Traceback" not in done.stderr and "ERROR" not in done.stderr
