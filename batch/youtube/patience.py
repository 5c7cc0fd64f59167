"""Waits for a ClickHouse that is away: a page in hand has cost quota and is not let go of lightly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streamproc.clock import monotonic
from streamproc.errors import RetryableError

T = TypeVar("T")


def backoff_s(base_s: float, attempt: int, most_s: float = 60.0) -> float:
    """Full jitter: between half and all of base · 2^attempt, `attempt` from 0."""
    return min(most_s, base_s * 2.0**attempt) * random.uniform(0.5, 1.0)


class Patience:
    """Calls again what failed for a reason that passes, for `seconds` at the most."""

    def __init__(self, base_s: float, seconds: float = 300.0) -> None:
        self._base_s = base_s
        self._seconds = seconds

    async def __call__(self, act: Callable[[], Awaitable[T]]) -> T:
        """The result.

        Raises:
            RetryableError: it failed for all that time.
            PermanentError: at once.
        """
        deadline, attempt = monotonic() + self._seconds, 0
        while True:
            try:
                return await act()
            except RetryableError:
                if monotonic() >= deadline:
                    raise
            await asyncio.sleep(backoff_s(self._base_s, attempt, 10.0))
            attempt += 1
