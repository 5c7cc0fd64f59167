"""ClickHouse and Redis for the scheduler's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scheduler.support import Servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both, migrated; one pair for a module."""
    with Servers(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture
def clean(servers: Servers) -> Servers:
    """The same with empty books, an empty Redis, and no scheduler of a test that failed."""
    servers.end_processes()
    for table in ("meta.job_runs", "meta.job_pauses", "default.effects"):
        servers.run(f"TRUNCATE TABLE {table}")
    servers.redis.stop()
    servers.redis.start()
    return servers
