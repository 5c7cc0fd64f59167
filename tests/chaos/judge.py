"""The judgement after a run: the oracle, as a process of its own that shares no code with the product."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.chaos.world import World

_ORACLE_S: Final = 600.0
#: What is true at rest must be true at once, or after the last writes of sinks.
_PATIENCE_S: Final = 20.0
#: The most that a worker's memory may be (MB).
_CAP_MB: Final = 400


async def judge(world: World) -> tuple[dict[str, Any], list[str]]:
    """The oracle's report, and all that is wrong in words."""
    place, said = world.directory / "oracle.json", world.directory / "oracle.txt"
    argv = _command(world, str(_write_slack(world)), str(place))
    with said.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out)
        try:
            code = await asyncio.wait_for(process.wait(), _ORACLE_S)
        finally:
            if process.returncode is None:
                process.kill()
    if code == 2 or not place.exists():
        return {}, [f"the oracle could not judge (exit code {code}): {said.read_text(errors='replace')[-2000:]}"]
    report: dict[str, Any] = json.loads(place.read_text())
    return report, [
        f"{each['invariant']} {each['name']}: {each['violations']:,} wrong, e.g. {'; '.join(each['shown'][:3])}"
        for each in report["invariants"]
        if each["violations"]
    ]


def ledgers(world: World) -> list[Path]:
    """Every ledger that producers of this run kept."""
    return sorted(world.directory.glob("ledger*.jsonl"))


def _command(world: World, slack: str, report: str) -> list[str]:
    argv = [sys.executable, "-m", "tests.oracle", "--bootstrap", world.bootstrap, "--clickhouse", world.clickhouse.url]
    argv += ["--redis", world.redis.url, "--only-ledger", "--dead-letters-again"]
    # Faults that send events keep ledgers of their own.
    argv += [word for path in ledgers(world) for word in ("--ledger", str(path))]
    argv += ["--slack", slack, "--samples", str(world.directory / "samples.jsonl"), "--rss-cap-mb", str(_CAP_MB)]
    argv += ["--wait", str(_PATIENCE_S), "--json", report, "--memory-mb", "1000"]
    argv += [word for path in world.saved_logs for word in ("--earlier", str(path))]
    argv += [word for place in world.lost for word in ("--lost", place)]
    for log in sorted({worker.log for worker in world.workers}):
        argv += ["--logs", str(log)]
    return argv


def _write_slack(world: World) -> Any:
    """What the fake Slack received and answered, as JSON lines."""
    place = world.directory / "slack.jsonl"
    with place.open("w", encoding="utf-8") as out:
        for got in world.slack.requests:
            status = got.answer.status if not got.answer.fault else 0
            out.write(json.dumps({"at": got.at, "status": status, "ids": got.ids}) + "\n")
    return place


async def save_log(world: World) -> None:
    """Keep the event logs as they are now, for the oracle: they are about to be lost or cut.

    Raises:
        AssertionError: they could not be read.
    """
    path = world.directory / f"log-{len(world.saved_logs) + 1}.parquet"
    argv = [sys.executable, "-m", "tests.oracle", "--bootstrap", world.bootstrap, "--save-log", str(path)]
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, f"the log was not saved: {said.decode(errors='replace')[-1000:]}"
    world.saved_logs.insert(0, path)
