"""Item 3: the only windows worker is killed at 10,000 events/s; how soon values and lag are right again."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas import topics
from tests.accept.result import Line, say, step
from tests.support.stack import Stack, Worker, wait_for

RATE = 10_000
PARTITIONS = 8
FIRST_VALUE_S, ZERO_LAG_S = 5.0, 20.0
#: Under load there is always something on its way; a fifth of a second of it counts as none.
_NO_LAG = RATE // 5
_WARM_UP_S = 40.0
_SOURCES = (topics.USER_EVENTS, topics.VIDEO_STATUS, topics.COST_EVENTS)
_LIVE = "sp:live:user_events:1d"


def restart_item() -> Line:
    """Both cases: traffic of now alone, and with a day of event time behind it."""
    measured, held = [], True
    for name, behind in (("now", False), ("24 h behind", True)):
        say(f"case: {name}")
        with tempfile.TemporaryDirectory(prefix="streamproc-restart-") as folder:
            first_s, zero_s, rate = _case(Path(folder), behind)
        measured.append(f"{name}: first value {first_s:.1f} s, lag zero {zero_s:.1f} s at {rate:,.0f} events/s")
        held = held and first_s < FIRST_VALUE_S and zero_s < ZERO_LAG_S and rate > 0.98 * RATE
    wanted = f"at {RATE:,} events/s: first new value within {FIRST_VALUE_S:g} s, lag zero within {ZERO_LAG_S:g} s"
    return Line(3, "kill -9 of the only worker", wanted, "; ".join(measured), held)


def _case(folder: Path, behind: bool) -> tuple[float, float, float]:
    """(seconds from the restart to the first new live value, to no lag, events/s that were sent)."""
    with Stack(
        folder / "stack", PARTITIONS, session_timeout_s="10", snapshot_interval_s="60", log_level="warning"
    ) as stack:
        stack.create_topics()
        workers = {role: stack.worker(role, wait=False) for role in ("windows", "archive", "notify")}
        for worker in workers.values():
            worker.wait_ready(90.0)
        if behind:
            with step("producing 24 h of event time at full speed"):
                _a_day(stack, folder / "ledger.jsonl")
                wait_for("the day to be folded", lambda: _lag(workers["windows"]) == 0, 300.0, 0.5)
        out = folder / "sent.json"
        with _producer(stack, out, _WARM_UP_S + 2 * ZERO_LAG_S + 20):
            time.sleep(_WARM_UP_S)
            wait_for("the worker to keep up", lambda: _lag(workers["windows"]) <= _NO_LAG, 60.0, 0.2)
            found = _kill_and_watch(stack, workers["windows"])
        sent = json.loads(out.read_text())
    return *found, sent["sent"] / sent["seconds"]


def _a_day(stack: Stack, ledger: Path) -> None:
    command = [sys.executable, "-m", "tests.oracle.producer", "--bootstrap", stack.broker.bootstrap]
    command += ["--rate", "20000", "--seconds", "60", "--seed", "5", "--behind-hours", "24", "--ledger", str(ledger)]
    subprocess.run(command, check=True, timeout=300)


@contextmanager
def _producer(stack: Stack, out: Path, seconds: float) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.traffic", "--broker", stack.broker.bootstrap, "--rate", str(RATE)]
    process = subprocess.Popen([*command, "--seconds", str(seconds), "--out", str(out)])
    try:
        yield
        if process.wait(seconds + 60):
            raise RuntimeError(f"the producer ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _kill_and_watch(stack: Stack, worker: Worker) -> tuple[float, float]:
    worker.kill()
    before = _count(stack)
    begun = time.monotonic()
    again = stack.worker("windows", wait=False, port=worker.port)
    wait_for("a new live value", lambda: _count(stack) > before, 120.0, 0.02)
    first_s = time.monotonic() - begun
    wait_for("no lag", lambda: again.ready() and _lag(again) <= _NO_LAG, 180.0, 0.1)
    return first_s, time.monotonic() - begun


def _count(stack: Stack) -> int:
    return int(stack.redis.hget(_LIVE, "count") or 0)


def _lag(worker: Worker) -> float:
    """Records after the last one applied; a worker that has not seen the end of every partition lags without bound."""
    known = [worker.samples("streamproc_lag_records", topic=topic) for topic in _SOURCES]
    if any(len(each) < PARTITIONS for each in known):
        return float("inf")
    return sum(map(sum, known))
