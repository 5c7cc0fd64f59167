"""F1, F2, W9, T1, T2: full disks, no descriptors, no memory, clocks that jump, odd time zones: every number stays equal."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checks import check_archive, check_live, check_windows
from tests.faults.fragile import FragileStack
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.faketime import Clock, libfaketime
from tests.support.limits import address_space, lowered, open_files
from tests.support.proxy import Mode
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.stack import Worker, wait_for

DAY = 86_400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 400 MB under ClickHouse's data."""
    with small_disk(tmp_path / "stack" / "clickhouse", 400) as mounted:
        yield mounted


def _started(stack: FragileStack, *roles: str) -> list[Worker]:
    workers = [stack.worker(role, wait=False) for role in roles]
    return [worker.wait_ready() for worker in workers]


def _dear(video: int) -> tuple[str, bytes, bytes]:
    """A cost that makes an alert."""
    event = cost_event(int(time.time() * 1000), "2.6000", video_id=video)
    return COST_EVENTS, str(video).encode(), encode(event)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill", [False, True], ids=["stays", "killed while full"])
def test_clickhouse_on_a_full_disk(disk: SmallDisk, running: FragileStack, kill: bool) -> None:
    """F1: inserts fail as a whole, live values and alerts go on, and all is there once there is room again."""
    windows, archive, _ = _started(running, "windows", "archive", "notify")
    running.produce(running.more(1500))
    check_windows(running)
    disk.fill()
    running.produce([*running.more(1500), _dear(990_003)])
    wait_for("windows' sink is away", lambda: windows.metric("streamproc_sink_up", sink="clickhouse") == 0, 40)
    wait_for("the archive is not ready", lambda: not archive.ready(), 40)
    alerts = running.dir / "alerts.log"
    wait_for("the alert", lambda: alerts.exists() and "990003" in alerts.read_text(), 30)
    if kill:
        running.kill_clickhouse()
    disk.free()
    if kill:
        running.restart_clickhouse()
    running.produce(running.more(500))
    truth = check_windows(running)
    check_live(running, truth)
    check_archive(running)
    wait_for("the archive is ready", archive.ready, 30)


@pytest.mark.slow
def test_a_worker_that_cannot_write_a_byte(running: FragileStack) -> None:
    """F1: log, temporary files and alerts.log: work goes on; the alert is kept and written down when there is room."""
    windows, archive, notify = workers = _started(running, "windows", "archive", "notify")
    running.produce(running.more(300))
    alerts = running.dir / "alerts.log"
    with lowered(windows.process.pid, resource.RLIMIT_FSIZE, 0), lowered(archive.process.pid, resource.RLIMIT_FSIZE, 0):
        with lowered(notify.process.pid, resource.RLIMIT_FSIZE, 0):
            running.produce([*running.more(1000), _dear(990_004)])
            check_live(running, check_windows(running))
            wait_for("the alert is known", lambda: _transitions(running, 990_004) == 1, 30)
            assert not alerts.exists() or "990004" not in alerts.read_text()
        wait_for("it is written down", lambda: alerts.exists() and "990004" in alerts.read_text(), 60)
    check_archive(running)
    assert [worker.process.poll() for worker in workers] == [None, None, None]
    lines = [json.loads(line) for line in alerts.read_text().splitlines()]
    assert len([line for line in lines if line["labels"] == {"video_id": "990004"}]) == 1


