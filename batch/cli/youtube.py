"""`streamproc youtube load|quota`: a day's load from YouTube, and what is left of its quota."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import date

    from batch.youtube.report import Report

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc youtube load --day 2026-11-22

  streamproc youtube load --dry-run           how many units it would spend

  streamproc youtube load --json              yesterday (in California), for a script

  streamproc youtube quota
"""

_Day = Annotated[str, typer.Option("--day", help="Day of Pacific time, YYYY-MM-DD; yesterday if none is given.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Channels, videos and analytics from YouTube.", epilog=_EXAMPLES)
    app.add_typer(group, name="youtube")
    group.command(epilog=_EXAMPLES)(load)
    group.command(epilog=_EXAMPLES)(quota)


def load(
    day: _Day = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many units are still to be spent.")] = False,
    as_json: _Json = False,
) -> None:
    """Load all channels: counts of now, and the analytics of the week (35 days on Sundays) up to the day.

    Safe to run again: pages that are stored are not asked for again. Exit code 1 if the load is not complete, because
    quota or patience is used up: run it again at the time that it names, and it goes on.
    """
    import asyncio
    import os

    import orjson
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from batch.youtube.load import load_day
    from streamproc import failpoints
    from streamproc.config import load_settings
    from streamproc.logs import setup_logs

    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    failpoints.arm(os.environ)
    wanted = _day(day)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total)

        report = asyncio.run(load_day(settings, wanted, show, dry_run=dry_run))
    if as_json:
        typer.echo(orjson.dumps(report.as_dict()).decode())
    else:
        _print(report, dry_run)
    if not report.complete:
        raise typer.Exit(1)


def quota(as_json: _Json = False) -> None:
    """Show what was planned, spent and is left of Google's quota, by Pacific day, the last 14 of them."""
    import orjson
    from rich.console import Console
    from rich.table import Table

    from batch.youtube.quota_days import quota_days
    from streamproc.cli.with_clickhouse import with_clickhouse
    from streamproc.config import load_settings

    settings = load_settings()
    days = with_clickhouse(settings, lambda clickhouse: quota_days(clickhouse, settings))
    if as_json:
        typer.echo(orjson.dumps([one._asdict() for one in days]).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("Pacific day", "API", "planned", "spent", "left"):
        table.add_column(name, justify="left" if name in ("Pacific day", "API") else "right")
    for one in days:
        table.add_row(str(one.day), one.api, str(one.planned), str(one.spent), str(one.left))
    Console().print(table)


def _day(text: str) -> date:
    from datetime import date, timedelta

    from batch.youtube.pacific import pacific_day
    from streamproc.clock import now_ms
    from streamproc.errors import ConfigError

    try:
        return date.fromisoformat(text) if text else pacific_day(now_ms()) - timedelta(days=1)
    except ValueError:
        raise ConfigError(f"--day {text}: not a day; write it like 2026-11-22") from None


def _print(report: Report, dry_run: bool) -> None:
    from datetime import UTC, datetime

    units = ", ".join(f"{count} {api}" for api, count in report.planned.items())
    left = ", ".join(f"{count} {api}" for api, count in report.left.items())
    if dry_run:
        typer.echo(f"{report.load}: {units} units to spend, {left} left today, {report.channels} channels")
        if report.channels_unknown:
            typer.echo(f"  {report.channels_unknown} channels were never loaded: their videos are not in that number")
        return
    spent = ", ".join(f"{count} {api}" for api, count in report.spent.items())
    typer.echo(f"{report.load}: {report.pages} pages, {report.items} items, {report.written} rows of silver written")
    typer.echo(f"  units spent: {spent}; left today: {left}")
    for name, why in (report.skipped | report.failed).items():
        typer.echo(f"  left out: {name}: {why}")
    for text in (*report.alerts, *report.invalid_examples):
        typer.echo(f"  {text}")
    if report.restated:
        typer.echo(f"  {report.restated} days restated by YouTube; history keeps what they were")
    if report.gone:
        typer.echo(f"  {len(report.gone)} videos are not there any more")
    if not report.complete:
        when = datetime.fromtimestamp(report.resume_at_ms / 1000, UTC) if report.resume_at_ms else None
        typer.echo(f"  not complete; run it again {f'from {when:%Y-%m-%d %H:%M} UTC on' if when else 'later'}")
