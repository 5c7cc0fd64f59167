"""What the embedded stack consists of: each part's command, environment, readiness, and order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from schemas.topics import CHANGES, SOURCES
from streamproc.config import Settings, load_settings
from streamproc.embedded.binaries import require_embedded
from streamproc.embedded.broker import broker_argv
from streamproc.embedded.child import module_argv, own_argv
from streamproc.embedded.datadir import require_free_port
from streamproc.embedded.health import http_ready, kafka_ready, redis_ready
from streamproc.embedded.journal import Journal
from streamproc.embedded.process import Part, run_job
from streamproc.embedded.redis import redis_argv

HOST = "127.0.0.1"
INTAKE = "intake"
SESSION_TIMEOUT_S = "4"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What `streamproc up` was asked for. Ports are on 127.0.0.1; `rate` is events a second of the demo traffic."""

    data_dir: Path
    demo: bool = True
    #: Redis Streams are named in the settings: a worker brings them in.
    intake: bool = False
    rate: float = 50.0
    workers: int = 1
    broker_port: int = 9092
    redis_port: int = 6379
    clickhouse_port: int = 8123
    metrics_port: int = 9464
    # The other parts need up to about 1.4 GB together, and a day at the default rate must stay below 2 GB in all.
    broker_memory_mb: int = 500

    @property
    def environment(self) -> dict[str, str]:
        """Settings of every child process."""
        return {
            "STREAMPROC_BROKER_URL": f"kafka://{HOST}:{self.broker_port}",
            "STREAMPROC_REDIS_URL": f"redis://{HOST}:{self.redis_port}/0",
            "STREAMPROC_CLICKHOUSE_URL": f"http://{HOST}:{self.clickhouse_port}",
            "STREAMPROC_DATA_DIR": str(self.data_dir),
            "STREAMPROC_METRICS_HOST": HOST,
            # The embedded broker lets a group wait for half of its session timeout before the first one may begin.
            "STREAMPROC_SESSION_TIMEOUT_S": os.environ.get("STREAMPROC_SESSION_TIMEOUT_S", SESSION_TIMEOUT_S),
        }

    @property
    def worker_names(self) -> list[tuple[str, str]]:
        """(name, role) of each worker, in the order of their metrics ports."""
        windows = [(f"windows-{number}", "windows") for number in range(1, self.workers + 1)]
        return [*windows, ("archive", "archive"), ("notify", "notify"), *([(INTAKE, INTAKE)] if self.intake else [])]


def stack_settings(options: StackOptions) -> Settings:
    """Settings as the children have them.

    Raises:
        ConfigError: another setting in the environment or the TOML file is not usable.
    """
    return load_settings(
        broker_url=f"kafka://{HOST}:{options.broker_port}",
        redis_url=f"redis://{HOST}:{options.redis_port}/0",
        clickhouse_url=f"http://{HOST}:{options.clickhouse_port}",
        data_dir=options.data_dir,
        metrics_host=HOST,
        create_topics=True,
    )


def check_ports(options: StackOptions) -> None:
    """Check every port before anything is started.

    Raises:
        ConfigError: one is taken; the message names it and the option that changes it.
    """
    require_free_port(options.broker_port, "the broker", "--broker-port")
    require_free_port(options.redis_port, "Redis", "--redis-port")
    require_free_port(options.clickhouse_port, "ClickHouse", "--clickhouse-port")
    for offset, (name, _role) in enumerate(options.worker_names):
        require_free_port(options.metrics_port + offset, f"the metrics of {name}", "--metrics-port")


def stack_parts(options: StackOptions, settings: Settings, journal: Journal) -> list[list[Part]]:
    """The parts in stages: servers, then workers, then what sends: the intake, demo traffic.

    Raises:
        ConfigError: a wheel of the `embedded` extra is missing.
    """
    workers = _workers(options)
    stages = [_servers(options, settings, journal), [part for part in workers if not part.produces]]
    if options.intake:
        stages.append([part for part in workers if part.produces])
    if options.demo:
        demo = own_argv("demo", "--rate", f"{options.rate:g}")
        stages.append([Part("demo", demo, options.environment, reads_broker=True, produces=True, stop_timeout_s=5.0)])
    return stages


def lag_series(settings: Settings) -> int:
    """Partitions that are read: events by a windows worker and by the archive, changes by the archive alone."""
    return (2 * len(SOURCES) + len(CHANGES)) * settings.partitions


def _servers(options: StackOptions, settings: Settings, journal: Journal) -> list[Part]:
    for module, wheel in (("chdb", "chdb"), ("uvicorn", "uvicorn"), ("starlette", "starlette")):
        require_embedded(module, wheel, "the embedded ClickHouse")
    from streamproc.kafka_topics import ensure_topics

    async def make_topics() -> None:
        await ensure_topics(settings, replace_empty=True)

    async def migrate() -> None:
        await run_job("migrate", own_argv("migrate"), options.environment, journal)

    data = options.data_dir
    clickhouse_argv = module_argv(
        "streamproc.embedded.clickhouse",
        *("--host", HOST, "--port", str(options.clickhouse_port), "--data-dir", str(data / "clickhouse")),
    )
    return [
        Part(
            "broker",
            broker_argv(options.broker_port, HOST),
            ready=partial(kafka_ready, HOST, options.broker_port),
            after_ready=make_topics,
            # Killed at once: it has nothing to save, and would wait for every client that is still connected.
            stop_timeout_s=0.0,
        ),
        Part(
            "redis",
            redis_argv(options.redis_port, data / "redis", HOST),
            ready=partial(redis_ready, HOST, options.redis_port),
        ),
        Part(
            "clickhouse",
            clickhouse_argv,
            ready=partial(http_ready, f"http://{HOST}:{options.clickhouse_port}/ping"),
            ready_timeout_s=60.0,
            after_ready=migrate,
            stop_timeout_s=30.0,
        ),
    ]


def _workers(options: StackOptions) -> list[Part]:
    parts = []
    for offset, (name, role) in enumerate(options.worker_names):
        port = options.metrics_port + offset
        parts.append(
            Part(
                name,
                own_argv("worker", "--role", role),
                {**options.environment, "STREAMPROC_METRICS_PORT": str(port)},
                ready=partial(http_ready, f"http://{HOST}:{port}/ready"),
                ready_timeout_s=60.0,
                stop_timeout_s=15.0,
                reads_broker=True,
                produces=role == INTAKE,
                metrics_port=port,
            )
        )
    return parts
