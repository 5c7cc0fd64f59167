"""The bounded hand-over to one sink: only which windows changed is kept, their newest value is read when it is written.

A sink that is down therefore costs one key per window, whatever the rate; it slows nothing but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from streamproc.clock import monotonic
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.telemetry import SINK_ERRORS, SINK_RETRIES, SINK_SECONDS, SINK_UP, SINK_WRITES, WAITING

log = get_logger("sink")

K = TypeVar("K", bound=Hashable)

_MAX_PAUSE_S: Final = 5.0
_BLOCKED_PAUSE_S: Final = 15.0
#: While a sink is down, each try builds so many values: enough to see whether it is back, and no stall for what goes on.
_TRIED_KEYS: Final = 100
#: The share of time for writes while more waits than one of them takes: a restart has to merge again what is not stored.
_BUSY_SHARE: Final = 0.5


class Handover(Generic[K]):
    """Keys that wait for one sink, and the task that writes them.

    `write(keys)` builds what is newest for these keys and writes it; it raises RetryableError or PermanentError.
    `on_confirmed(keys)` is told what was written. Writes begin at least `min_interval_s` apart, and take at most
    `max_share` of the time, so that a sink with a high fixed cost gets fewer and larger ones when it is busy; but after
    `max_interval_s` the next one begins, however long one took, and with a whole write waiting it is half of the time.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[K]], Awaitable[None]],
        *,
        max_keys: int,
        min_interval_s: float,
        max_share: float = 1.0,
        max_interval_s: float = 10.0,
        on_confirmed: Callable[[list[K]], None] | None = None,
    ) -> None:
        self.name = name
        self.pending: dict[K, None] = {}
        self.inflight: dict[K, None] = {}
        self.up = True
        self.blocked = ""
        self._write = write
        self._max_keys = max_keys
        self._min_interval_s = min_interval_s
        self._max_share = max_share
        self._max_interval_s = max_interval_s
        self._on_confirmed = on_confirmed
        self._wake = asyncio.Event()
        self._retry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __contains__(self, key: K) -> bool:
        return key in self.pending or key in self.inflight

    def __len__(self) -> int:
        return len(self.pending) + len(self.inflight)

    def add(self, key: K) -> None:
        """This key's value changed."""
        self.pending[key] = None
        self._idle.clear()
        self._wake.set()

    def drop(self, key: K) -> None:
        """Its owner brings this key's value to the sink some other way."""
        self.pending.pop(key, None)

    def retry(self) -> None:
        """The sink is said to be back: a pause after a failure ends now."""
        self._retry.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing waits any more; False if that took too long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return self._idle.is_set()

    async def run(self) -> None:
        """Write for ever; ends by cancellation only. Nothing is dropped."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.pending:
                began = monotonic()
                failures = 0 if await self._write_some() else failures + 1
                WAITING.labels(self.name).set(len(self))
                spent = monotonic() - began
                if failures:
                    await self._pause(failures)
                else:
                    share = self._max_share if len(self.pending) < self._max_keys else max(self._max_share, _BUSY_SHARE)
                    interval = min(max(self._min_interval_s, spent / share), self._max_interval_s)
                    await asyncio.sleep(max(0.0, interval - spent))
            self._idle.set()

    async def _pause(self, failures: int) -> None:
        """Backoff with jitter, unless somebody says that the sink is back."""
        longest = _BLOCKED_PAUSE_S if self.blocked else _MAX_PAUSE_S
        pause = min(longest, 0.1 * 2 ** min(failures, 10)) * (0.5 + random.random() / 2)
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._retry.wait(), pause)

    async def _write_some(self) -> bool:
        most = self._max_keys if self.up else min(self._max_keys, _TRIED_KEYS)
        keys = [key for key, _ in zip(self.pending, range(most), strict=False)]
        for key in keys:
            del self.pending[key]
            self.inflight[key] = None
        began = monotonic()
        try:
            await self._write(keys)
        except (RetryableError, PermanentError) as error:
            self._failed(error)
            # What changed meanwhile is newest anyway; the rest goes back.
            self.pending = {**self.inflight, **self.pending}
            return False
        finally:
            self.inflight = {}
        SINK_SECONDS.labels(self.name).observe(monotonic() - began)
        SINK_WRITES.labels(self.name).inc(len(keys))
        if not self.up:
            log.warning("sink is back", sink=self.name)
        self.up, self.blocked = True, ""
        SINK_UP.labels(self.name).set(1)
        if self._on_confirmed is not None:
            self._on_confirmed(keys)
        return True

    def _failed(self, error: RetryableError | PermanentError) -> None:
        kind = "permanent" if isinstance(error, PermanentError) else "retryable"
        SINK_ERRORS.labels(self.name, kind, error.reason).inc()
        SINK_RETRIES.labels(self.name).inc()
        blocked = error.reason if kind == "permanent" else ""
        if self.up or blocked != self.blocked:
            log.error("sink does not take writes; values are held back", sink=self.name, kind=kind, error=str(error))
        self.up, self.blocked = False, blocked
        SINK_UP.labels(self.name).set(0)
