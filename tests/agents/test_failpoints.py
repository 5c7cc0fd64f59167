"""Failpoints: they end, block or break the process where they say, cost nothing unset, and accept no unknown name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import timeit
from pathlib import Path

import pytest

from streamproc import failpoints
from streamproc.errors import ConfigError

PRODUCT = Path(failpoints.__file__).parent


@pytest.fixture(autouse=True)
def unarmed():
    """No test leaves a point armed."""
    yield
    failpoints.arm({})


def test_every_point_is_passed_at_one_place() -> None:
    """A point that no code passes would make a test wait for ever; an unknown one would never strike."""
    passed = [
        name
        for folder in (PRODUCT, PRODUCT.parent / "batch")
        for path in folder.rglob("*.py")
        for name in re.findall(r'\bpassing\("(\w+)"\)', path.read_text(encoding="utf-8"))
    ]
    assert sorted(passed) == sorted(failpoints.POINTS)


def test_the_process_ends_at_the_nth_passing() -> None:
    """As a crash: no cleanup, no output that was still buffered, and a code that says why."""
    code = (
        "from streamproc import failpoints\n"
        "failpoints.arm({'STREAMPROC_CRASH_AT': 'before_flush:3'})\n"
        "for i in range(5):\n"
        "    print(i, flush=True)\n"
        "    failpoints.passing('after_decode')\n"
        "    failpoints.passing('before_flush')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == failpoints.EXIT_CODE
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["0", "1", "2"]


def test_an_error_is_raised_once() -> None:
    """At the second passing only."""
    failpoints.arm({"STREAMPROC_RAISE_AT": "after_decode:2"})
    failpoints.passing("after_decode")
    with pytest.raises(RuntimeError, match="after_decode"):
        failpoints.passing("after_decode")
    failpoints.passing("after_decode")


def test_the_thread_is_kept_busy() -> None:
    """For the seconds that were asked for."""
    failpoints.arm({"STREAMPROC_BLOCK_AT": "after_decode:1:0.2"})
    began = time.monotonic()
    failpoints.passing("after_decode")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    "setting, text",
    [
        ("STREAMPROC_CRASH_AT", "nowhere"),
        ("STREAMPROC_CRASH_AT", "after_decode:0"),
        ("STREAMPROC_CRASH_AT", "after_decode:soon"),
        ("STREAMPROC_CRASH_AT", "after_decode:1:2"),
        ("STREAMPROC_BLOCK_AT", "after_decode:1:1e9"),
        ("STREAMPROC_RAISE_AT", ":2"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_allowed(setting: str, text: str) -> None:
    """Setting, value and what is allowed."""
    with pytest.raises(ConfigError, match=re.escape(f"{setting} = {text!r}: allowed")):
        failpoints.arm({setting: text})


def test_a_worker_with_an_unknown_point_does_not_start() -> None:
    """Exit code 2, as for any wrong configuration, and the list of points."""
    done = subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", "windows"],
        env={**os.environ, "STREAMPROC_CRASH_AT": "nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert all(point in done.stderr for point in failpoints.POINTS)


def test_unarmed_points_cost_nothing() -> None:
    """Less than a microsecond each (about 0.04 are measured); they are passed per batch and flush, not per record."""
    rounds = 20_000
    best = min(timeit.repeat(lambda: failpoints.passing("after_decode"), number=rounds, repeat=7))
    assert best / rounds < 1e-6
