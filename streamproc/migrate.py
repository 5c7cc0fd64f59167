"""Applies the numbered SQL files of schemas/clickhouse once, in order, safely when two start at once."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.migrate_lock import MigrationLock
from streamproc.sinks.clickhouse_client import sync_client
from streamproc.sinks.clickhouse_errors import sort_clickhouse_error
from streamproc.sql_text import split_statements

#: How long to wait for a server that is starting, and for another migration to end.
WAIT_S: Final = 60.0
_PAUSE_S: Final = 0.25

_BOOTSTRAP: Final = (
    "CREATE DATABASE IF NOT EXISTS meta",
    """CREATE TABLE IF NOT EXISTS meta.schema_migrations
       (version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
       ENGINE = ReplacingMergeTree(applied_at) ORDER BY version
       SETTINGS non_replicated_deduplication_window = 1000""",
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; `checksum` is over its statements, so that a better comment is no change."""

    version: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(";\n".join(self.statements).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration and when it was applied ('' = not yet), UTC."""

    version: int
    name: str
    applied_at: str


def known_migrations() -> list[Migration]:
    """The migrations of this version of the code, in order.

    Raises:
        ConfigError: a number is missing or taken twice, or a file cannot be cut into statements.
    """
    found = []
    folder = resources.files("schemas") / "clickhouse"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        number, _, _ = file.name.partition("_")
        if not file.name.endswith(".sql"):
            continue
        try:
            statements = tuple(split_statements(file.read_text(encoding="utf-8")))
            found.append(Migration(int(number), file.name.removesuffix(".sql"), statements))
        except ValueError as error:
            raise ConfigError(f"migration {file.name}: {error}") from error
    numbers = [migration.version for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise ConfigError(f"the migrations must be numbered 1, 2, 3 ... without a gap, not {numbers}")
    return found


def migrate(
    settings: Settings, wait_s: float = WAIT_S, say: Say = lambda _line: None, migrations: list[Migration] | None = None
) -> list[str]:
    """Apply what is missing and return the names applied here (another process may have applied the rest).

    `say` gets one line for a person when there is something to wait for. Each statement is re-runnable, so a crash
    in the middle of a migration is repaired by the next run.

    Raises:
        ConfigError: the database is newer than the code, or an applied migration was changed since.
        RetryableError: ClickHouse, or another migration, took longer than `wait_s`.
        PermanentError: ClickHouse refused a statement or the login.
    """
    known = known_migrations() if migrations is None else migrations
    client = _connect(settings, wait_s, say)
    try:
        for statement in _BOOTSTRAP:
            _run(client, statement)
        if not _pending(client, known):
            return []
        with MigrationLock(client, uuid.uuid4().hex, wait_s, say) as lock:
            # Read again: whoever held the lock before may have applied all of it.
            return [_apply(client, lock, migration) for migration in _pending(client, known)]
    finally:
        client.close()


def status(settings: Settings, wait_s: float = WAIT_S, say: Say = lambda _line: None) -> list[MigrationState]:
    """Every known migration and when it was applied.

    Raises:
        ConfigError, RetryableError, PermanentError: as `migrate`.
    """
    known = known_migrations()
    client = _connect(settings, wait_s, say)
    try:
        exists = _query(client, "EXISTS TABLE meta.schema_migrations")[0][0]
        applied = _applied(client) if exists else {}
        _check(applied, known)
        return [
            MigrationState(each.version, each.name, applied[each.version][2] if each.version in applied else "")
            for each in known
        ]
    finally:
        client.close()


def _apply(client: Any, lock: MigrationLock, migration: Migration) -> str:
    for statement in migration.statements:
        lock.renew()
        try:
            _run(client, statement)
        except PermanentError as error:
            raise PermanentError(error.reason, f"migration {migration.name}: {error}") from error
    client.insert(
        "meta.schema_migrations",
        [[migration.version, migration.name, migration.checksum]],
        column_names=["version", "name", "checksum"],
    )
    return migration.name


def _pending(client: Any, known: list[Migration]) -> list[Migration]:
    applied = _applied(client)
    _check(applied, known)
    return [migration for migration in known if migration.version not in applied]


def _applied(client: Any) -> dict[int, tuple[str, str, str]]:
    rows = _query(client, "SELECT version, name, checksum, toString(applied_at) FROM meta.schema_migrations FINAL")
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def _check(applied: dict[int, tuple[str, str, str]], known: list[Migration]) -> None:
    by_version = {migration.version: migration for migration in known}
    for version, (name, checksum, _) in sorted(applied.items()):
        migration = by_version.get(version)
        if migration is None:
            raise ConfigError(
                f"the ClickHouse database is newer than this streamproc: it has migration {name}, "
                f"the newest known here is {known[-1].name if known else 'none'}; install a newer streamproc"
            )
        if migration.checksum != checksum:
            raise ConfigError(
                f"migration {migration.name} was changed after it was applied (as {name}): "
                "put the file back, and write the change as a new migration"
            )


def _connect(settings: Settings, wait_s: float, say: Say) -> Any:
    deadline, told = monotonic() + wait_s, False
    while True:
        try:
            return sync_client(settings, timeout_s=120.0)
        except Exception as error:
            sorted_error = sort_clickhouse_error(error)
            if isinstance(sorted_error, PermanentError):
                raise sorted_error from error
            if monotonic() > deadline:
                raise RetryableError(
                    sorted_error.reason, f"ClickHouse did not answer within {wait_s:.0f} s ({sorted_error})"
                ) from error
            if not told:
                say(f"waiting for ClickHouse (at most {wait_s:.0f} s): {sorted_error.reason}")
                told = True
            time.sleep(_PAUSE_S)


def _run(client: Any, statement: str) -> None:
    try:
        client.command(statement)
    except Exception as error:
        raise sort_clickhouse_error(error) from error


def _query(client: Any, sql: str) -> list[Any]:
    try:
        return list(client.query(sql).result_rows)
    except Exception as error:
        raise sort_clickhouse_error(error) from error
