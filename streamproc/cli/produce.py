"""`streamproc produce FILE --topic T`: send the events of an NDJSON file, and say what is wrong with which line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from streamproc.config import Settings
    from streamproc.produce.file import Report

_HELP = """Send the events of an NDJSON file (one JSON object a line; - reads standard input) to a topic.

Waits for all replicas (acks=all), keeps the order, and sets keys as the contracts say. A line that is no valid event is
reported with its number and skipped. Exit code 1 if a line was invalid or not acknowledged, or --trace found no trace.

[bold]Examples[/bold]

  streamproc produce events.ndjson --topic user-events

  echo '{"event_id":"x","schema_version":"1.0.0","occurred_at":"2026-01-01T00:00:00Z","user_id":1,"activity_type":"login"}' \\
    | streamproc produce - --topic user-events --fresh --trace
"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("produce", help=_HELP)(produce)


def produce(
    file: str = typer.Argument(help="NDJSON file, or - for standard input."),
    topic: str = typer.Option(..., "--topic", help="user-events, video-status or cost-events."),
    send_invalid: bool = typer.Option(
        False, "--send-invalid", help="Send invalid lines too: they become dead letters."
    ),
    fresh: bool = typer.Option(
        False, "--fresh", help="Give every event a new event_id and the present time; its other times move along."
    ),
    trace: bool = typer.Option(
        False, "--trace", "--follow", help="Then show what became of the events (at most 5), waiting up to 15 s."
    ),
) -> None:
    """Send a file and report."""
    from rich.console import Console

    from streamproc.config import load_settings
    from streamproc.logs import setup_logs
    from streamproc.produce.file import REMEMBERED_IDS, Options, send_file
    from streamproc.produce.lines import check_topic

    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    check_topic(topic)
    console = Console(stderr=True)
    with _opened(file) as source, _progress(console, file) as on_progress:
        report = asyncio.run(send_file(settings, source, Options(topic, send_invalid, fresh), on_progress))
    _say(console, topic, report)
    if 0 < len(report.event_ids) <= REMEMBERED_IDS:
        for event_id in report.event_ids:
            typer.echo(event_id)
        seen = not trace or _trace(settings, report.event_ids)
    else:
        seen = True
    if not report.ok or not seen:
        raise typer.Exit(1)


def _trace(settings: Settings, event_ids: list[str]) -> bool:
    from streamproc.cli.trace import show_trace

    found = [show_trace(settings, event_id, wait_s=15.0) for event_id in event_ids]
    return all(found)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    from streamproc.errors import ConfigError

    if file == "-":
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
        yield source


@contextlib.contextmanager
def _progress(console: Console, file: str) -> Iterator[Callable[[Report, int], None]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    size = None if file == "-" else Path(file).stat().st_size
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("connecting", total=size)

        def update(report: Report, read: int) -> None:
            text = f"{report.acknowledged:,} acknowledged" + (f", {report.invalid:,} invalid" if report.invalid else "")
            progress.update(task, description=text, completed=read)

        yield update


def _say(console: Console, topic: str, report: Report) -> None:
    for number, reason in report.problems:
        console.print(f"line {number}: {reason}", style="yellow", markup=False, highlight=False)
    hidden = report.invalid + report.failed - len(report.problems)
    if hidden > 0:
        console.print(f"... and {hidden:,} more lines", style="yellow")
    if not report.idempotent and report.sent:
        console.print(
            "This broker has no idempotent producer: sent with acks=all, in order; should a retry have doubled a message, "
            "it is found by its event_id.",
            style="dim",
        )
    parts = [f"{report.acknowledged:,} of {report.lines:,} lines acknowledged by {topic}"]
    if report.invalid:
        parts.append(f"{report.invalid:,} invalid ({report.skipped:,} skipped)")
    if report.failed:
        parts.append(f"{report.failed:,} not acknowledged")
    console.print(", ".join(parts), style="green" if report.ok else "red", markup=False)
