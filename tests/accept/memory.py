"""Item 6: the memory of workers at 5,000 events/s over 20 minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.accept.result import Line, say
from tests.bench.processes import peak_mb, rss_mb
from tests.support.stack import Stack

RATE = 5000
MINUTES, FROM_MINUTE = 20.0, 12.0
GROWTH_MB, PEAK_MB = 20.0, 300.0
_SAMPLE_S = 5.0


def memory_item(minutes: float = MINUTES) -> Line:
    """Sample resident memory; growth is the highest minute (median) after minute 12 above minute 12."""
    with tempfile.TemporaryDirectory(prefix="streamproc-memory-") as folder:
        settings = {"session_timeout_s": "10", "snapshot_interval_s": "60", "log_level": "warning"}
        with Stack(Path(folder) / "stack", 8, **settings) as stack:
            samples, peaks, rate, left = _run(stack, minutes, Path(folder) / "sent.json")
    start = FROM_MINUTE * 60 * min(1.0, minutes / MINUTES)
    growth = {role: _growth(points, start) for role, points in samples.items()}
    parts = [f"{role} {growth[role]:+.1f} MB to a peak of {peaks[role]:.0f} MB" for role in samples]
    measured = f"{'; '.join(parts)}; in {minutes:g} min from minute {start / 60:g}; {left:,.0f} events left over"
    held = all(growth[role] < GROWTH_MB and peaks[role] < PEAK_MB for role in samples)
    kept_up = rate > 0.98 * RATE and left < 10 * RATE
    if not kept_up:
        measured += f"; {rate:,.0f} events/s were sent: the rate was not held"
    if minutes < MINUTES:
        measured += " (a shortened run)"
    wanted = f"growth below {GROWTH_MB:g} MB from minute {FROM_MINUTE:g} to {MINUTES:g}, peak below {PEAK_MB:g} MB"
    return Line(6, f"memory at {RATE:,} events/s", wanted, measured, held and kept_up and minutes >= MINUTES)


def _growth(points: list[tuple[float, float]], start: float) -> float:
    """Highest median of a minute from `start` on, above the median of the minute that ends there."""
    before = [mb for at, mb in points if start - 60 <= at <= start]
    minutes: dict[int, list[float]] = {}
    for at, mb in points:
        if at > start:
            minutes.setdefault(int((at - start) // 60), []).append(mb)
    if not before or not minutes:
        return float("inf")
    return max(median(values) for values in minutes.values()) - median(before)


def _run(
    stack: Stack, minutes: float, out: Path
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float], float, float]:
    stack.create_topics()
    workers = [stack.worker(role, wait=False) for role in ("windows", "archive", "notify")]
    for worker in workers:
        worker.wait_ready(90.0)
    pids = {worker.role: worker.process.pid for worker in workers}
    servers = {"broker": stack.broker.pid, "clickhouse": stack.clickhouse.pid}
    samples: dict[str, list[tuple[float, float]]] = {role: [] for role in pids}
    command = [sys.executable, "-m", "tests.bench.traffic", "--broker", stack.broker.bootstrap, "--rate", str(RATE)]
    command += ["--seconds", str(minutes * 60), "--out", str(out)]
    begun = said = time.monotonic()
    producer = subprocess.Popen(command)
    try:
        while producer.poll() is None:
            now = time.monotonic()
            for role, pid in pids.items():
                samples[role].append((now - begun, rss_mb(pid)))
            if now - said >= 60:
                said = now
                shown = ", ".join(f"{name} {rss_mb(pid):.0f}" for name, pid in (pids | servers).items())
                say(f"  minute {(now - begun) / 60:.0f}: {shown} MB")
            time.sleep(_SAMPLE_S)
        if producer.returncode:
            raise RuntimeError(f"the producer ended with {producer.returncode}")
    finally:
        producer.kill()
        producer.wait()
    sent = json.loads(out.read_text())
    left = sent["sent"] - workers[0].metric("streamproc_events_total")
    return samples, {role: peak_mb(pid) for role, pid in pids.items()}, sent["sent"] / sent["seconds"], left
