"""`streamproc reconcile`: a day's windows against silver; what came too late is brought in, drift is reported and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from batch.reconcile.run import Report

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc reconcile --day 2026-11-22

  streamproc reconcile                        yesterday, as every night

  streamproc reconcile --dry-run --json       only look, for a script
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=_EXAMPLES)
    def reconcile(
        day: Annotated[str, typer.Option("--day", help="UTC day, YYYY-MM-DD; yesterday if none is given.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and report, send nothing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    ) -> None:
        """Recompute a day's windows from silver, bring in what came too late, and report what else differs.

        Needs a running windows worker. Safe to run again: a second run finds nothing to do. Exit code 1 if windows hold
        more than silver has, which nothing that is added can mend.
        """
        import asyncio
        from datetime import UTC, date, datetime, timedelta

        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from batch.reconcile.run import Steps
        from batch.reconcile.run import reconcile as run
        from streamproc.clock import now_ms
        from streamproc.config import load_settings
        from streamproc.errors import ConfigError
        from streamproc.logs import setup_logs

        settings = load_settings()
        setup_logs(settings.log_format, "warning")
        try:
            wanted = (
                date.fromisoformat(day)
                if day
                else datetime.fromtimestamp(now_ms() / 1000, UTC).date() - timedelta(days=1)
            )
        except ValueError:
            raise ConfigError(f"--day {day}: not a day; write it like 2026-11-22") from None
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            steps = Steps(
                lambda text: bar.update(task, description=text), lambda text: bar.update(task, description=text)
            )
            report = asyncio.run(run(settings, wanted, steps, dry_run=dry_run))
        _print(report, as_json)
        if report.stuck:
            raise typer.Exit(1)


def _print(report: Report, as_json: bool) -> None:
    import orjson
    from rich.console import Console
    from rich.table import Table

    if as_json:
        fields = (
            "windows",
            "late_windows",
            "late_events",
            "wrong",
            "drift",
            "drift_events",
            "stuck",
            "busy",
            "examples",
        )
        by_measure = {each.measure: {name: getattr(each, name) for name in fields} for each in report.found}
        said = {"day": str(report.day), "sent": report.sent, "drift": report.drift, "measures": by_measure}
        typer.echo(orjson.dumps(said).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("measure", "windows", "late events in", "published wrongly", "drift", "beyond mending"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    for each in report.found:
        late = f"{each.late_events} in {each.late_windows}" if each.late_windows else "0"
        table.add_row(each.measure, str(each.windows), late, str(each.wrong), str(each.drift), str(each.stuck))
    console = Console()
    console.print(table)
    for each in report.found:
        for text in each.examples:
            console.print(f"  {text}", markup=False, highlight=False)
        if each.skipped:
            console.print(
                f"  {each.measure}: not compared by {', '.join(each.skipped)} (more than 1,000 values)", markup=False
            )
        if each.busy:
            console.print(f"  {each.measure}: {each.busy} windows are still being counted; run it again", markup=False)
    console.print(
        f"{report.day}: {report.sent} windows corrected" if report.sent else f"{report.day}: nothing to correct",
        style="bold",
        highlight=False,
    )
