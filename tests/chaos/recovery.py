"""When the service has recovered: every worker ready, own progress at the end of every log, nothing held back."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp

from tests.chaos.watch import KEEPS_UP_S, Watch
from tests.chaos.worker import Samples
from tests.chaos.world import World

#: The promise (I8): after the last fault, lag zero and everything ready within this time.
PROMISED_S: Final = 60.0
#: What is still not well after this long never will be; the run ends.
HOPELESS_S: Final = 180.0
_POLL_S: Final = 0.3
#: The archive gives ClickHouse rest after each insert, the longer the slower it is: on a busy machine ten seconds and more.
_ARCHIVED_S: Final = 20.0
_SAY_S: Final = 2.0


class NotRecovered(AssertionError):
    """The service did not come back; the message says what is still wrong."""


def _sum(samples: Samples, name: str, **labels: str) -> float:
    found = samples.get(name, [])
    return sum(value for have, value in found if all(have.get(key) == wanted for key, wanted in labels.items()))


async def unwell(world: World, watch: Watch, rate: float) -> list[str]:
    """What keeps the service from counting as recovered under load, in words."""
    wrong = [f"{topic}/{partition} is {gap} records behind" for (topic, partition), gap in watch.behind().items()]
    if wrong:
        return wrong
    for worker in world.workers:
        if not worker.wanted:
            continue
        if not worker.alive or worker.paused:
            return [f"{worker.name} does not run"]
        status, text = await worker.get("ready")
        if status != 200:
            return [f"{worker.name} is not ready: {text.strip() or 'no answer'}"]
        if worker.role == "archive":
            lag = _sum(await worker.metrics(), "streamproc_lag_records")
            if lag > rate * KEEPS_UP_S + 10:
                return [f"{worker.name} is {lag:.0f} records behind"]
    # Its own word is not enough: an archive that had not seen another log said that it was not behind.
    try:
        behind = watch.behind(_ARCHIVED_S, await archived(world))
    except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
        return [f"ClickHouse does not say what is archived: {error!r}"]
    return [f"bronze lacks the last {gap} records of {topic}/{partition}" for (topic, partition), gap in behind.items()]


async def archived(world: World) -> dict[tuple[str, int], int]:
    """(topic, partition) -> offset of the newest record in bronze."""
    tables = ("user_events", "video_status", "cost_events")
    each = [
        f"SELECT toString(topic), partition, argMax(offset, (kafka_timestamp, offset)) FROM bronze.{t} GROUP BY 1, 2"
        for t in tables
    ]
    lines = (await world.ask(" UNION ALL ".join(each) + " FORMAT TSV")).splitlines()
    return {(topic, int(partition)): int(offset) for topic, partition, offset in (line.split("\t") for line in lines)}


async def restless(world: World, watch: Watch) -> list[str]:
    """What still moves or waits after the producers have stopped, in words."""
    wrong = [f"{topic}/{partition} is {gap} records behind" for (topic, partition), gap in watch.behind(0.0).items()]
    for worker in world.workers:
        if not worker.alive or not await worker.ready():
            wrong.append(f"{worker.name} is not ready")
            continue
        samples = await worker.metrics()
        for name in ("streamproc_lag_records", "streamproc_sink_waiting"):
            if left := _sum(samples, name):
                wrong.append(f"{worker.name}: {name} is {left:.0f}")
    if watch.undelivered:
        wrong.append(f"{len(watch.undelivered)} alert transitions have no delivery record")
    return wrong


async def recovered(world: World, watch: Watch, rate: float) -> float:
    """Wait until the service keeps up again; the seconds that it took.

    Raises:
        NotRecovered: not within `HOPELESS_S`.
    """
    began = said = time.monotonic()
    while wrong := await unwell(world, watch, rate):
        now = time.monotonic()
        if now - began > HOPELESS_S:
            raise NotRecovered(f"not recovered after {HOPELESS_S:.0f} s: {'; '.join(wrong[:5])}")
        if now - said > _SAY_S:
            said = now
            world.log({"event": "unwell", "for_s": round(now - began), "why": wrong[:12]})
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - began


async def at_rest(world: World, watch: Watch, steady_s: float, timeout_s: float = HOPELESS_S) -> None:
    """Wait until nothing has moved for `steady_s`.

    Raises:
        NotRecovered: not within `timeout_s`.
    """
    began = steady_since = said = time.monotonic()
    while time.monotonic() - steady_since < steady_s:
        wrong = await restless(world, watch)
        now = time.monotonic()
        if wrong:
            steady_since = now
        if wrong and now - said > _SAY_S:
            said = now
            world.log({"event": "restless", "for_s": round(now - began), "why": wrong[:12]})
        if now - began > timeout_s + steady_s:
            raise NotRecovered(f"not at rest after {timeout_s:.0f} s: {'; '.join(wrong[:5])}")
        await asyncio.sleep(_POLL_S)
