"""`streamproc demo`: realistic traffic on the event streams until stopped."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from streamproc.config import Settings

_HELP = """Send demo traffic: users, videos going through their life, their costs; few events late, double or broken.

The rate is the mean of a day: nights are quiet, evenings busy. The same seed and start give the same events.

[bold]Examples[/bold]

  streamproc demo

  streamproc demo --rate 500 --for 10m

  STREAMPROC_BROKER_URL=kafka://broker:9092 streamproc demo --seed 7
"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo", help=_HELP)(demo)


def demo(
    rate: float = typer.Option(50.0, min=0.1, max=20_000, help="Events a second, as the mean of a day."),
    seed: int = typer.Option(1, help="Seed of what is drawn."),
    for_: str | None = typer.Option(None, "--for", help="Stop after this time, such as 60s or 10m; default: never."),
) -> None:
    """Send demo traffic until Ctrl-C, SIGTERM or the end of `--for`."""
    from streamproc.config import load_settings
    from streamproc.embedded.durations import parse_duration
    from streamproc.logs import setup_logs

    settings = load_settings()
    setup_logs(settings.log_format, settings.log_level)
    asyncio.run(_run(settings, rate, seed, parse_duration(for_) if for_ else None))


async def _run(settings: Settings, rate: float, seed: int, for_s: float | None) -> None:
    from streamproc.produce.demo_loop import run_demo

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_demo(settings, rate=rate, seed=seed, for_s=for_s, stop=stop)
