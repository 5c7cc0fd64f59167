"""The composition root: settings -> clients -> sinks -> agents. Only the command line imports it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from streamproc.agents.health import HealthServer
from streamproc.agents.role import Role
from streamproc.agents.worker_role import WorkerRole
from streamproc.config import Settings
from streamproc.errors import ConfigError
from streamproc.kafka_topics import ensure_topics
from streamproc.logs import get_logger
from streamproc.sinks.clickhouse_client import ClickHouse

log = get_logger("worker")

ROLES = ("windows", "archive", "notify")
INTAKE = "intake"


def roles_of(settings: Settings) -> tuple[str, ...]:
    """The roles of `--role all`: the intake is one if there are streams to read."""
    return (*ROLES, INTAKE) if settings.intake_streams else ROLES


def build_role(settings: Settings, name: str) -> WorkerRole:
    """One role with its clients; nothing is connected yet. What only other roles need is not imported: a restart waits for it.

    Raises:
        ConfigError: the rules file or another setting cannot be used, or there is no such role.
    """
    if name == INTAKE:
        from streamproc.agents.intake_role import IntakeRole

        return IntakeRole(settings)
    roles: dict[str, Callable[[Settings, ClickHouse], Role]]
    roles = {"windows": _windows, "archive": _archive, "notify": _notify}
    if name not in roles:
        raise ConfigError(f"--role {name}: allowed are {', '.join((*ROLES, INTAKE, 'all'))}")
    return roles[name](settings, ClickHouse.of(settings))


def _windows(settings: Settings, clickhouse: ClickHouse) -> Role:
    from streamproc.agents.windows_role import WindowsRole
    from streamproc.notify.load import load_rules
    from streamproc.sinks.alerts_store import GoldAlerts
    from streamproc.sinks.lost_offsets_store import LostOffsetsStore
    from streamproc.sinks.redis_live import RedisLive, connect
    from streamproc.sinks.windows_sink import WindowsSink

    return WindowsRole(
        settings,
        WindowsSink(clickhouse),
        RedisLive(connect(settings), settings.redis_prefix),
        load_rules(settings.alert_rules),
        GoldAlerts(clickhouse).load_states,
        LostOffsetsStore(clickhouse),
    )


def _archive(settings: Settings, clickhouse: ClickHouse) -> Role:
    from streamproc.agents.archive_role import ArchiveRole
    from streamproc.sinks.bronze import BronzeSink
    from streamproc.sinks.dead_letters_store import DeadLetters
    from streamproc.sinks.key_store import KeyStore, keys_clickhouse
    from streamproc.sinks.lost_offsets_store import LostOffsetsStore
    from streamproc.sinks.master_key import load_master_key
    from streamproc.sinks.sealing import Sealing

    keys = KeyStore(keys_clickhouse(settings, clickhouse), load_master_key(settings, create=True))
    sealing = Sealing(keys)
    bronze, letters = BronzeSink(clickhouse, sealing), DeadLetters(clickhouse, sealing)
    return ArchiveRole(settings, bronze, letters, LostOffsetsStore(clickhouse), keys)


def _notify(settings: Settings, clickhouse: ClickHouse) -> Role:
    from streamproc.agents.notify_role import NotifyRole
    from streamproc.notify.load import load_rules
    from streamproc.notify.receiver import make_sender
    from streamproc.sinks.alerts_store import GoldAlerts, LiveAlerts
    from streamproc.sinks.redis_live import connect

    gold = GoldAlerts(clickhouse)
    return NotifyRole(
        settings,
        load_rules(settings.alert_rules),
        make_sender(settings),
        gold,
        LiveAlerts(connect(settings), settings.redis_prefix),
        gold.load_undelivered,
        gold.load_states,
    )


async def run_worker(settings: Settings, name: str) -> None:
    """Run one role until SIGTERM or SIGINT; then finish the batch in flight, flush, and leave the group.

    Raises:
        ConfigError: something a human must change.
        RetryableError: the broker could not be reached at start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    role = build_role(settings, name)
    health = HealthServer(settings, role)
    await health.start()
    try:
        # Also without the right to create any: a broker that is away, or topics that are missing, end the start clearly.
        await ensure_topics(settings)
        starting = asyncio.create_task(role.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            log.info("worker started", role=name, metrics_port=health.port)
            role.tasks.start("watchdog", health.watch())
            await stopping
        else:
            starting.cancel()
        log.info("stopping", role=name)
        await role.stop()
        log.info("stopped", role=name)
    finally:
        await health.stop()
