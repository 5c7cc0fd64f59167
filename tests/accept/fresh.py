"""Item 1: a fresh clone in a fresh folder: `make run`, once more when warm, and `make test`."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.accept.plausible import Shown, look, problems
from tests.accept.result import Line, say
from tests.support.ports import free_port

FIRST_RUN_S, WARM_S = 300.0, 15.0
_ROOT = Path(__file__).resolve().parents[2]
_READY = "Where to look next"
_LOOK_S = 3.0
_TEST_LIMIT_S = 2400.0


class _Ports:
    """Free ports, so that the item runs beside anything else."""

    def __init__(self) -> None:
        self.broker, self.redis, self.clickhouse, self.metrics = (free_port() for _ in range(4))

    @property
    def arguments(self) -> str:
        """For make's ARGS."""
        return (
            f"--broker-port {self.broker} --redis-port {self.redis} --clickhouse-port {self.clickhouse} "
            f"--metrics-port {self.metrics}"
        )


class _Make:
    """One `make` in the clone, its output in a file."""

    def __init__(self, clone: Path, log: Path, *words: str) -> None:
        self.log = log
        self.begun = time.monotonic()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("STREAMPROC_", "VIRTUAL_ENV"))
        }
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["make", *words], cwd=clone, env=environment, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def text(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, limit_s: float) -> float:
        """Seconds until all parts are ready; infinite if they never are."""
        while self.process.poll() is None and self.elapsed < limit_s:
            if _READY in self.text():
                return self.elapsed
            time.sleep(0.1)
        return self.elapsed if _READY in self.text() else float("inf")


@contextmanager
def _make(clone: Path, log: Path, *words: str) -> Iterator[_Make]:
    """A running make; what is left of it at the end is stopped as Ctrl-C does."""
    running = _Make(clone, log, *words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def fresh_item(skip_make_test: bool) -> Line:
    """Clone the checkout's last commit and do what a newcomer does."""
    with tempfile.TemporaryDirectory(prefix="streamproc-fresh-") as folder:
        clone = Path(folder) / "streamproc"
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True, timeout=120)
        ports = _Ports()
        first_s, wrong = _first(clone, ports)
        warm_s, warm_code = _warm(clone, ports)
        if warm_code:
            wrong.append(f"the second run ended with {warm_code}")
        tested = "make test skipped" if skip_make_test else _test(clone)
    for text in wrong:
        say(f"  WRONG {text[:300]}")
    values = "all metrics plausible in both stores" if not wrong else f"{len(wrong)} problems: {wrong[0][:160]}"
    measured = f"first run {first_s:.0f} s with installation, second ready after {warm_s:.1f} s; {values}; {tested}"
    ok = not wrong and first_s <= FIRST_RUN_S and warm_s <= WARM_S and tested.startswith("make test passed")
    wanted = f"make run FOR=60s within {FIRST_RUN_S:.0f} s, exit 0, all metrics; ready again within {WARM_S:.0f} s; make test passes"
    return Line(1, "fresh clone", wanted, measured, ok)


def _first(clone: Path, ports: _Ports) -> tuple[float, list[str]]:
    """The first run, watched: what the stores showed last before its end is judged."""
    shown: Shown | None = None
    with _make(clone, clone.parent / "first.log", "run", "FOR=60s", f"ARGS={ports.arguments}") as run:
        say("make run FOR=60s in a fresh clone ...")
        ready_s = run.wait_ready(FIRST_RUN_S)
        say(f"  ready after {ready_s:.1f} s")
        while run.process.poll() is None and run.elapsed < FIRST_RUN_S + 60:
            shown = look(ports.clickhouse, ports.redis) or shown
            time.sleep(_LOOK_S)
        seconds, code, text = run.elapsed, run.process.poll(), run.text()
    say(f"  ended with {code} after {seconds:.1f} s")
    wrong = problems(shown) if shown is not None else ["the stores never answered"]
    if code != 0:
        wrong.append(f"make run ended with {code}: {text[-300:]}")
    if "Traceback" in text or re.search(r"\bdied\b", text):
        wrong.append("a part failed during the run")
    return seconds, wrong


def _warm(clone: Path, ports: _Ports) -> tuple[float, int | None]:
    """The second run: (seconds until all parts are ready, exit code)."""
    with _make(clone, clone.parent / "second.log", "run", "FOR=3s", f"ARGS={ports.arguments}") as run:
        say("make run again ...")
        ready_s = run.wait_ready(120.0)
        say(f"  ready after {ready_s:.1f} s")
        try:
            code: int | None = run.process.wait(90)
        except subprocess.TimeoutExpired:
            code = None
    return ready_s, code


def _test(clone: Path) -> str:
    say("make test ...")
    with _make(clone, clone.parent / "test.log", "test") as run:
        try:
            code = run.process.wait(_TEST_LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"make test did not end within {_TEST_LIMIT_S:.0f} s"
        last = (run.text().strip().splitlines() or [""])[-1].strip("= ")
        say(f"  {last}")
        return f"make test {'passed' if code == 0 else f'ended with {code}'} ({last})"
