"""Reads the Prometheus metrics of workers, for the live view and for knowing when they have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from schemas.topics import CHANGES, SOURCES
from streamproc.clock import monotonic

LAG = "streamproc_lag_records"
#: Counters that grow while a worker is at work.
_TAKEN = ("streamproc_events_total", "streamproc_archived_records_total", "streamproc_merged_cells_total")
QUIET_S = 2.2
_TIMEOUT = aiohttp.ClientTimeout(total=1.0)


@dataclass
class Samples:
    """Samples of one worker by name: (labels, value). `available` is False if it did not answer."""

    available: bool = False
    by_name: dict[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """Sum over the samples of that name whose labels have these values; 0 if there are none."""
        return sum(
            value
            for found, value in self.by_name.get(name, ())
            if all(found.get(label) == wanted for label, wanted in labels.items())
        )

    def grouped(self, name: str, label: str) -> dict[str, float]:
        """Sums by the value of one label."""
        sums: dict[str, float] = {}
        for labels, value in self.by_name.get(name, ()):
            key = labels.get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums


def parse(text: str) -> Samples:
    """Samples of the Prometheus text format; a text that is none counts as not available."""
    samples = Samples(available=True)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.by_name.setdefault(sample.name, []).append((sample.labels, sample.value))
    except ValueError:
        return Samples()
    return samples


async def scrape(session: aiohttp.ClientSession, port: int) -> Samples:
    """Metrics of the worker on 127.0.0.1:port."""
    try:
        async with session.get(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT) as response:
            return parse(await response.text()) if response.status == 200 else Samples()
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
        return Samples()


async def scrape_all(ports: Iterable[int]) -> list[Samples]:
    """Metrics of several workers, in the order of their ports."""
    async with aiohttp.ClientSession() as session:
        return list(await asyncio.gather(*(scrape(session, port) for port in ports)))


async def wait_caught_up(ports: Iterable[int], timeout_s: float, lag_series: int = 1, poll_s: float = 0.25) -> bool:
    """Wait until the workers have read everything. False: not in time.

    They have when at least `lag_series` partitions of event and change topics are known, none lags, and nothing was taken for
    `QUIET_S`, which is longer than the workers need to measure their lag anew.
    """
    wanted = list(ports)
    deadline = monotonic() + timeout_s
    quiet_since, taken_before = monotonic(), -1.0
    while monotonic() < deadline:
        found = await scrape_all(wanted)
        labelled = [labels for samples in found for labels, _ in samples.by_name.get(LAG, ())]
        known = sum(labels.get("topic") in SOURCES or labels.get("topic") in CHANGES for labels in labelled)
        lag = sum(samples.total(LAG) for samples in found)
        taken = sum(samples.total(name) for samples in found for name in _TAKEN)
        if known < lag_series or lag > 0 or taken != taken_before:
            quiet_since, taken_before = monotonic(), taken
        elif monotonic() - quiet_since >= QUIET_S:
            return True
        await asyncio.sleep(poll_s)
    return False
