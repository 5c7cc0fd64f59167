"""The worker's own HTTP: /metrics, /live and /ready; and the watchdog that ends a process which is alive but stuck, or left out."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streamproc.agents.fatal import die
from streamproc.agents.faust_app import REBALANCE_TIMEOUT_S
from streamproc.agents.worker_role import WorkerRole
from streamproc.config import Settings
from streamproc.errors import ConfigError
from streamproc.logs import get_logger
from streamproc.telemetry import READY

log = get_logger("health")


def unreadiness(role: WorkerRole) -> str:
    """Why the role is not ready, '' if it is."""
    if not role.ready:
        return "not assigned yet"
    return role.problem()


def stuck(role: WorkerRole, settings: Settings) -> str:
    """Why the role counts as stuck ('' if not): lag without progress, and no known reason to wait."""
    seconds = role.stuck_s()
    if seconds > settings.stuck_after_s and not role.problem():
        return f"no progress for {seconds:.0f} s although there is lag"
    return ""


async def outside(role: WorkerRole, settings: Settings) -> str:
    """Why the role counts as left out of its group ('' if not): it was never told its partitions, not even that it has none.

    Without an assignment there is no lag, so `stuck` would never see it. While the broker does not answer, or for as long
    as a group may take to form, a new process would wait as well.
    """
    patience = 3 * settings.session_timeout_s + settings.stuck_after_s
    seconds = role.joining_s()
    if seconds <= patience:
        return ""
    state = await role.group_state()
    is_forming = state.endswith("Rebalance")
    if not state or (is_forming and seconds <= patience + REBALANCE_TIMEOUT_S) or role.joining_s() <= patience:
        return ""
    return f"no answer from the consumer group for {seconds:.0f} s, which is {state}"


class HealthServer:
    """Serves the endpoints on `metrics_host:metrics_port`."""

    def __init__(self, settings: Settings, role: WorkerRole) -> None:
        self._settings = settings
        self._role = role
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        self._runner = web.AppRunner(app, access_log=None)
        self.port = settings.metrics_port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the port is taken.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.metrics_host, self._settings.metrics_port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"STREAMPROC_METRICS_PORT = {self._settings.metrics_port}: cannot listen there ({error.strerror}); "
                "choose another port, or 0 for a free one"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def watch(self) -> None:
        """End the process when it is stuck: a supervisor's new one starts from our own progress."""
        while True:
            await asyncio.sleep(2.0)
            READY.set(0 if unreadiness(self._role) else 1)
            why = stuck(self._role, self._settings) or await outside(self._role, self._settings)
            if why:
                die(why)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _live(self, _request: web.Request) -> web.Response:
        why = stuck(self._role, self._settings)
        return web.Response(text=(why or "live") + "\n", status=503 if why else 200)

    async def _ready(self, _request: web.Request) -> web.Response:
        why = unreadiness(self._role) or stuck(self._role, self._settings)
        return web.Response(text=(why or "ready") + "\n", status=503 if why else 200)
