"""The broker is away: whoever starts says so in one clear line, and whoever runs does not fill the log with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.support.ports import free_port
from tests.support.stack import Stack, wait_for


def _worker(role: str, port: int, **settings: str) -> subprocess.CompletedProcess[str]:
    """A worker that is expected to end by itself."""
    env = {**os.environ, "STREAMPROC_BROKER_URL": f"kafka://127.0.0.1:{port}", "STREAMPROC_METRICS_PORT": "0"}
    env |= {f"STREAMPROC_{name.upper()}": value for name, value in settings.items()}
    argv = [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", role]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("create", ["true", "false"])
def test_a_start_without_a_broker_ends_with_a_clear_error(create: str) -> None:
    """Whether it may create topics or not: exit code 1, the address, what to look at, and no traceback."""
    port = free_port()
    done = _worker("windows", port, create_topics=create)
    assert done.returncode == 1
    assert f"no Kafka broker answers at 127.0.0.1:{port}" in done.stderr
    assert "STREAMPROC_BROKER_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_broker_that_is_away_fills_no_log_and_its_end_ends_the_waiting(running: Stack) -> None:
    """15 s without a broker: at most two lines a second of each worker; then all goes on, unasked."""
    workers = [running.worker(role, wait=False) for role in ("windows", "archive", "notify")]
    for worker in workers:
        worker.wait_ready()
    running.broker.kill()
    lines = {worker: worker.output().count("\n") for worker in workers}
    began = time.monotonic()
    wait_for("15 s without a broker", lambda: time.monotonic() - began > 15, 20)
    said = {worker.role: worker.output().count("\n") - lines[worker] for worker in workers}
    assert all(worker.process.poll() is None for worker in workers)
    assert all(0 < count <= 30 for count in said.values()), said
    running.broker.start()
    running.create_topics()
    for worker in workers:
        wait_for(f"{worker.role} takes part again", worker.ready, 60)
