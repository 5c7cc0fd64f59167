"""The scheduler as a process: clients, health endpoints and a graceful end, as a worker's."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Sequence

from batch.scheduler.announcer import Announcer
from batch.scheduler.books import Books
from batch.scheduler.launch import Launcher, Processes
from batch.scheduler.lease import Leases
from batch.scheduler.runner import Desk
from batch.scheduler.sidecar import Sidecar
from batch.scheduler.table import JOBS, Job
from streamproc.agents.health import HealthServer
from streamproc.agents.tasks import Tasks
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.logs import get_logger
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.redis_live import connect

log = get_logger("scheduler")


def process_name() -> str:
    """This process in books and leases: host, process id, and a word that no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class SchedulerRole:
    """What `HealthServer` and the process ask of a role (agents/worker_role.py)."""

    name = "scheduler"

    def __init__(
        self,
        settings: Settings,
        jobs: Sequence[Job] = JOBS,
        launcher: Launcher | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.tasks = Tasks()
        self.ready = False
        self.clickhouse = ClickHouse.of(settings)
        self.redis = connect(settings)
        who = process_name()
        # Shorter in Redis than promised: who takes over has to look first.
        lease_s = settings.scheduler_lease_s
        self.leases = Leases(self.redis, settings.redis_prefix, who, 0.7 * lease_s)
        self.books = Books(self.clickhouse)
        self.desk = Desk(self.books, self.leases, launcher or Processes(), who, clock)
        self.announcer = Announcer(settings)
        self.sidecar = Sidecar(self.desk, jobs, self.announcer, min(5.0, 0.1 * lease_s))

    async def start(self) -> None:
        """Begin; servers that are away are waited for."""
        self.tasks.start("alerts of jobs", self.announcer.run())
        self.tasks.start("scheduler", self.sidecar.run())
        self.ready = True

    async def stop(self) -> None:
        """End what is at work, so that another takes over at once."""
        await self.tasks.within(10.0, "ending jobs", self.sidecar.stop())
        await self.tasks.stop()
        await self.close()

    async def close(self) -> None:
        """Close the clients."""
        await self.clickhouse.close()
        await self.redis.aclose()

    def problem(self) -> str:
        """Why nothing can be scheduled now, '' if all is well."""
        return self.sidecar.problem

    def stuck_s(self) -> float:
        """Seconds since the loop last turned."""
        return max(0.0, monotonic() - self.sidecar.ticked_s - 5.0)

    def joining_s(self) -> float:
        """It waits for no consumer group."""
        return 0.0

    async def group_state(self) -> str:
        """It has none."""
        return ""


async def run_scheduler(settings: Settings, jobs: Sequence[Job] = JOBS) -> None:
    """Run until SIGTERM or SIGINT; what is at work then is ended, and taken over by another or the next.

    Raises:
        ConfigError: the metrics port is taken.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    role = SchedulerRole(settings, jobs)
    health = HealthServer(settings, role)
    await health.start()
    try:
        await role.start()
        role.tasks.start("watchdog", health.watch())
        waiting = [job.id for job in jobs if not job.is_available]
        log.info("scheduler started", jobs=len(role.sidecar.jobs), not_available=waiting, metrics_port=health.port)
        await stop.wait()
        log.info("stopping")
        await role.stop()
    finally:
        await health.stop()
