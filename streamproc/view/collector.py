"""Collects one snapshot a second from processes, workers' metrics and Redis, and from ClickHouse every few seconds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable, Iterator

import aiohttp

from schemas.topics import SOURCES
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.embedded.journal import OWN_NAME, Journal
from streamproc.embedded.metrics import LAG, Samples, scrape
from streamproc.embedded.process import rss_bytes
from streamproc.embedded.supervisor import Supervisor
from streamproc.view.counting import CounterSum
from streamproc.view.snapshot import AlertRow, ProcessRow, Snapshot
from streamproc.view.stores import ClickHouseReader, RedisReader

_CLICKHOUSE_EVERY_S = 5.0
_COUNTS_SQL = "SELECT count(), countIf(status != 'open') FROM gold.windows FINAL"
#: Counters that are summed over the window workers.
_COUNTERS = {
    "events": "streamproc_events_total",
    "dead": "streamproc_invalid_total",
    "duplicates": "streamproc_duplicates_total",
    "late": "streamproc_late_total",
    "published": "streamproc_published_values_total",
    "sink_errors": "streamproc_sink_errors_total",
}


def _where(workers: list[tuple[str, Samples]], name: str, label: str, value: float) -> set[str]:
    """Label values of the gauges that have that value at any worker."""
    return {
        labels.get(label, "")
        for _, samples in workers
        for labels, found in samples.by_name.get(name, ())
        if found == value
    }


def _firing(workers: list[tuple[str, Samples]]) -> int | None:
    """Number of firing alerts as the workers say it; None if none of them does."""
    known = [samples for _, samples in workers if "streamproc_alerts" in samples.by_name]
    return int(sum(samples.total("streamproc_alerts", state="firing") for samples in known)) if known else None


class Collector:
    """Knows the stack and remembers the last readings, so that counters become rates."""

    def __init__(
        self, settings: Settings, supervisor: Supervisor, journal: Journal, for_s: float | None = None
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._journal = journal
        self._for_s = for_s
        self._begun = monotonic()
        self._redis = RedisReader(settings)
        self.clickhouse = ClickHouseReader(settings)
        self._session: aiohttp.ClientSession | None = None
        self._sums = {name: CounterSum() for name in _COUNTERS}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._answered = False
        self._counts: list[int] | None = None
        self._firing: list[AlertRow] | None = None

    def begin(self) -> None:
        """Count the time from now: everything is ready."""
        self._begun = monotonic()

    async def close(self) -> None:
        """Close every connection."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._redis.close()
        await self.clickhouse.close()
        if self._session is not None:
            await self._session.close()

    async def snapshot(self, fresh: bool = False) -> Snapshot:
        """Look at everything once. `fresh` asks ClickHouse even if it was asked a moment ago."""
        workers, live, _ = await asyncio.gather(
            self._scrape(), self._redis.live_rows(), self._refresh_clickhouse(fresh)
        )
        now = monotonic()
        for name, total in self._sums.items():
            total.update(now, self._readings(workers, name))
        known = [samples for _, samples in workers if LAG in samples.by_name]
        sums = {name: int(total.total) for name, total in self._sums.items()}
        return Snapshot(
            uptime_s=now - self._begun,
            for_s=self._for_s,
            processes=self._processes(),
            events_per_s=self._sums["events"].per_second,
            published_per_s=self._sums["published"].per_second,
            events=sums["events"],
            lag=sum(samples.total(LAG) for samples in known) if known else None,
            dead_letters=sums["dead"],
            duplicates=sums["duplicates"],
            late=sums["late"],
            sink_errors=sums["sink_errors"],
            down=sorted({f"sink {name}" for name in _where(workers, "streamproc_sink_up", "sink", 0.0)}),
            paused=sorted(_where(workers, "streamproc_paused", "topic", 1.0)),
            redis_up=live is not None,
            clickhouse_up=self._counts is not None or not self._answered,
            live=live or [],
            window_rows=self._counts[0] if self._counts else None,
            final_rows=self._counts[1] if self._counts else None,
            alerts=self._firing or [],
            firing=_firing(workers),
            messages=list(self._journal.recent),
            recycles=self._supervisor.recycles,
        )

    async def _scrape(self) -> list[tuple[str, Samples]]:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        session = self._session
        workers = [keeper.part for keeper in self._supervisor.keepers if keeper.part.metrics_port]
        found = await asyncio.gather(*(scrape(session, part.metrics_port) for part in workers))
        return [(part.name, samples) for part, samples in zip(workers, found, strict=True)]

    def _readings(self, workers: list[tuple[str, Samples]], counter: str) -> Iterator[tuple[Hashable, float]]:
        """Readings of one counter; the archive reads the same events again, so only windows workers count them."""
        sources = {self._settings.topic(name) for name in SOURCES} | set(SOURCES)
        for worker, samples in workers:
            if counter != "sink_errors" and not worker.startswith("windows"):
                continue
            for labels, value in samples.by_name.get(_COUNTERS[counter], ()):
                # An event may be late for several sizes; it is shown once, by the smallest.
                if labels.get("topic") in (None, *sources) and labels.get("size") in (None, "1m"):
                    yield (worker, tuple(sorted(labels.items()))), value

    async def _ask_clickhouse(self) -> None:
        rows = await self.clickhouse.rows(_COUNTS_SQL)
        self._counts = [int(value) for value in rows[0]] if rows else None
        self._firing = await self.clickhouse.firing()
        self._answered = True

    async def _refresh_clickhouse(self, fresh: bool) -> None:
        """Ask in the background, so that a ClickHouse that answers slowly never holds up the view."""
        due = fresh or monotonic() - self._asked_at >= _CLICKHOUSE_EVERY_S
        if due and (self._asking is None or self._asking.done()):
            self._asked_at = monotonic()
            self._asking = asyncio.create_task(self._ask_clickhouse(), name="view-clickhouse")
        if fresh and self._asking is not None:
            await self._asking

    def _processes(self) -> list[ProcessRow]:
        parts = [
            ProcessRow(keeper.part.name, keeper.state.value, keeper.pid, keeper.rss_bytes, keeper.restarts)
            for keeper in self._supervisor.keepers
        ]
        return [*parts, ProcessRow(OWN_NAME, "ready", os.getpid(), rss_bytes(os.getpid()), 0)]
