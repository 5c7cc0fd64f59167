"""Runs one question to ClickHouse for a command, with an error that says what to look at if nothing answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from streamproc.config import Settings
    from streamproc.sinks.clickhouse_client import ClickHouse

T = TypeVar("T")


def with_clickhouse(settings: Settings, act: Callable[[ClickHouse], Awaitable[T]]) -> T:
    """The result of `act`, with a connection that is closed afterwards.

    Raises:
        RetryableError, PermanentError: what ClickHouse or `act` has to say.
    """
    from streamproc.errors import RetryableError
    from streamproc.sinks.clickhouse_client import ClickHouse

    async def run() -> T:
        clickhouse = ClickHouse.of(settings)
        try:
            return await act(clickhouse)
        except RetryableError as error:
            if error.reason != "connection":
                raise
            raise RetryableError(
                "clickhouse_unavailable",
                f"{error}; is ClickHouse running, and is STREAMPROC_CLICKHOUSE_URL right?",
            ) from error
        finally:
            await clickhouse.close()

    return asyncio.run(run())
