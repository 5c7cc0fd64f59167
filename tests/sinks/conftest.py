"""Servers shared by the tests of one process; tests keep apart by names of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clickhouse import ClickHouseHandle
from tests.support.migrated import start_migrated
from tests.support.proxy import TcpProxy, start_proxy
from tests.support.redis import RedisHandle, start_redis

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses: of a topic's log, a metric, a key prefix."""
    return f"n{next(_numbers)}"


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    """A migrated ClickHouse."""
    server = start_migrated(tmp_path_factory.mktemp("clickhouse"))
    yield server
    server.stop()


@pytest.fixture
def clickhouse_proxy(clickhouse_server: ClickHouseHandle) -> Iterator[TcpProxy]:
    """A proxy before it."""
    proxy = start_proxy(clickhouse_server.port)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisHandle]:
    """A Redis."""
    server = start_redis(Path(tmp_path_factory.mktemp("redis")))
    yield server
    server.stop()


@pytest.fixture
def redis_proxy(redis_server: RedisHandle) -> Iterator[TcpProxy]:
    """A proxy before it."""
    proxy = start_proxy(redis_server.port)
    yield proxy
    proxy.stop()
