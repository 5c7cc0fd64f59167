"""`streamproc scheduler`: the batch side's jobs at their times; run two, and one takes over when the other dies."""

from __future__ import annotations

from typing import Annotated

import typer

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc scheduler                       on this machine; a second one elsewhere takes over when it dies

  streamproc scheduler --metrics-port 9470   /metrics, /live and /ready there

  streamproc jobs list                       what runs when, and how it went
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=_EXAMPLES)
    def scheduler(
        metrics_port: Annotated[
            int | None, typer.Option(help="Port of /metrics, /live and /ready; 0: a free one.")
        ] = None,
    ) -> None:
        """Run the jobs of the batch side at their times until SIGTERM or Ctrl-C: builds, reconciling, checks.

        What was due while none ran is caught up once. Any number may run side by side: each job runs in one of them.
        """
        import asyncio
        import os

        from batch.scheduler.role import run_scheduler
        from streamproc import failpoints
        from streamproc.config import load_settings
        from streamproc.logs import setup_logs

        settings = load_settings(metrics_port=metrics_port)
        setup_logs(settings.log_format, settings.log_level)
        failpoints.arm(os.environ)
        asyncio.run(run_scheduler(settings))
