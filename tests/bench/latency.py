"""Latency from produce to the value in Redis at a steady rate, by a producer process and an observer process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.processes import cpu_of, peak_mb, used_since
from tests.bench.published import require_alive
from tests.bench.throughput import PARTITIONS, servers
from tests.support.stack import Stack

_DRAIN_S = 8.0


@dataclass(frozen=True)
class Latency:
    """`windows_ms`, `entities_ms`: latency of every probe after the warm-up; never seen counts as infinite."""

    rate: float
    sent: int
    behind_s: float
    seconds: float
    windows_ms: list[float]
    entities_ms: list[float]
    worker_cpu_s: dict[str, float]
    server_cpu_s: dict[str, float]
    peak_mb: dict[str, float]

    def percentiles(self, what: str = "both") -> tuple[float, float]:
        """(p50, p99) in ms, by nearest rank."""
        samples = {"windows": self.windows_ms, "entities": self.entities_ms}.get(
            what, self.windows_ms + self.entities_ms
        )
        return tuple(float(np.percentile(samples, p, method="inverted_cdf")) for p in (50, 99))  # type: ignore[return-value]


def measure_latency(
    rate: float = 2000.0, seconds: float = 30.0, warm_up_s: float = 10.0, probes: float = 25.0
) -> Latency:
    """All roles on real servers, `rate` events/s for warm-up and `seconds`; probes are among them."""
    with tempfile.TemporaryDirectory(prefix="streamproc-latency-") as folder:
        place = Path(folder)
        settings = {"session_timeout_s": "10", "snapshot_interval_s": "60", "log_level": "warning"}
        with Stack(place / "stack", PARTITIONS, **settings) as stack:
            stack.create_topics()
            workers = [stack.worker(role, wait=False) for role in ("windows", "archive", "notify")]
            for worker in workers:
                worker.wait_ready(60.0)
            pids = {worker.role: worker.process.pid for worker in workers}
            before, servers_before = cpu_of(pids), cpu_of(servers(stack))
            sent, seen = _send_and_watch(stack, place, rate, seconds + warm_up_s, probes)
            require_alive(stack)
            cpu, server_cpu = used_since(before, pids), used_since(servers_before, servers(stack))
            peaks = {role: peak_mb(pid) for role, pid in pids.items()}
    after = sent["begun"] + warm_up_s
    return Latency(
        rate,
        sent["sent"],
        sent["behind_s"],
        sent["seconds"],
        _window_latencies(sent["windows"], seen["windows"], after),
        _entity_latencies(sent["entities"], seen["entities"], after),
        cpu,
        server_cpu,
        peaks,
    )


def _send_and_watch(stack: Stack, place: Path, rate: float, seconds: float, probes: float) -> tuple[Any, Any]:
    seen_at, sent_at = place / "seen.json", place / "sent.json"
    watch = [sys.executable, "-m", "tests.bench.observer", "--redis", stack.redis_server.url]
    watch += ["--seconds", str(seconds + _DRAIN_S), "--out", str(seen_at)]
    send = [sys.executable, "-m", "tests.bench.traffic", "--broker", stack.broker.bootstrap, "--rate", str(rate)]
    send += ["--seconds", str(seconds), "--probes", str(probes), "--out", str(sent_at)]
    observer = subprocess.Popen(watch)
    try:
        subprocess.run(send, check=True, timeout=seconds + 60)
        if observer.wait(seconds + _DRAIN_S + 60):
            raise RuntimeError(f"the observer ended with {observer.returncode}")
    finally:
        observer.kill()
        observer.wait()
    return json.loads(sent_at.read_text()), json.loads(seen_at.read_text())


def _window_latencies(sent: list[float], seen: list[list[float]], after: float) -> list[float]:
    """The k-th probe is in the value from the first look that showed a count of k or more."""
    latencies, place = [], 0
    for number, at in enumerate(sent, start=1):
        while place < len(seen) and seen[place][0] < number:
            place += 1
        if at >= after:
            latencies.append(1000 * (seen[place][1] - at) if place < len(seen) else float("inf"))
    return latencies


def _entity_latencies(sent: list[float], seen: dict[str, float], after: float) -> list[float]:
    return [1000 * (seen.get(str(number), float("inf")) - at) for number, at in enumerate(sent) if at >= after]
