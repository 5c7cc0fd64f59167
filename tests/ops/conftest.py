"""A migrated ClickHouse and a broker for the tests of this folder, one of each per test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamproc.config import Settings, load_settings
from tests.support.broker import Broker, start_broker
from tests.support.clickhouse import ClickHouseHandle
from tests.support.migrated import start_migrated


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    """A server with every migration applied."""
    handle = start_migrated(tmp_path_factory.mktemp("clickhouse"))
    yield handle
    handle.stop()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A broker that lives as long as the tests of a process."""
    handle = start_broker()
    yield handle
    handle.discard()


@pytest.fixture
def settings(clickhouse: ClickHouseHandle) -> Settings:
    """Settings that name the ClickHouse server; no broker."""
    return load_settings(clickhouse_url=clickhouse.url, broker_url="kafka://127.0.0.1:1")
