"""`streamproc worker`: one role (or all, a process each) against any broker, Redis and ClickHouse."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        epilog="Examples:  streamproc worker --role windows  ·  STREAMPROC_BROKER_URL=kafka://k1:9092 streamproc worker --role all"
    )
    def worker(
        role: Annotated[str, typer.Option(help="windows | archive | notify | intake | all")] = "all",
        metrics_port: Annotated[
            int | None, typer.Option(help="port of /metrics, /live and /ready; 0: a free one")
        ] = None,
    ) -> None:
        """Run a worker until SIGTERM or Ctrl-C; it then finishes its batch, flushes and leaves the group."""
        import asyncio
        import os

        from streamproc import failpoints
        from streamproc.config import load_settings
        from streamproc.logs import setup_logs

        settings = load_settings(metrics_port=metrics_port)
        setup_logs(settings.log_format, settings.log_level)
        failpoints.arm(os.environ)
        if role == "all":
            from streamproc.cli.worker_all import run_all

            raise typer.Exit(run_all(settings))
        from streamproc.app import run_worker
        from streamproc.memory import bound_heap, calm_collector

        bound_heap()
        calm_collector()
        asyncio.run(run_worker(settings, role))
