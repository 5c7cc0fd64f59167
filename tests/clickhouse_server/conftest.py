"""One server for each test process, and a fresh database for each test."""

import itertools
from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tests.clickhouse_server.http import Http
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    handle = start_clickhouse(tmp_path_factory.mktemp("clickhouse") / "data")
    yield handle
    assert handle.stop() == 0


@pytest.fixture
def database(server: ClickHouseHandle) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    http = Http(server.port)
    http.ok(f"CREATE DATABASE {name}")
    yield name
    http.ok(f"DROP DATABASE {name}")


@pytest.fixture
def http(server: ClickHouseHandle, database: str) -> Http:
    """Plain HTTP, in the test's database."""
    return Http(server.port, database)


@pytest.fixture
def client(server: ClickHouseHandle, database: str) -> Iterator[Client]:
    """clickhouse-connect as it comes, in the test's database."""
    with clickhouse_connect.get_client(host="127.0.0.1", port=server.port, database=database) as one:
        yield one
