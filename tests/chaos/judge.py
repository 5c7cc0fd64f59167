"""The judgement after a run: the oracle as a process of its own, and a second truth that the end-to-end tests use."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

import clickhouse_connect
import redis

from tests.chaos.load import Load
from tests.chaos.world import World
from tests.e2e.checks import check_archive, check_live, check_windows
from tests.support.stack import EVENT_TOPICS, Stack, read_all
from tests.support.truth import Record

_ORACLE_S: Final = 600.0


class View:
    """What the checks of the end-to-end tests ask of a stack, by the servers' own addresses."""

    windows = Stack.windows

    def __init__(self, world: World) -> None:
        self._world = world
        self.redis = redis.Redis.from_url(world.redis.url, decode_responses=True)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows from ClickHouse."""
        client = clickhouse_connect.get_client(dsn=self._world.clickhouse.url, autogenerate_session_id=False)
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def log_records(self) -> list[Record]:
        """Every record of the event topics."""
        return asyncio.run(read_all(self._world.bootstrap, EVENT_TOPICS))


async def judge(world: World, load: Load) -> tuple[dict[str, Any], list[str]]:
    """The oracle's report, and all that is wrong in words."""
    _write_slack(world)
    report, wrong = await _oracle(world, load)
    return report, wrong + await asyncio.to_thread(_second_truth, world)


def _write_slack(world: World) -> None:
    """What the fake Slack got and answered, as JSON lines."""
    with (world.directory / "slack.jsonl").open("w", encoding="utf-8") as out:
        for got in world.slack.requests:
            status = 0 if got.answer.fault else got.answer.status
            out.write(json.dumps({"at": got.at, "status": status, "body": got.body}) + "\n")


async def _oracle(world: World, load: Load) -> tuple[dict[str, Any], list[str]]:
    place = world.directory / "oracle.json"
    argv = [sys.executable, "-m", "tests.oracle", "--bootstrap", world.bootstrap, "--clickhouse", world.clickhouse.url]
    argv += ["--redis", world.redis.url, "--ledger", str(load.ledger), "--json", str(place)]
    with (world.directory / "oracle.log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out)
        try:
            code = await asyncio.wait_for(process.wait(), _ORACLE_S)
        finally:
            if process.returncode is None:
                process.kill()
    said = (world.directory / "oracle.log").read_text(errors="replace")
    report: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    return report, [] if code == 0 else [f"the oracle ended with {code}:\n{said[-4000:]}"]


def _second_truth(world: World) -> list[str]:
    view: Any = View(world)
    wrong: list[str] = []
    truth = None
    try:
        truth = check_windows(view, timeout_s=20)
    except AssertionError as error:
        wrong.append(f"I1, windows in ClickHouse: {error}")
    for name, check in (("Redis", lambda: check_live(view, truth)), ("archive", lambda: check_archive(view))):
        try:
            if truth is not None or name == "archive":
                check()
        except AssertionError as error:
            wrong.append(f"I1, {name}: {error}")
    view.redis.close()
    return wrong
