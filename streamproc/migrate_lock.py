"""A lock for migrations on a plain ClickHouse: CREATE TABLE is its one atomic test-and-set."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final

from streamproc.clock import monotonic
from streamproc.errors import RetryableError
from streamproc.sinks.clickhouse_errors import clickhouse_code, sort_clickhouse_error

_TABLE: Final = "meta.schema_migrations_lock"
#: A holder that was killed blocks others no longer than this; it renews before every statement.
EXPIRES_S: Final = 20
_PAUSE_S: Final = 0.1

_TABLE_EXISTS: Final = 57
_NO_TABLE: Final = 60


class MigrationLock:
    """Held between `with` lines. The table's comment says 'owner expires', by the server's clock (epoch ms).

    A holder that was paused longer than the expiry can meet a second one. That is harmless, since every statement is
    re-runnable, and ends at its next statement: `renew` sees that the lock is lost.
    """

    def __init__(self, client: Any, owner: str, wait_s: float, say: Any) -> None:
        self._client = client
        self._owner = owner
        self._wait_s = wait_s
        self._say = say

    def __enter__(self) -> MigrationLock:
        """Take the lock.

        Raises:
            RetryableError: another migration held it longer than `wait_s`.
        """
        deadline, told = monotonic() + self._wait_s, False
        while not self._taken():
            if monotonic() > deadline:
                raise RetryableError("migration_lock", f"another migration is running for {self._wait_s:.0f} s")
            if not told:
                self._say("another migration is running: waiting for it")
                told = True
            time.sleep(_PAUSE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._comment().startswith(self._owner):
            self._command(f"DROP TABLE IF EXISTS {_TABLE} SYNC")

    def renew(self) -> None:
        """Push the expiry forward.

        Raises:
            RetryableError: the lock went to somebody else meanwhile.
        """
        if not self._comment().startswith(self._owner):
            raise RetryableError("migration_lock_lost", "this migration was paused too long; start it again")
        self._command(f"ALTER TABLE {_TABLE} MODIFY COMMENT '{self._owner} {self._now_ms() + EXPIRES_S * 1000}'")

    def _taken(self) -> bool:
        comment = f"{self._owner} {self._now_ms() + EXPIRES_S * 1000}"
        try:
            self._client.command(f"CREATE TABLE {_TABLE} (nothing UInt8) ENGINE = Memory COMMENT '{comment}'")
        except Exception as error:
            if clickhouse_code(error) != _TABLE_EXISTS:
                raise sort_clickhouse_error(error) from error
            self._remove_if_expired()
            return False
        return True

    def _remove_if_expired(self) -> None:
        comment = self._comment()
        _, _, expires = comment.partition(" ")
        if not expires.isdigit() or int(expires) > self._now_ms():
            return
        # Renamed first: of several that wait, one succeeds, and what it moved is looked at before it is dropped.
        aside = f"{_TABLE}_expired_{self._owner}"
        try:
            self._client.command(f"RENAME TABLE {_TABLE} TO {aside}")
        except Exception as error:
            if clickhouse_code(error) != _NO_TABLE:
                raise sort_clickhouse_error(error) from error
            return
        if self._comment(aside) == comment:
            self._command(f"DROP TABLE IF EXISTS {aside} SYNC")
        else:
            self._command(f"RENAME TABLE {aside} TO {_TABLE}")

    def _comment(self, table: str = _TABLE) -> str:
        database, _, name = table.partition(".")
        rows = self._client.query(
            "SELECT comment FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            parameters={"database": database, "name": name},
        ).result_rows
        return str(rows[0][0]) if rows else ""

    def _now_ms(self) -> int:
        return int(self._client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])

    def _command(self, sql: str) -> None:
        try:
            self._client.command(sql)
        except Exception as error:
            raise sort_clickhouse_error(error) from error
