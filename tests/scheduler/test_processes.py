"""Schedulers as processes: killed, paused and woken, with bodies at work in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.scheduler.bodies import UNITS
from tests.scheduler.support import Servers, stop_process
from tests.support.patience import PATIENCE
from tests.support.stack import wait_for

pytestmark = pytest.mark.timeout(240)

LEASE_S = 6.0 * PATIENCE


def _pids(servers: Servers, least: int = 1) -> list[int]:
    """Processes that wrote units, in order of their first; each has written at least so many."""
    return [
        row[0]
        for row in servers.rows(
            f"SELECT pid FROM default.effects GROUP BY pid HAVING count() >= {least} ORDER BY min(at)"
        )
    ]


def _at_work(servers: Servers, processes: int = 1) -> int:
    """Wait until that many processes have written units; the last of them."""
    found = wait_for("units", lambda: pids if len(pids := _pids(servers, 2)) >= processes else None, 60 + LEASE_S)
    return int(found[-1])


def _done(servers: Servers) -> None:
    wait_for("the run's end", lambda: any(row[3] == "done" for row in servers.books()), 90)


def _owner(servers: Servers, *processes: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The scheduler that runs the job, by the books."""
    who = servers.rows("SELECT who FROM meta.job_runs FINAL WHERE status = 'running' ORDER BY attempt DESC LIMIT 1")[0][
        0
    ]
    return next(process for process in processes if f":{process.pid}:" in who)


def _began(servers: Servers, attempt: int) -> float:
    row = servers.rows(
        f"SELECT toUnixTimestamp64Milli(started_at) / 1000 FROM meta.job_runs FINAL WHERE attempt = {attempt}"
    )
    return float(row[0][0])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_scheduler_is_followed_within_the_lease(clean: Servers) -> None:
    """kill -9 in the middle of a run: its job's process ends too, the other begins within the lease, one run is done."""
    one, two = clean.sidecar("units", LEASE_S), clean.sidecar("units", LEASE_S)
    pid = _at_work(clean)
    owner = _owner(clean, one, two)
    owner.kill()
    killed = time.time()
    owner.wait()
    wait_for("the end of its job", lambda: not _is_alive(pid), 10)
    _at_work(clean, 2)
    took = _began(clean, 2) - killed
    print(f"taken over after {took:.2f} s of a lease of {LEASE_S:g} s")
    assert took <= LEASE_S, f"taken over after {took:.2f} s\n{clean.output()}"
    _done(clean)
    assert [row[2:] for row in clean.books()] == [(1, "lost"), (2, "done")]
    assert clean.rows("SELECT rows, quota_units FROM meta.job_runs FINAL WHERE status = 'done'") == [(UNITS, 3)]
    assert clean.rows("SELECT uniqExact(unit) FROM default.effects") == [(UNITS,)]
    stop_process(two if owner is one else one)


def test_a_paused_scheduler_that_wakes_writes_nothing(clean: Servers) -> None:
    """SIGSTOP of the scheduler and of its job beyond the lease, SIGCONT: neither rows nor books change by them any more."""
    one, two = clean.sidecar("units", LEASE_S), clean.sidecar("units", LEASE_S)
    pid = _at_work(clean)
    owner = _owner(clean, one, two)
    os.kill(owner.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)  # what was on its way to ClickHouse
    before = clean.rows(f"SELECT count() FROM default.effects WHERE pid = {pid}")
    _at_work(clean, 2)
    # The job first: nobody but itself can end it then.
    os.kill(pid, signal.SIGCONT)
    wait_for("the end of the woken job", lambda: not _is_alive(pid), 60)
    assert "ending a job: nothing may be written after this" in clean.output()
    os.kill(owner.pid, signal.SIGCONT)
    _done(clean)
    wait_for("the woken scheduler's word", lambda: "a run was left to another" in clean.output(), 60)
    assert clean.rows(f"SELECT count() FROM default.effects WHERE pid = {pid}") == before
    assert [row[2:] for row in clean.books()] == [(1, "lost"), (2, "done")]
    # It is a scheduler like any other again.
    assert owner.poll() is None
    for process in (one, two):
        stop_process(process)


def test_a_job_ends_when_its_scheduler_is_paused(clean: Servers) -> None:
    """Only the scheduler sleeps: its job sees the lease run out and ends before another begins."""
    one = clean.sidecar("units", LEASE_S)
    pid = _at_work(clean)
    two = clean.sidecar("units", LEASE_S)
    os.kill(one.pid, signal.SIGSTOP)
    _at_work(clean, 2)
    last, first = clean.rows(f"SELECT maxIf(at, pid = {pid}), minIf(at, pid != {pid}) FROM default.effects")[0]
    assert last < first
    os.kill(one.pid, signal.SIGCONT)
    _done(clean)
    assert [row[2:] for row in clean.books()] == [(1, "lost"), (2, "done")]
    for process in (one, two):
        stop_process(process)


@pytest.mark.parametrize("point", ["before_job", "after_job", "after_job_record"])
def test_a_crash_between_done_and_recorded(clean: Servers, point: str) -> None:
    """The next one finds by the books what is left: the run counts once, and its units are there."""
    one = clean.sidecar("units", LEASE_S, STREAMPROC_CRASH_AT=point)
    assert one.wait(90) == 86, clean.output()
    two = clean.sidecar("units", LEASE_S)
    _done(clean)
    time.sleep(1.5 * LEASE_S)
    expected = [(1, "done")] if point == "after_job_record" else [(1, "lost"), (2, "done")]
    assert [row[2:] for row in clean.books()] == expected
    runs = {"before_job": 1, "after_job": 2, "after_job_record": 1}[point]
    assert clean.rows("SELECT uniqExact(unit), count() FROM default.effects") == [(UNITS, runs * UNITS)]
    stop_process(two)


def test_a_graceful_stop_hands_over_at_once(clean: Servers) -> None:
    """SIGTERM: the run is noted as lost and its lease given back; the other does not wait for the end of a long lease."""
    one, two = clean.sidecar("units", 60.0), clean.sidecar("units", 60.0)
    _at_work(clean)
    owner = _owner(clean, one, two)
    stopped = time.time()
    stop_process(owner)
    _at_work(clean, 2)
    assert _began(clean, 2) - stopped < 20.0
    _done(clean)
    stop_process(two if owner is one else one)


def test_nothing_that_computes_blocks_the_lease(clean: Servers) -> None:
    """A body that needs the interpreter for 6 s with a lease of 3 s: renewed in time all the while, one attempt."""
    lease_s = 3.0 * PATIENCE
    one = clean.sidecar("busy", lease_s)
    _done(clean)
    assert [row[2:] for row in clean.books()] == [(1, "done")]
    port = re.findall(r"metrics_port=(\d+)", clean.output())[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    gap = float(re.findall(r"^streamproc_job_lease_gap_seconds (\S+)$", page, re.MULTILINE)[0])
    assert 0 < gap < 0.7 * lease_s
    assert 'streamproc_job_runs_total{job="busy",status="done"} 1.0' in page
    stop_process(one)


def test_a_job_that_takes_too_long_is_ended(clean: Servers) -> None:
    """Its timeout is 2 s: the process is gone, the books say why."""
    one = clean.sidecar("endless", LEASE_S)
    wait_for("the failure", lambda: any(row[3] == "failed" for row in clean.books()), 60)
    assert clean.rows("SELECT error FROM meta.job_runs FINAL") == [("timeout: ended after 2 s",)]
    stop_process(one)
