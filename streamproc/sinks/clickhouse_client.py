"""A ClickHouse connection with every setting explicit, made on first use, whose errors are sorted by who must act."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from streamproc.config import Settings
from streamproc.sinks.clickhouse_errors import sort_clickhouse_error

#: Defaults differ between server versions (async_insert is 1 in 26.x, 0 before), so none is relied upon.
INSERT_SETTINGS: Final[dict[str, int]] = {
    "async_insert": 0,
    "wait_for_async_insert": 1,
    # The retry of an insert into bronze must not double rows behind its views.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Events of many days may come in one insert; refusing it would block the stream behind one strange producer.
    "max_partitions_per_insert_block": 0,
    # Readers use FINAL anyway; collapsing within each insert cost 0.8 microseconds a row.
    "optimize_on_insert": 0,
    # The answer's status is known only when the insert is done, so that no error hides behind a 200.
    "wait_end_of_query": 1,
}

# The driver warns about every refused connection; our callers count and report failures themselves, once.
logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)


def sync_client(settings: Settings, timeout_s: float = 20.0) -> Any:
    """A blocking clickhouse-connect client for command-line tools and threads; it connects at once.

    Raises:
        clickhouse_connect's errors, see `sort_clickhouse_error`.
    """
    import clickhouse_connect

    return clickhouse_connect.get_client(
        dsn=settings.clickhouse_url.get_secret_value(),
        autogenerate_session_id=False,
        connect_timeout=5,
        send_receive_timeout=timeout_s,
        compress=False,
        show_clickhouse_errors=True,
        query_retries=0,
    )


def let_go_of_frames(error: BaseException) -> None:
    """Take this error, and those behind it, off the frames that raised them.

    The drivers' errors and their frames refer to each other, so that only a full garbage collection, minutes later,
    frees a block of 16 MB that could not be sent: a worker grew by 2.4 MB/s while ClickHouse was away.
    """
    known: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in known:
            known.add(id(one))
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]


class ClickHouse:
    """Inserts and queries over HTTP, for one event loop. Safe for concurrent use; nothing is retried here."""

    def __init__(self, url: str, timeout_s: float = 20.0, connect_timeout_s: float = 5.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._client: Any = None
        self._connecting = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings) -> ClickHouse:
        """The connection that the settings name."""
        return cls(settings.clickhouse_url.get_secret_value())

    async def insert(self, table: str, columns: Sequence[str], block: bytes, token: str = "") -> None:
        """Insert one Native block. With a token, a repetition of the same insert changes nothing; without, it is not
        deduplicated at all: an absolute value written again after a table was emptied must arrive.

        Raises:
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        settings: dict[str, Any] = {**INSERT_SETTINGS, "insert_deduplicate": 1 if token else 0}
        if token:
            settings["insert_deduplication_token"] = token
        try:
            client = await self._connected()
            if "deduplicate_insert" in client.server_settings:
                # From 26.2 on this one is in force instead, and on by default.
                settings["deduplicate_insert"] = "enable" if token else "disable"
            async with asyncio.timeout(self._timeout_s):
                await client.raw_insert(table, columns, block, settings=settings, fmt="Native")
        except Exception as error:
            let_go_of_frames(error)
            raise sort_clickhouse_error(error) from error
        finally:
            # The frame of a coroutine that failed lives on in the traceback of what it raised.
            del block

    async def rows(
        self, sql: str, parameters: dict[str, Any] | None = None, bytes_columns: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        """All rows of a query; String columns named in `bytes_columns` come as bytes.

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        formats = dict.fromkeys(bytes_columns, "bytes")
        try:
            client = await self._connected()
            result = await client.query(sql, parameters=parameters, column_formats=formats)
        except Exception as error:
            raise sort_clickhouse_error(error) from error
        return [tuple(row) for row in result.result_rows]

    async def command(self, sql: str) -> None:
        """Run a statement without a result (DDL).

        Raises:
            RetryableError, PermanentError: with a reason.
        """
        try:
            client = await self._connected()
            await client.command(sql)
        except Exception as error:
            raise sort_clickhouse_error(error) from error

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> Any:
        # Made on first use: creating a client asks the server for its version, and the server may be away at start.
        async with self._connecting:
            if self._client is None:
                # A third of a second, beside the broker's answers: a restart would wait for it.
                clickhouse_connect = await asyncio.to_thread(importlib.import_module, "clickhouse_connect")
                self._client = await clickhouse_connect.get_async_client(
                    dsn=self._url,
                    autogenerate_session_id=False,
                    connect_timeout=self._connect_timeout_s,
                    send_receive_timeout=self._timeout_s,
                    compress=False,
                    show_clickhouse_errors=True,
                    query_retries=0,
                )
            return self._client
