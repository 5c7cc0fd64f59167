"""`streamproc backfill silver|gold`: derive a range again, from bronze or from silver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import date

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc backfill silver --from 2026-11-01 --to 2026-11-07

  streamproc backfill silver --from 2026-11-01 --to 2026-11-07 --topic cost-events

  streamproc backfill gold --from 2026-11-01 --to 2026-11-07
"""

_From = Annotated[str, typer.Option("--from", help="First UTC day, YYYY-MM-DD.")]
_To = Annotated[str, typer.Option("--to", help="Last UTC day, included.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Derive silver or gold again for a range of days.", epilog=_EXAMPLES)
    app.add_typer(group, name="backfill")
    group.command(epilog=_EXAMPLES)(silver)
    group.command(epilog=_EXAMPLES)(gold)


def silver(
    first: _From,
    last: _To,
    topic: Annotated[list[str] | None, typer.Option("--topic", help="Only this topic; may be repeated.")] = None,
) -> None:
    """Derive silver again from what bronze ingested on these days.

    Rows that differ are written, rows that follow from nothing any more are deleted, all others stay untouched. Runs beside
    the stream. A run that was killed goes on where it was; one that is repeated writes nothing.
    """
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from batch.backfill.run import backfill_silver
    from streamproc.config import load_settings

    days = _days(first, last)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows of bronze", total=None)
        run = asyncio.run(
            backfill_silver(
                load_settings(), *days, topic or (),
                lambda rows, done: bar.update(task, total=rows, completed=done),
                lambda name, rows: bar.update(task, description=name, advance=rows),
            )
        )  # fmt: skip
    went_on = " (went on with a run that had been killed)" if run.resumed else ""
    typer.echo(f"{run.written} rows written, {run.deleted} deleted, {len(run.done)} slices{went_on}")


def gold(first: _From, last: _To) -> None:
    """Build the gold tables again from silver, then reconcile the windows of each of these days that is over.

    Needs dbt and a running windows worker. Rows that are right already are not written again.
    """
    import asyncio
    from datetime import UTC, datetime, timedelta

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from batch.reconcile.run import Steps, reconcile
    from batch.warehouse import daily_redis, dbt
    from streamproc.clock import now_ms
    from streamproc.config import load_settings

    begin, end = _days(first, last)
    settings = load_settings()
    now = datetime.fromtimestamp(now_ms() / 1000, UTC)
    horizon = max(150, (now.date() - begin).days + 2)
    dbt.run(settings, ["build"], {"everything": True, "horizon_days": horizon})
    daily_redis.publish(settings)
    # A day's windows take events for ten minutes after its end.
    today = (now - timedelta(minutes=11)).date()
    days = [begin + timedelta(days=n) for n in range((end - begin).days + 1)]
    days = [day for day in days if day < today]
    sent = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("windows", total=len(days))
        for day in days:
            steps = Steps(lambda text: bar.update(task, description=text), lambda text: None)
            sent += asyncio.run(reconcile(settings, day, steps)).sent
            bar.update(task, advance=1)
    typer.echo(f"gold is built; {sent} windows of {len(days)} days corrected")


def _days(first: str, last: str) -> tuple[date, date]:
    from datetime import date

    from streamproc.errors import ConfigError

    days = []
    for name, text in (("--from", first), ("--to", last)):
        try:
            days.append(date.fromisoformat(text))
        except ValueError:
            raise ConfigError(f"{name} {text}: not a day; write it like 2026-11-22") from None
    return days[0], days[1]
