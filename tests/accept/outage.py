"""Item 4: ClickHouse, then Redis, is away for minutes at 5,000 events/s; memory, live values, alerts, and what is there after."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.accept.complete import stored, wait_complete
from tests.accept.result import Line, say, step
from tests.bench.latency import _entity_latencies, _window_latencies
from tests.bench.processes import peak_mb, rss_mb
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import Stack, Worker, wait_for
from tests.support.webhook import Webhook, start_webhook

RATE, PROBES = 5000, 10.0
AWAY_MIN, MEMORY_MB, LATENCY_MS, ALERT_S, COMPLETE_S = 5.0, 500.0, 1000.0, 10.0, 10.0
_WARM_UP_S, _AFTER_S = 20.0, 20.0
_FIRST_ALERT_VIDEO = 77_000_001
_ALERT_EVERY_S = 15.0


@dataclass
class _Seen:
    """What one outage showed; times in seconds of the monotonic clock."""

    peaks: dict[str, float] = field(default_factory=dict)
    p50_ms: float = float("nan")
    p99_ms: float = float("nan")
    alert_s: list[float] = field(default_factory=list)
    stored_s: list[float] = field(default_factory=list)
    complete_s: float = float("nan")
    archive_s: float = float("nan")
    wrong: list[str] = field(default_factory=list)
    sent: int = 0
    rate: float = 0.0
    gone: float = 0.0
    back: float = 0.0

    def __str__(self) -> str:
        memory = ", ".join(f"{role} {mb:.0f}" for role, mb in self.peaks.items())
        text = f"memory up to {memory} MB; {len(self.alert_s)} alerts after at most {_highest(self.alert_s):.1f} s"
        if not np.isnan(self.p50_ms):
            text += f"; live values p50 {self.p50_ms:.0f}, p99 {self.p99_ms:.0f} ms"
            text += f"; archive caught up {self.archive_s:.0f} s after the return"
        if self.stored_s:
            text += f"; in ClickHouse after at most {_highest(self.stored_s):.1f} s"
            text += f"; Redis complete after {self.complete_s:.1f} s"
        return f"{text}; {len(self.wrong)} wrong afterwards; {self.rate:,.0f} events/s"


def _highest(samples: list[float]) -> float:
    return max(samples, default=float("inf"))


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
        held = held and max(found.peaks.values()) < MEMORY_MB and _highest(found.alert_s) < ALERT_S
    held = held and seen["ClickHouse"].p99_ms < LATENCY_MS
    held = held and _highest(seen["Redis"].stored_s) < ALERT_S and seen["Redis"].complete_s < COMPLETE_S
    wanted = (
        f"{AWAY_MIN:g} min away at {RATE:,} events/s: each worker below {MEMORY_MB:g} MB, live values (p99 below "
        f"{LATENCY_MS:g} ms) and alerts (below {ALERT_S:g} s) as ever, nothing missing; Redis complete within {COMPLETE_S:g} s"
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
        sender, observer, out = _traffic(stack, folder, seconds, watch=sink == "ClickHouse")
        try:
            _watch(workers, _WARM_UP_S)
            _go(stack, sink)
            seen.gone = time.monotonic()
            _watch(workers, away_s, lambda: _alert(seen, stack, webhook, sink))
            _come_back(seen, stack, sink)
            if sender.wait(_AFTER_S + 120) or (observer is not None and observer.wait(120)):
                raise RuntimeError("the producer or the observer failed")
        finally:
            for process in (sender, observer):
                if process is not None:
                    process.kill()
                    process.wait()
        _latencies(seen, out)
        _judge(seen, stack, folder)
        seen.peaks = {worker.role: peak_mb(worker.process.pid) for worker in workers}
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


def _watch(workers: list[Worker], seconds: float, now_and_then: Callable[[], None] | None = None) -> None:
    """Wait while all live; do now and then what is asked, and say what memory they take."""
    begun = time.monotonic()
    due, said = begun + _ALERT_EVERY_S / 2, begun
    while (now := time.monotonic()) < begun + seconds:
        _alive(workers)
        if now_and_then is not None and now > due:
            due += _ALERT_EVERY_S
            now_and_then()
        if now - said > 30:
            said = now
            memory = ", ".join(f"{worker.role} {rss_mb(worker.process.pid):.0f}" for worker in workers)
            say(f"  {now - begun:.0f} s: {memory} MB, lag {_lag(workers[0]):,.0f} records")
        time.sleep(0.2)


def _alert(seen: _Seen, stack: Stack, webhook: Webhook, sink: str) -> None:
    """A new video gets too dear: how long until Slack has the message, and ClickHouse the total if it is there."""
    before = len(webhook.accepted)
    video = _FIRST_ALERT_VIDEO + len(seen.alert_s)
    costs = [cost_event(int(time.time() * 1000), "1.3000", video_id=video) for _ in range(2)]
    begun = time.monotonic()
    stack.produce((COST_EVENTS, str(video).encode(), encode(cost)) for cost in costs)
    try:
        webhook.wait_for(before + 1, 2 * ALERT_S)
    except TimeoutError:
        seen.wrong.append(f"no alert for video {video} within {2 * ALERT_S:g} s")
        seen.alert_s.append(2 * ALERT_S)
    else:
        seen.alert_s.append(time.monotonic() - begun)
    if sink == "Redis":
        total = f"SELECT count() FROM gold.entities FINAL WHERE entity = '{video}' AND sum_e4 = 26000"
        wait_for(f"video {video} in ClickHouse", lambda: stack.query(total) == [(1,)], 60.0, 0.1)
        seen.stored_s.append(time.monotonic() - begun)


def _go(stack: Stack, sink: str) -> None:
    if sink == "ClickHouse":
        stack.kill_clickhouse()
    else:
        stack.redis_server.kill()


def _come_back(seen: _Seen, stack: Stack, sink: str) -> None:
    """Start it again (Redis empty), and wait until Redis shows what ClickHouse held when it came back."""
    seen.back = time.monotonic()
    if sink == "ClickHouse":
        stack.restart_clickhouse()
        return
    due = stored(stack)
    stack.redis_server.start()
    seen.complete_s = wait_complete(stack, due, time.monotonic(), 180.0)
    say(f"  Redis shows all of {len(due):,} after {seen.complete_s:.1f} s")


def _latencies(seen: _Seen, out: tuple[Path, Path]) -> None:
    """Of the probes sent while ClickHouse was away."""
    sent = json.loads(out[0].read_text())
    seen.sent, seen.rate = sent["sent"], sent["sent"] / sent["seconds"]
    if not out[1].exists():
        return
    shown = json.loads(out[1].read_text())
    samples = _window_latencies([at for at in sent["windows"] if at < seen.back], shown["windows"], seen.gone)
    samples += _entity_latencies([at for at in sent["entities"] if at < seen.back], shown["entities"], seen.gone)
    seen.p50_ms, seen.p99_ms = (float(np.percentile(samples, p, method="inverted_cdf")) for p in (50, 99))


def _judge(seen: _Seen, stack: Stack, folder: Path) -> None:
    """The independent oracle over the whole log, until it finds nothing or the time is over."""
    report = folder / "oracle.json"
    command = [sys.executable, "-m", "tests.oracle", "--bootstrap", stack.broker.bootstrap, "--wait", "120"]
    command += ["--clickhouse", stack.clickhouse.url, "--redis", stack.redis_server.url, "--json", str(report)]
    everything = seen.sent + 2 * len(seen.alert_s)
    with step("waiting for the archive"):
        # What the archive has taken and not inserted yet is no lag.
        wait_for("all in bronze", lambda: _alive(stack.workers) and _archived(stack) >= everything, 600.0, 1.0)
        seen.archive_s = time.monotonic() - seen.back
    with step("the oracle reads the log"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if not report.exists():
        raise RuntimeError(f"the oracle could not judge: {done.stderr[-500:]}")
    for each in json.loads(report.read_text())["invariants"]:
        if each["violations"]:
            seen.wrong += [f"{each['invariant']} {each['name']}: {text}" for text in each["shown"] or ["?"]]


def _alive(workers: list[Worker]) -> bool:
    for worker in workers:
        assert worker.process.poll() is None, f"{worker.role} ended:\n{worker.output()[-2000:]}"
    return True


def _archived(stack: Stack) -> int:
    counts = [f"(SELECT count() FROM bronze.{table})" for table in ("user_events", "video_status", "cost_events")]
    return int(stack.query(f"SELECT {' + '.join(counts)}")[0][0])


def _lag(worker: Worker) -> float:
    return worker.metric("streamproc_lag_records")
