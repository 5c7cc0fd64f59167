"""One ClickHouse for all tests of this folder, and a YouTube for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamproc.config import Settings
from streamproc.migrate import migrate
from tests.support.clickhouse import start_clickhouse
from tests.support.youtube.server import YouTube, running
from tests.support.youtube.world import World
from tests.youtube.house import House


@pytest.fixture(scope="package")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Migrated."""
    server = start_clickhouse(tmp_path_factory.mktemp("clickhouse"))
    migrate(Settings(clickhouse_url=server.url))
    yield server.url
    server.stop()


@pytest.fixture
def youtube() -> Iterator[YouTube]:
    """Three channels of 60 videos."""
    with running(YouTube(World())) as made:
        yield made


@pytest.fixture
def house(clickhouse_url: str, youtube: YouTube) -> House:
    """Clean."""
    made = House(clickhouse_url)
    made.clean(youtube)
    return made
