"""`streamproc trace EVENT_ID`: what became of an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streamproc.config import Settings
    from streamproc.tracing import Found, Trace, Window

_HELP = """Say what became of an event: where it lies, in which windows it was counted, or why it was not.

Reads ClickHouse only, so it answers for what the archive has written (normally within a second or two). Exit code 1 if
the event is not found.

[bold]Examples[/bold]

  streamproc trace 6f1e7c1e-0f0e-4b8e-9a51-1c5c0f2b7a10

  streamproc trace 6f1e7c1e-0f0e-4b8e-9a51-1c5c0f2b7a10 --wait 10s
"""
_STYLES = {"counted": "green", "dead": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("trace", help=_HELP)(trace)


def trace(
    event_id: str = typer.Argument(help="The event_id, in either case."),
    wait: str = typer.Option("", "--wait", help="Wait up to so long until it appears and is counted, such as 10s."),
) -> None:
    """Print the story of an event."""
    from streamproc.config import load_settings
    from streamproc.embedded.durations import parse_duration
    from streamproc.logs import setup_logs

    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    if not show_trace(settings, event_id, wait_s=parse_duration(wait) if wait else 0.0):
        raise typer.Exit(1)


def show_trace(settings: Settings, event_id: str, *, wait_s: float) -> bool:
    """Print what became of an event; False if nothing was found.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    from rich.console import Console

    from streamproc.cli.with_clickhouse import with_clickhouse
    from streamproc.tracing import trace as look_up

    horizon_ms = settings.dedup_horizon_ms
    result = with_clickhouse(settings, lambda clickhouse: look_up(clickhouse, event_id, horizon_ms, wait_s))
    console = Console()
    if not result.found:
        waited = f" within {wait_s:g} s" if wait_s else "; if it was just sent, try --wait 10s"
        console.print(f"{event_id}: not found{waited}", style="red", markup=False, highlight=False)
        return False
    _print(console, result)
    return True


def _print(console: Console, result: Trace) -> None:
    happened = f", happened {_time(result.occurred_ms)}" if result.occurred_ms is not None else ""
    console.print(f"event {result.event_id}{happened}", style="bold", highlight=False)
    for record in result.found:
        console.print(_sentence(record), style=_STYLES.get(record.verdict, "yellow"), markup=False, highlight=False)
        where = record.place
        if record.verdict == "dead":
            console.print(
                f"    streamproc dead-letters show {where.topic} {where.partition} {where.offset}", style="dim"
            )
    if not any(record.verdict == "counted" for record in result.found):
        return
    late = {size for record in result.found for size in record.late_for}
    if late:
        console.print(f"  too late for its windows of {', '.join(sorted(late))}: the nightly reconcile brings it in")
    console.print(_windows_table([window for window in result.windows if window.size != "all"], late))
    for total in (window for window in result.windows if window.size == "all"):
        console.print(
            f"{total.metric} of {total.dimension} {total.dimension_value}, so far: {_cell(total)}", markup=False
        )
    if not any(window.status for window in result.windows):
        console.print("No window of it is published yet: is a worker running? Try --wait 10s.", style="yellow")


def _sentence(record: Found) -> str:
    topic, partition, log_id, offset = record.place
    where = f"{topic} partition {partition} offset {offset} (log {log_id}), in Kafka since {_time(record.kafka_ms)}"
    return f"  {record.verdict}: {where}" + (f"\n    {record.because}" if record.because else "")


def _windows_table(windows: list[Window], late: set[str]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    sizes = list(dict.fromkeys(window.size for window in windows))
    starts = {window.size: window.start_ms for window in windows}
    table = Table(box=None, header_style="bold", pad_edge=False, title="counted in", title_justify="left")
    table.add_column("metric")
    for size in sizes:
        table.add_column(
            f"{size} of {_time(starts[size])[5:16]}" + (" (late)" if size in late else ""), justify="right"
        )
    lines: dict[tuple[str, str, str], dict[str, Window]] = {}
    for window in windows:
        lines.setdefault((window.metric, window.dimension, window.dimension_value), {})[window.size] = window
    for (metric, dimension, value), cells in lines.items():
        name = metric + (f" {dimension}={value}" if dimension else "")
        table.add_row(escape(name), *(_cell(cells[size]) for size in sizes))
    return table


def _cell(window: Window) -> str:
    if not window.status:
        return "-"
    value = "null" if window.value is None else f"{window.value:,.4f}" if window.unit == "USD" else f"{window.value:,g}"
    return value if window.size == "all" else f"{value} {window.status}"


def _time(epoch_ms: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
