"""The doctor looks at the keys of users and at the Redis Streams; it changes neither."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streamproc.cli.doctor_checks import Finding, Verdict
from streamproc.cli.doctor_keys import check_intake, check_keys
from streamproc.config import Settings
from tests.sinks.support import key_store, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.ports import free_port
from tests.support.redis import start_redis


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    server = start_clickhouse(tmp_path_factory.mktemp("clickhouse"))
    yield server
    server.stop()


def keys(**fields: Any) -> list[Finding]:
    return asyncio.run(check_keys(Settings.model_validate(fields)))


def test_keys_are_looked_for_and_never_made(clickhouse: ClickHouseHandle, tmp_path: Path) -> None:
    (missing,) = keys(clickhouse_url=clickhouse.url, master_key=None, data_dir=str(tmp_path))
    assert missing.verdict is Verdict.NOTE and "none yet" in missing.found
    assert not list(tmp_path.iterdir())

    master, none = keys(clickhouse_url=clickhouse.url)
    assert (master.verdict, none.verdict, none.found) == (Verdict.OK, Verdict.NOTE, "none yet")
    with_clickhouse(clickhouse.url, lambda client: key_store(client).keys_for([0, 5, 6]))
    assert [finding.found for finding in keys(clickhouse_url=clickhouse.url)][1:] == ["2, under this master key"]

    other = tmp_path / "other.key"
    other.write_bytes(b64encode(os.urandom(32)))
    other.chmod(0o644)
    (readable,) = keys(clickhouse_url=clickhouse.url, master_key=None, master_key_file=str(other))
    assert readable.verdict is Verdict.PROBLEM and "chmod 600" in readable.found
    other.chmod(0o600)
    _, wrong = keys(clickhouse_url=clickhouse.url, master_key=None, master_key_file=str(other))
    assert wrong.verdict is Verdict.PROBLEM and "is not the one that has wrapped the keys" in wrong.found


def test_a_server_of_keys_that_is_away_is_a_problem_of_its_own(clickhouse: ClickHouseHandle) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert [finding.verdict for finding in keys(clickhouse_url=away)] == [Verdict.OK, Verdict.NOTE]
    found = keys(clickhouse_url=clickhouse.url, keys_url=away)[1]
    assert found.verdict is Verdict.PROBLEM and "STREAMPROC_KEYS_URL" in found.advice


def test_a_stream_that_nobody_reads_is_a_problem(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    client = redis.Redis.from_url(server.url)
    name = "sp:in:user-events"
    settings = Settings.model_validate(
        {"redis_url": server.url, "intake_streams": {name: "user-events"}, "intake_claim_after_s": 1}
    )

    def intake() -> Finding:
        (finding,) = asyncio.run(check_intake(settings))
        return finding

    try:
        assert asyncio.run(check_intake(settings.model_copy(update={"intake_streams": {}}))) == []
        assert intake().verdict is Verdict.NOTE
        for number in range(5):
            client.xadd(name, {"value": str(number)})
        client.xgroup_create(name, "streamproc-intake", id="0")
        unread = intake()
        assert unread.verdict is Verdict.PROBLEM and "0 in hand, 5 waiting" in unread.found
        client.xreadgroup("streamproc-intake", "reader", {name: ">"}, count=2)
        read = intake()
        assert read.verdict is Verdict.OK and read.found == "1 read it for user-events; 2 in hand, 3 waiting"
    finally:
        client.close()
        server.kill()
    assert intake().verdict is Verdict.PROBLEM, "Redis is away"