def test_a_start_without_room_for_temporary_files_says_so(tmp_path: Path) -> None:
    """F1: one clear line and exit code 1, for whoever starts it again."""
    # No file may get a byte: Python looks for another place when only TMPDIR is full, and that is as good.
    argv = ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", sys.executable, "-m", "streamproc.cli.main"]
    env = {**os.environ, "TMPDIR": str(tmp_path), "STREAMPROC_METRICS_PORT": "0"}
    done = subprocess.run([*argv, "worker", "--role", "archive"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"no directory can be made in {tmp_path}" in done.stderr and "Traceback" not in done.stderr


def _transitions(stack: FragileStack, video: int) -> int:
    sql = f"SELECT count() FROM gold.alerts FINAL WHERE kind = 'transition' AND labels['video_id'] = '{video}'"
    return int(stack.query(sql)[0][0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["windows", "archive", "notify"])
def test_no_file_descriptor_left(running: FragileStack, role: str) -> None:
    """F2: every connection to the sinks is cut and none can be opened; all goes on when there are descriptors again."""
    workers = _started(running, "windows", "archive", "notify")
    (starved,) = [worker for worker in workers if worker.role == role]
    running.produce(running.more(500))
    running.caught_up(workers[0], workers[1])
    pid = starved.process.pid
    with lowered(pid, resource.RLIMIT_NOFILE, open_files(pid) - 2):
        for proxy in (running.clickhouse_proxy, running.redis_proxy):
            proxy.set(Mode.REFUSE)
            proxy.set(Mode.PASS)
        running.produce([*running.more(1000), _dear(990_005)])
        began = time.monotonic()
        wait_for("6 s like that", lambda: time.monotonic() - began > 6, 10)
    if starved.process.poll() is not None:
        # It may end, with all that it has not acknowledged left to its successor.
        running.worker(role)
    check_live(running, check_windows(running))
    check_archive(running)
    wait_for("one alert", lambda: _transitions(running, 990_005) == 1, 30)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("megabytes", [0, 8, 40])
def test_no_memory_left(running: FragileStack, megabytes: int) -> None:
    """W9: a worker that gets no more memory may die; its successor loses nothing and does not die of the same record."""
    windows, archive = _started(running, "windows", "archive")
    running.produce(running.more(500))
    running.caught_up(windows, archive)
    for worker in (windows, archive):
        pid = worker.process.pid
        with lowered(pid, resource.RLIMIT_AS, address_space(pid) + (megabytes << 20)):
            running.produce(running.more(6000))
            began = time.monotonic()
            wait_for("5 s like that", lambda b=began: time.monotonic() - b > 5, 10)
        if worker.process.poll() is not None:
            running.worker(worker.role)
    check_live(running, check_windows(running))
    check_archive(running)
    assert len(running.workers) <= 4


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not libfaketime(), reason="libfaketime is not on this machine (PyPI libfaketime, Debian faketime)")
@pytest.mark.parametrize("first", [0, DAY, -DAY], ids=["right at first", "starts a day ahead", "starts a day behind"])
def test_a_clock_that_jumps(running: FragileStack, tmp_path: Path, first: int) -> None:
    """T1: by minutes and a day, both ways; windows, totals, archive and live values do not know about it."""
    clock = Clock(tmp_path / "clock")
    clock.jump(first)
    roles = ("windows", "archive", "notify")
    workers = [running.start(role, clock.env, slack_webhook_url=running.slack.url) for role in roles]
    for worker in workers:
        worker.wait_ready()
    videos = range(990_010, 990_016)
    for seconds, video in zip((300, -300, DAY, -DAY, 3600, 0), videos, strict=True):
        clock.jump(seconds)
        running.produce([*running.more(400), _dear(video)])
        check_live(running, check_windows(running))
    check_archive(running)
    wait_for("every alert once", lambda: [_transitions(running, video) for video in videos] == [1] * 6, 30)
    running.slack.wait_for(1)
    now = time.time()
    live = {key: running.redis.hgetall(key) for key in running.redis.scan_iter("sp:live:*", count=1000)}
    ahead = {key: at for key, at in live.items() if int(at["window_start"]) > now and at["count"] == "0"}
    assert live and not ahead
    assert [worker.process.poll() for worker in workers] == [None, None, None]
    assert not any(" -" in line and "seconds=" in line for worker in workers for line in worker.output().splitlines())


def test_time_zones_change_nothing(running: FragileStack) -> None:
    """T2: each process in another one, also such as do not exist."""
    zones = {"windows": "Australia/Lord_Howe", "archive": "America/St_Johns", "notify": ":nowhere"}
    workers = [running.start(role, {"TZ": zone}) for role, zone in zones.items()]
    for worker in workers:
        worker.wait_ready()
    running.produce([*running.more(800), _dear(990_006)])
    check_live(running, check_windows(running))
    check_archive(running)
    (recorded,) = running.query(
        "SELECT min(toUnixTimestamp64Milli(recorded_at)) FROM gold.alerts FINAL WHERE labels['video_id'] = '990006'"
    )
    assert abs(recorded[0] / 1000 - time.time()) < 600
