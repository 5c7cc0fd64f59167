"""Builds the world of a fault run: servers, proxies, topics, tables; and takes all of it down again."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.chaos.options import Options
from tests.chaos.servers import Brokers, ClickHouseServer, RedisServer
from tests.chaos.world import Journal, World
from tests.support.proxy import Mode
from tests.support.webhook import Webhook


@asynccontextmanager
async def built(options: Options) -> AsyncIterator[World]:
    """The world without workers; at the end all of it is stopped, by handle, in whatever state it is."""
    directory = options.directory
    brokers = await asyncio.to_thread(Brokers, options.broker, directory / "kafka", options.nodes)
    clickhouse = redis = slack = world = None
    try:
        clickhouse = await asyncio.to_thread(ClickHouseServer, directory / "clickhouse")
        redis = await asyncio.to_thread(RedisServer, directory)
        slack = await asyncio.to_thread(Webhook)
        journal = Journal(directory / "journal.jsonl")
        world = World(
            directory, options.broker, random.Random(options.seed), {}, brokers.nodes, clickhouse, redis, slack, journal
        )
        world.cluster, world.partitions = brokers.cluster, options.partitions
        world.env.update(_settings(world, options))
        await _prepare(world)
        yield world
    finally:
        if world is not None:
            for worker in world.workers:
                worker.resume()
                worker.kill()
            world.journal.close()
        for server in (clickhouse, redis, brokers):
            if server is not None:
                server.close()
        if slack is not None:
            slack.stop()


def _settings(world: World, options: Options) -> dict[str, str]:
    """Short times, so that minutes hold many sessions, snapshots and final windows."""
    return {
        "STREAMPROC_BROKER_URL": ";".join(f"kafka://{broker.bootstrap}" for broker in world.brokers),
        "STREAMPROC_REDIS_URL": f"redis://127.0.0.1:{world.redis.proxy.port}/0",
        "STREAMPROC_CLICKHOUSE_URL": f"http://127.0.0.1:{world.clickhouse.proxy.port}",
        "STREAMPROC_SLACK_WEBHOOK_URL": world.slack.url,
        "STREAMPROC_DATA_DIR": str(world.directory),
        "STREAMPROC_PARTITIONS": str(options.partitions),
        "STREAMPROC_REPLICATION_FACTOR": str(min(3, options.nodes)),
        "STREAMPROC_SESSION_TIMEOUT_S": "6",
        "STREAMPROC_SNAPSHOT_INTERVAL_S": "5",
        "STREAMPROC_IDLE_TIMEOUT_S": "15",
        "STREAMPROC_STUCK_AFTER_S": "30",
        "STREAMPROC_LOG_FORMAT": "json",
    }


async def _prepare(world: World) -> None:
    """Topics and tables, as an operator makes them before the workers start."""
    await ensure_topics(
        Settings(
            broker_url=world.env["STREAMPROC_BROKER_URL"],
            partitions=world.partitions,
            replication_factor=int(world.env["STREAMPROC_REPLICATION_FACTOR"]),
        ),
        timeout_s=60,
    )
    argv = [sys.executable, "-m", "streamproc.cli.main", "migrate"]
    done = await asyncio.to_thread(
        subprocess.run, argv, env={**os.environ, **world.env}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"migrate: {done.stdout}{done.stderr}"


async def heal(world: World) -> None:
    """Everything that faults may have left: processes go on, servers run, connections pass."""
    for process in (*world.workers, *world.brokers, world.clickhouse, world.redis):
        process.resume()
    world.clickhouse.proxy.clear()
    world.redis.proxy.clear()
    world.clickhouse.proxy.set(Mode.PASS)
    world.redis.proxy.set(Mode.PASS)
    down = [server for server in (*world.brokers, world.clickhouse, world.redis) if not server.pid]
    await asyncio.gather(*(server.start() for server in down))
    for worker in world.workers:
        if not worker.alive and not worker.wanted:
            with suppress(AssertionError):  # the supervisor was faster
                worker.start()
