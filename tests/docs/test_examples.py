"""Code of the documents that needs a server, run as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis

from schemas.topics import COST_EVENTS, USER_EVENTS
from streamproc.config import Settings
from streamproc.decode import explain
from streamproc.kafka_topics import ensure_topics
from tests.docs.pages import ROOT
from tests.support.broker import start_broker
from tests.support.redis import start_redis
from tests.support.stack import read_raw, wait_for


def test_the_producer_in_python_sends_a_valid_event(tmp_path: Path) -> None:
    """docs/events.md, with the port of a broker of our own."""
    found = re.search(r"```python\n(.*?)^```", (ROOT / "docs/events.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    broker = start_broker()
    try:
        asyncio.run(ensure_topics(Settings(broker_url=broker.url, partitions=2)))
        script = tmp_path / "producer.py"
        script.write_text(found.group(1).replace("127.0.0.1:9092", broker.bootstrap))
        subprocess.run([sys.executable, script], check=True, timeout=30)
        records = asyncio.run(read_raw(broker.bootstrap, [USER_EVENTS]))
    finally:
        broker.discard()
    assert [explain(USER_EVENTS, record.value) for record in records] == [None]


def test_an_entry_added_with_redis_cli_becomes_a_record(tmp_path: Path) -> None:
    """docs/events.md, line by line: the variable, the XADD as any client sends its words, and the worker."""
    section = (ROOT / "docs/events.md").read_text().split("## Redis Streams", 1)[1]
    found = re.search(r"```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    export, add, run = map(shlex.split, found.group(1).splitlines())
    assert (export[0], add[0], run[:2]) == ("export", "redis-cli", ["streamproc", "worker"])
    name, _, streams = export[1].partition("=")
    broker, server = start_broker(), start_redis(tmp_path)
    settings = {name: streams, "STREAMPROC_BROKER_URL": broker.url, "STREAMPROC_REDIS_URL": server.url}
    try:
        asyncio.run(ensure_topics(Settings(broker_url=broker.url, partitions=2)))
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(*add[1:])
        argv = [sys.executable, "-m", "streamproc.cli.main", *run[1:], "--metrics-port", "0"]
        worker = subprocess.Popen(argv, env=os.environ | settings)
        try:
            records = wait_for("the record", lambda: _written(broker.bootstrap, worker))
        finally:
            worker.terminate()
            code = worker.wait(30)
    finally:
        server.kill()
        broker.discard()
    assert code == 0
    assert [(record.topic, record.key, explain(USER_EVENTS, record.value)) for record in records] == [
        (USER_EVENTS, b"7", None)
    ]


def _written(bootstrap: str, worker: subprocess.Popen[bytes]) -> list[Any]:
    assert worker.poll() is None
    return asyncio.run(read_raw(bootstrap, [USER_EVENTS, COST_EVENTS]))
