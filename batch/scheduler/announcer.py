"""Sends transitions to the `alerts` topic, each once a process, for as long as it takes; jobs never wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from schemas.alerts import AlertTransition
from streamproc.agents.alerting import alert_message
from streamproc.agents.publisher import Publisher
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.telemetry import TRANSITIONS

log = get_logger("job-alerts")

#: A process that starts tells again what the books of the last week lead to: a repeat has the same id and is not sent to people twice.
TOLD_AGAIN_MS: Final = 7 * 86_400_000
_RETRY_S: Final = 5.0


class Announcer:
    """`offer` what should be known; `run` in a task of its own sends it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._waiting: asyncio.Queue[AlertTransition] = asyncio.Queue()

    def offer(self, items: Iterable[AlertTransition], now_ms: int) -> None:
        """Take those that were not offered yet and are not older than a week."""
        for item in items:
            if item.transition_id not in self._known and item.recorded_at_ms > now_ms - TOLD_AGAIN_MS:
                self._known.add(item.transition_id)
                self._waiting.put_nowait(item)

    async def run(self) -> None:
        """Send in order, for ever; a broker that is away is waited for."""
        publisher = await self._connected()
        try:
            while True:
                item = await self._waiting.get()
                try:
                    await publisher.send_all([alert_message(self._settings, item)])
                except PermanentError as error:
                    log.error("an alert cannot be recorded", rule=item.rule, labels=item.labels, error=str(error))
                    continue
                TRANSITIONS.labels(item.rule, item.state.value).inc()
                log.warning("alert", rule=item.rule, state=item.state.value, summary=item.summary)
        finally:
            await publisher.stop()

    async def _connected(self) -> Publisher:
        while True:
            publisher = Publisher(self._settings.bootstrap_servers)
            try:
                await publisher.start()
                return publisher
            except RetryableError as error:
                log.warning("alerts of jobs wait for the broker", waiting=self._waiting.qsize(), error=str(error))
                await asyncio.sleep(_RETRY_S)
