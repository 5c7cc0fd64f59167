"""The live view: counters that start anew, values as they lie in a real Redis, renderings, and commands to paste."""

from __future__ import annotations

import asyncio
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from aiohttp import web
from rich.console import Console

from schemas.redis_keys import live
from streamproc.config import Settings
from streamproc.embedded.journal import Journal
from streamproc.embedded.metrics import parse, wait_caught_up
from streamproc.embedded.stack import StackOptions
from streamproc.embedded.supervisor import Supervisor
from streamproc.view.collector import Collector
from streamproc.view.counting import CounterSum
from streamproc.view.hints import hints, redis_command
from streamproc.view.render import render, status_line
from streamproc.view.snapshot import AlertRow, ProcessRow, Snapshot, shown_number
from tests.support.ports import free_port
from tests.support.redis import RedisHandle, start_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisHandle]:
    handle = start_redis(tmp_path_factory.mktemp("redis"))
    with redis.Redis.from_url(handle.url) as client:
        minute = {"value": "41", "count": "90", "final_value": "1234", "final_window_start": "1795379520"}
        client.hset(live("sp:", "active_users", "1m"), mapping=minute)
        client.hset(live("sp:", "active_users", "1d"), mapping={"value": "98765", "count": "100000"})
        client.hset(live("sp:", "dau", "1d"), mapping={"value": "98765"})
        client.hset(live("sp:", "total_cost_usd", "1d"), mapping={"value": "12.3456"})
        client.hset(live("sp:", "api_response_time_p95_ms", "1m"), mapping={"value": ""})
    yield handle
    handle.stop()


def take(redis_url: str) -> Snapshot:
    settings = Settings.model_validate({"redis_url": redis_url, "clickhouse_url": f"http://127.0.0.1:{free_port()}"})
    journal = Journal(None, io.StringIO())
    journal.say("a message")

    async def scenario() -> Snapshot:
        collector = Collector(settings, Supervisor([], journal), journal)
        try:
            return await collector.snapshot(fresh=True)
        finally:
            await collector.close()

    return asyncio.run(scenario())


def drawn(shot: Snapshot, width: int, height: int) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(render(shot, width, height, "links here"))
    return console.export_text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_view_shows_what_redis_holds(server: RedisHandle, width: int, height: int) -> None:
    shot = take(server.url)
    assert shot.redis_up and not shot.clickhouse_up
    assert "ClickHouse is away" in drawn(shot, width, height)
    shot.clickhouse_up = True
    shot.processes = [ProcessRow("windows-1", "ready", 4711, 123_000_000, 2)]
    shot.alerts = [AlertRow("cost_per_video", "critical", "video 7 costs 3.10 USD", "2026-01-01 00:00:00")]
    text = drawn(shot, width, height)
    for wanted in ("98,765", "12.35", "CRITICAL cost_per_video", "windows-1", "active_users"):
        assert wanted in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_the_view_says_that_redis_is_away() -> None:
    shot = take(f"redis://127.0.0.1:{free_port()}/0")
    assert "Redis is away" in drawn(shot, 120, 40)
    assert "REDIS IS AWAY" in status_line(shot)


def test_the_status_line_has_the_main_figures(server: RedisHandle) -> None:
    shot = take(server.url)
    shot.for_s, shot.uptime_s, shot.events_per_s, shot.lag = 60.0, 12.0, 49.6, 3.0
    line = status_line(shot)
    for wanted in ("12s of 1m00s", "in 50/s", "lag 3", "dau 98,765", "cost today 12.35 USD", "p95 – ms"):
        assert wanted in line


def test_counters_that_start_anew_lose_nothing() -> None:
    total = CounterSum(horizon_s=5.0)
    total.update(0.0, [("a", 100.0), ("b", 10.0)])
    total.update(1.0, [("a", 150.0), ("b", 10.0)])
    assert (total.total, total.per_second) == (160.0, 50.0)
    total.update(2.0, [("a", 30.0)])
    assert total.total == 190.0, "a restarted worker's 30 events are new ones"
    for second in range(3, 20):
        total.update(float(second), [("a", 30.0)])
    assert total.per_second == 0.0


def test_metrics_text_is_summed_by_labels() -> None:
    samples = parse(
        "# TYPE streamproc_lag_records gauge\n"
        'streamproc_lag_records{topic="t",partition="0"} 3\nstreamproc_lag_records{topic="t",partition="1"} 4\n'
        "# TYPE streamproc_events counter\n"
        'streamproc_events_total{topic="t"} 7\nstreamproc_events_created{topic="t"} 1e9\n'
    )
    assert samples.available
    assert samples.total("streamproc_lag_records") == 7
    assert samples.total("streamproc_lag_records", partition="1") == 4
    assert samples.total("streamproc_events_total") == 7
    assert not parse("<html>no metrics {{{").available


def test_the_redis_command_works_when_pasted(server: RedisHandle) -> None:
    command = redis_command(StackOptions(Path(), redis_port=server.port))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert "98765" in done.stdout


def test_commands_name_the_ports_of_this_stack() -> None:
    other = StackOptions(Path("data"), broker_port=19092, redis_port=16379, clickhouse_port=18123)
    text = "\n".join(command for _, command in hints(other))
    for wanted in ("STREAMPROC_BROKER_URL=kafka://127.0.0.1:19092", "port=16379", "127.0.0.1:18123"):
        assert wanted in text
    assert "STREAMPROC_" not in "\n".join(command for _, command in hints(StackOptions(Path("data"))))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("", "–"), ("12", "12"), ("12.0", "12"), ("1234567.891", "1,234,567.89"), ("odd", "odd"), ("0", "0")],
)
def test_numbers(raw: str, shown: str) -> None:
    assert shown_number(raw) == shown


class _Worker:
    """Metrics of a worker whose figures a test sets."""

    def __init__(self) -> None:
        self.text = ""
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.text)


async def _serving(worker: _Worker) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_get("/metrics", worker.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, int(runner.addresses[0][1])


def _figures(lag: int, events: int, partitions: int = 2) -> str:
    lags = "".join(
        f'streamproc_lag_records{{topic="user-events",partition="{number}"}} {lag}\n' for number in range(partitions)
    )
    return f'{lags}# TYPE streamproc_events counter\nstreamproc_events_total{{topic="user-events"}} {events}\n'


@pytest.mark.parametrize(
    ("figures", "caught_up"),
    [(_figures(0, 5), True), (_figures(1, 5), False), (_figures(0, 5, partitions=1), False), ("", False)],
    ids=["all read", "a lag", "a partition that nobody reads yet", "no figures"],
)
def test_workers_have_caught_up_only_when_all_partitions_say_so(
    figures: str, caught_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamproc.embedded.metrics.QUIET_S", 0.1)

    async def scenario() -> bool:
        worker = _Worker()
        worker.text = figures
        runner, port = await _serving(worker)
        try:
            return await wait_caught_up([port], 0.6, lag_series=2, poll_s=0.02)
        finally:
            await runner.cleanup()

    assert asyncio.run(scenario()) is caught_up


def test_workers_that_are_still_taking_events_have_not_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamproc.embedded.metrics.QUIET_S", 0.1)

    class Busy(_Worker):
        async def answer(self, request: web.Request) -> web.Response:
            self.text = _figures(0, self.asked)
            return await super().answer(request)

    async def scenario() -> bool:
        runner, port = await _serving(Busy())
        try:
            return await wait_caught_up([port], 0.5, lag_series=2, poll_s=0.02)
        finally:
            await runner.cleanup()

    assert not asyncio.run(scenario())
