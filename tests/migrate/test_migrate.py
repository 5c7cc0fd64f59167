"""Migrations: once, in order, by several at once, after a crash; refused when code and database do not fit."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamproc import migrate as migrations
from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.migrate import Migration, known_migrations, migrate, status
from streamproc.migrate_lock import MigrationLock
from streamproc.sinks.clickhouse_client import sync_client
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.ports import free_port

DATABASES = ("meta", "bronze", "silver", "gold")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    """One engine for the module: starting it costs more than dropping databases."""
    handle = start_clickhouse(tmp_path_factory.mktemp("clickhouse"))
    yield handle
    handle.stop()


@pytest.fixture
def settings(server: ClickHouseHandle) -> Settings:
    """Settings of an empty ClickHouse."""
    found = Settings(clickhouse_url=server.url)
    client = sync_client(found)
    for database in DATABASES:
        client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
    client.close()
    return found


def query(settings: Settings, sql: str) -> list[Any]:
    client = sync_client(settings)
    try:
        return [tuple(row) for row in client.query(sql).result_rows]
    finally:
        client.close()


def names() -> list[str]:
    return [migration.name for migration in known_migrations()]


def test_everything_is_applied_once(settings: Settings) -> None:
    assert {state.applied_at for state in status(settings)} == {""}
    assert migrate(settings) == names()
    assert migrate(settings) == []
    assert all(state.applied_at for state in status(settings))
    tables = {f"{database}.{table}" for database, table in query(settings, "SELECT database, name FROM system.tables")}
    wanted = "bronze.user_events silver.user_activity silver.rejected gold.windows gold.windows_latest gold.alerts"
    assert tables >= {*wanted.split(), "meta.window_sources", "meta.job_runs", "meta.quality_results", "meta.datasets"}
    assert not [table for table in tables if table.startswith("meta.schema_migrations_lock")]


def test_every_table_names_its_deduplication_window(settings: Settings) -> None:
    migrate(settings)
    rows = query(
        settings,
        "SELECT name, engine_full FROM system.tables WHERE database IN ('meta','bronze','silver','gold') AND engine LIKE '%MergeTree'",
    )
    assert len(rows) > 15
    assert [name for name, engine in rows if "non_replicated_deduplication_window" not in engine] == []


def test_every_column_of_silver_says_what_it_holds(settings: Settings) -> None:
    """Null handling and text rules are read where the column is."""
    migrate(settings)
    rows = query(
        settings,
        "SELECT table, name FROM system.columns WHERE database = 'silver' AND comment = '' AND table IN"
        " (SELECT name FROM system.tables WHERE database = 'silver' AND engine LIKE '%MergeTree')"
        " AND default_kind != 'MATERIALIZED'",
    )
    assert rows == []


def test_three_processes_at_once_apply_each_once(settings: Settings) -> None:
    env = os.environ | {"STREAMPROC_CLICKHOUSE_URL": settings.clickhouse_url.get_secret_value()}
    command = [sys.executable, "-m", "streamproc.cli.main", "migrate"]
    started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    output = "".join(process.communicate(timeout=90)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sorted(line.split()[1] for line in output.splitlines() if line.startswith("applied")) == names()
    rows = query(settings, "SELECT name, count() FROM meta.schema_migrations GROUP BY name ORDER BY name")
    assert rows == [(name, 1) for name in names()]


def test_a_crash_after_any_statement_is_repaired_by_the_next_run(settings: Settings, monkeypatch: Any) -> None:
    run = migrations._run
    crashes = 0
    for survives in (3, 5, 11, 14, 15, 16):
        left = [survives]  # the first two make the books, the others are repeated from the start of their file

        def crash(client: Any, statement: str, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            run(client, statement)

        monkeypatch.setattr(migrations, "_run", crash)
        try:
            migrate(settings)
        except KeyboardInterrupt:
            crashes += 1
    assert crashes >= 4
    monkeypatch.setattr(migrations, "_run", run)
    migrate(settings)
    assert all(state.applied_at for state in status(settings))


def test_all_statements_can_run_again(settings: Settings) -> None:
    migrate(settings)
    client = sync_client(settings)
    for migration in known_migrations():
        for statement in migration.statements:
            client.command(statement)
    client.close()


def test_a_newer_database_is_refused(settings: Settings) -> None:
    known = known_migrations()
    newer = [*known, Migration(len(known) + 1, "0099_from_the_future", ("SELECT 1",))]
    assert migrate(settings, migrations=newer)[-1] == "0099_from_the_future"
    for call in (migrate, status):
        with pytest.raises(ConfigError, match="newer than this streamproc: it has migration 0099_from_the_future"):
            call(settings)


def test_a_changed_migration_is_refused(settings: Settings) -> None:
    migrate(settings)
    known = known_migrations()
    changed = [dataclasses.replace(known[0], statements=("SELECT 1",)), *known[1:]]
    with pytest.raises(ConfigError, match=f"migration {known[0].name} was changed after it was applied"):
        migrate(settings, migrations=changed)


def test_a_statement_that_fails_is_named(settings: Settings) -> None:
    with pytest.raises(PermanentError, match=r"migration 0001_bad: .*nonsense"):
        migrate(settings, migrations=[Migration(1, "0001_bad", ("CREATE nonsense",))])
    # The lock is free again, and nothing was recorded.
    assert migrate(settings) == names()


def test_the_lock_of_a_killed_migration_expires(settings: Settings, monkeypatch: Any) -> None:
    migrate(settings, migrations=[])
    said: list[str] = []
    client = sync_client(settings)
    dead = MigrationLock(client, "dead", 1.0, said.append)
    dead.__enter__()
    with pytest.raises(RetryableError, match="another migration is running"):
        migrate(settings, wait_s=3.0, say=said.append)
    assert said == ["another migration is running: waiting for it"]
    monkeypatch.setattr("streamproc.migrate_lock.EXPIRES_S", -1)
    dead.renew()
    monkeypatch.undo()
    assert migrate(settings, wait_s=20.0) == names()
    with pytest.raises(RetryableError, match="paused too long"):
        dead.renew()
    client.close()


def test_a_server_that_is_away_gives_one_clear_line() -> None:
    said: list[str] = []
    with pytest.raises(RetryableError, match=r"ClickHouse did not answer within 0 s \(connection: .*refused"):
        migrate(Settings(clickhouse_url=f"http://127.0.0.1:{free_port()}"), wait_s=0.3, say=said.append)
    assert said == ["waiting for ClickHouse (at most 0 s): connection"]


def test_the_command_shows_the_state(settings: Settings) -> None:
    env = os.environ | {"STREAMPROC_CLICKHOUSE_URL": settings.clickhouse_url.get_secret_value()}
    command = [sys.executable, "-m", "streamproc.cli.main", "migrate", "--status"]
    before = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (before.returncode, before.stdout.count("not applied")) == (0, len(names()))
    migrate(settings)
    after = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (after.returncode, after.stdout.count("applied 20")) == (0, len(names()))


def test_files_are_numbered_without_gaps(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "clickhouse"
    folder.mkdir()
    monkeypatch.setattr("streamproc.migrate.resources.files", lambda _package: tmp_path)
    (folder / "0001_a.sql").write_text("SELECT 1")
    (folder / "0003_c.sql").write_text("SELECT 1")
    with pytest.raises(ConfigError, match=r"without a gap, not \[1, 3\]"):
        known_migrations()
    (folder / "0002_b.sql").write_text("SELECT 'open")
    with pytest.raises(ConfigError, match=r"migration 0002_b.sql: line 1: .* is not closed"):
        known_migrations()
