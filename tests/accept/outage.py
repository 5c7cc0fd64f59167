"""Item 4: ClickHouse, then Redis, is away for minutes at 5,000 events/s; memory, live values, alerts, and what is there after."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.accept.result import Line, say, step
from tests.bench.latency import _entity_latencies, _window_latencies
from tests.bench.processes import rss_mb
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import Stack, Worker, wait_for
from tests.support.webhook import Webhook, start_webhook

RATE, PROBES = 5000, 10.0
AWAY_MIN, MEMORY_MB, LATENCY_MS, ALERT_S, COMPLETE_S = 5.0, 500.0, 1000.0, 10.0, 10.0
_WARM_UP_S, _AFTER_S = 20.0, 20.0
_FIRST_ALERT_VIDEO = 77_000_001


@dataclass
class _Seen:
    """What one outage showed."""

    peaks: dict[str, float] = field(default_factory=dict)
    p50_ms: float = float("nan")
    p99_ms: float = float("nan")
    alert_s: list[float] = field(default_factory=list)
    complete_s: float = float("nan")
    wrong: list[str] = field(default_factory=list)
    rate: float = 0.0

    def __str__(self) -> str:
        memory = ", ".join(f"{role} {mb:.0f}" for role, mb in self.peaks.items())
        text = f"memory up to {memory} MB; alerts after {max(self.alert_s, default=float('inf')):.1f} s"
        if not np.isnan(self.p50_ms):
            text += f"; live values p50 {self.p50_ms:.0f}, p99 {self.p99_ms:.0f} ms"
        if not np.isnan(self.complete_s):
            text += f"; Redis complete after {self.complete_s:.1f} s"
        return f"{text}; {len(self.wrong)} wrong afterwards; {self.rate:,.0f} events/s"


def outage_item(minutes: float = AWAY_MIN) -> Line:
    """Both outages, each on a stack of its own."""
    seen = {}
    for sink in ("ClickHouse", "Redis"):
        say(f"{sink} away for {minutes:g} minutes")
        with tempfile.TemporaryDirectory(prefix="streamproc-outage-") as folder, start_webhook() as webhook:
            seen[sink] = _outage(Path(folder), webhook, sink, minutes * 60)
        for text in seen[sink].wrong[:10]:
            say(f"  WRONG {text[:300]}")
        say(f"  {seen[sink]}")
    held = minutes >= AWAY_MIN
    for found in seen.values():
        held = held and not found.wrong and found.rate > 0.98 * RATE
        held = held and max(found.peaks.values()) < MEMORY_MB and max(found.alert_s, default=99.0) < ALERT_S
    held = held and seen["ClickHouse"].p99_ms < LATENCY_MS and seen["Redis"].complete_s < COMPLETE_S
    wanted = (
        f"{AWAY_MIN:g} min away at {RATE:,} events/s: each worker below {MEMORY_MB:g} MB, live values and alerts as ever, "
        f"nothing missing; Redis complete within {COMPLETE_S:g} s"
    )
    return Line(4, "sinks away", wanted, "; ".join(f"{sink}: {found}" for sink, found in seen.items()), held)


def _outage(folder: Path, webhook: Webhook, sink: str, away_s: float) -> _Seen:
    settings = {"session_timeout_s": "10", "snapshot_interval_s": "60", "log_level": "warning"}
    seen = _Seen()
    with Stack(folder / "stack", 8, slack_webhook_url=webhook.url, **settings) as stack:
        stack.create_topics()
        workers = [stack.worker(role, wait=False) for role in ("windows", "archive", "notify")]
        for worker in workers:
            worker.wait_ready(90.0)
        seconds = _WARM_UP_S + away_s + _AFTER_S
        sender, observer, out = _traffic(stack, folder, seconds, watch=sink != "Redis")
        try:
            _watch(seen, workers, _WARM_UP_S)
            _go(stack, sink)
            _watch(seen, workers, away_s, lambda: _alert(seen, stack, webhook))
            returned = _come_back(stack, sink)
            if sender.wait(_AFTER_S + 120) or (observer is not None and observer.wait(120)):
                raise RuntimeError("the producer or the observer failed")
        finally:
            for process in (sender, observer):
                if process is not None:
                    process.kill()
        _latencies(seen, out, away_s)
        if sink == "Redis":
            seen.complete_s = returned
        _watch(seen, workers, 0.0)
        _judge(seen, stack, folder)
    return seen


def _traffic(
    stack: Stack, folder: Path, seconds: float, watch: bool
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes] | None, tuple[Path, Path]]:
    sent, shown = folder / "sent.json", folder / "shown.json"
    look = [sys.executable, "-m", "tests.bench.observer", "--redis", stack.redis_server.url]
    look += ["--seconds", str(seconds + 10), "--out", str(shown)]
    send = [sys.executable, "-m", "tests.bench.traffic", "--broker", stack.broker.bootstrap, "--rate", str(RATE)]
    send += ["--seconds", str(seconds), "--probes", str(PROBES), "--out", str(sent)]
    observer = subprocess.Popen(look) if watch else None
    return subprocess.Popen(send), observer, (sent, shown)


def _watch(seen: _Seen, workers: list[Worker], seconds: float, now_and_then: object = None) -> None:
    """Sample memory; every 30 s do what is asked."""
    until, due = time.monotonic() + seconds, time.monotonic() + 10.0
    while True:
        for worker in workers:
            assert worker.process.poll() is None, f"{worker.role} ended:\n{worker.output()[-2000:]}"
            seen.peaks[worker.role] = max(seen.peaks.get(worker.role, 0.0), rss_mb(worker.process.pid))
        if callable(now_and_then) and time.monotonic() > due:
            due += 30.0
            now_and_then()
        if time.monotonic() >= until:
            return
        time.sleep(1.0)


def _alert(seen: _Seen, stack: Stack, webhook: Webhook) -> None:
    """A new video gets too dear: how long until Slack has the message."""
    before = len(webhook.accepted)
    video = _FIRST_ALERT_VIDEO + len(seen.alert_s)
    costs = [cost_event(int(time.time() * 1000), "1.3000", video_id=video) for _ in range(2)]
    begun = time.monotonic()
    stack.produce((COST_EVENTS, str(video).encode(), encode(cost)) for cost in costs)
    try:
        webhook.wait_for(before + 1, 2 * ALERT_S)
    except TimeoutError:
        seen.wrong.append(f"no alert for video {video} within {2 * ALERT_S:g} s")
    else:
        seen.alert_s.append(time.monotonic() - begun)


def _go(stack: Stack, sink: str) -> None:
    if sink == "ClickHouse":
        stack.kill_clickhouse()
    else:
        stack.redis_server.kill()


def _come_back(stack: Stack, sink: str) -> float:
    """Start it again (Redis empty); seconds until Redis shows the windows of ClickHouse, for Redis."""
    if sink == "ClickHouse":
        stack.restart_clickhouse()
        return float("nan")
    stack.redis_server.start()
    begun = time.monotonic()
    wait_for("Redis to be complete", lambda: not _missing(stack), 120.0, 0.5)
    return time.monotonic() - begun


def _missing(stack: Stack) -> list[str]:
    """Windows of ClickHouse of the last hour, and entities, that Redis does not show."""
    rows = stack.query(
        "SELECT DISTINCT metric, window, dimension, dimension_value FROM gold.windows FINAL "
        "WHERE window_start > now() - INTERVAL 1 DAY AND window != 'all'"
    )
    names = [f"sp:live:{m}:{w}" + (f":{d}={v}" if d else "") for m, w, d, v in rows]
    entities = stack.query("SELECT entity FROM gold.entities FINAL WHERE metric = 'cost_per_video_usd'")
    names += [f"sp:entity:cost_per_video_usd:{entity}" for (entity,) in entities]
    pipe = stack.redis.pipeline(transaction=False)
    for name in names:
        pipe.exists(name)
    return [name for name, there in zip(names, pipe.execute(), strict=True) if not there]


def _latencies(seen: _Seen, out: tuple[Path, Path], away_s: float) -> None:
    sent = json.loads(out[0].read_text())
    seen.rate = sent["sent"] / sent["seconds"]
    if not out[1].exists():
        return
    shown = json.loads(out[1].read_text())
    after, until = sent["begun"] + _WARM_UP_S, sent["begun"] + _WARM_UP_S + away_s
    probes = [at for at in sent["windows"] if at < until]
    samples = _window_latencies(probes, shown["windows"], after)
    samples += _entity_latencies([at for at in sent["entities"] if at < until], shown["entities"], after)
    seen.p50_ms, seen.p99_ms = (float(np.percentile(samples, p, method="inverted_cdf")) for p in (50, 99))


def _judge(seen: _Seen, stack: Stack, folder: Path) -> None:
    """The independent oracle over the whole log, until it finds nothing or the time is over."""
    report = folder / "oracle.json"
    command = [sys.executable, "-m", "tests.oracle", "--bootstrap", stack.broker.bootstrap]
    command += ["--clickhouse", stack.clickhouse.url, "--redis", stack.redis_server.url, "--json", str(report)]
    with step("waiting for the archive"):
        wait_for("no lag", lambda: all(_caught_up(w) for w in stack.workers), 600.0, 1.0)
    deadline = time.monotonic() + 300
    while True:
        with step("the oracle reads the log"):
            done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        if done.returncode == 0:
            return
        if done.returncode != 1 or time.monotonic() > deadline:
            seen.wrong += [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-500:]]
            return
        time.sleep(5.0)


def _caught_up(worker: Worker) -> bool:
    return worker.metric("streamproc_lag_records") == 0 and worker.ready()
