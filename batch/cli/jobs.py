"""`streamproc jobs`: the scheduler's table of jobs, runs by hand, history, and pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from datetime import date

    from batch.scheduler.books import Books
    from batch.scheduler.due import Attempt
    from batch.scheduler.role import SchedulerRole
    from batch.scheduler.table import Job

T = TypeVar("T")

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc jobs list

  streamproc jobs run reconcile --day 2026-11-22

  streamproc jobs history warehouse_build --limit 5 --json

  streamproc jobs pause warehouse_build
"""

_Json = Annotated[bool, typer.Option("--json", help="Print a JSON array instead of a table.")]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The job, as in `jobs list`.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Jobs of `streamproc scheduler`.", epilog=_EXAMPLES)
    app.add_typer(group, name="jobs")
    group.command("list", epilog=_EXAMPLES)(list_jobs)
    group.command(epilog=_EXAMPLES)(run)
    group.command(epilog=_EXAMPLES)(history)
    group.command(epilog=_EXAMPLES)(pause)
    group.command(epilog=_EXAMPLES)(resume)


def list_jobs(as_json: _Json = False) -> None:
    """Every job: when it runs, how its last run went, and when the next one is."""
    from batch.cli.jobs_view import print_jobs
    from batch.scheduler.table import JOBS
    from streamproc.clock import now_ms

    async def read(books: Books) -> tuple[dict[str, list[Attempt]], set[str]]:
        return await books.recent([job.id for job in JOBS]), set(await books.paused())

    attempts, paused = _with_books(read)
    print_jobs(JOBS, attempts, paused, now_ms(), as_json)


def history(
    job_id: Annotated[str, typer.Argument(metavar="[ID]", help="Only this job.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many attempts.")] = 20,
    as_json: _Json = False,
) -> None:
    """Attempts by schedule and by hand, the newest first."""
    from batch.cli.jobs_view import print_history
    from batch.scheduler.table import job_named

    name = job_named(job_id).id if job_id else ""
    print_history(_with_books(lambda books: books.history(name, limit)), as_json)


def run(
    job_id: _Id,
    day: Annotated[
        str, typer.Option("--day", help="UTC day, YYYY-MM-DD, of a job that works by days; else yesterday.")
    ] = "",
) -> None:
    """Run a job now, here, with its progress. Exit code 1 if it fails, or if it runs elsewhere already.

    Safe to repeat. It changes nothing of what the scheduler does next.
    """
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from batch.scheduler.role import SchedulerRole
    from streamproc.config import load_settings
    from streamproc.logs import setup_logs

    job, wanted = _runnable(job_id, day)
    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(job.id, total=None)

        def on_step(text: str, done: int | None, total: int | None) -> None:
            bar.update(task, description=f"{job.id}: {text}", completed=done, total=total)

        ended = asyncio.run(_run_by_hand(SchedulerRole(settings), job, wanted, on_step))
    if ended.error:
        typer.echo(f"{job.id} {ended.status}: {ended.error}", err=True)
        raise typer.Exit(1)
    took_s = ((ended.ended_ms or ended.started_ms) - ended.started_ms) / 1000
    units = f", {ended.quota_units} quota units" if ended.quota_units else ""
    typer.echo(f"{job.id} done for {ended.day}: {ended.rows} rows{units}, {took_s:.1f} s")


def pause(job_id: _Id) -> None:
    """Let a job rest until it is resumed; a run at work is not ended."""
    _set_paused(job_id, True)


def resume(job_id: _Id) -> None:
    """Let a paused job go on: what it missed is caught up once, if it is not too old."""
    _set_paused(job_id, False)


def _set_paused(job_id: str, paused: bool) -> None:
    import getpass
    import socket

    from batch.scheduler.table import job_named
    from streamproc.clock import now_ms

    job = job_named(job_id)
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    _with_books(lambda books: books.pause(job.id, paused, who, now_ms()))
    typer.echo(f"{job.id} is paused" if paused else f"{job.id} goes on")


def _runnable(job_id: str, day: str) -> tuple[Job, date | None]:
    from datetime import date

    from batch.scheduler.table import job_named
    from streamproc.errors import ConfigError

    job = job_named(job_id)
    if not job.is_available:
        raise ConfigError(f"{job.id} is not available: it has no body in this version")
    if not day:
        return job, None
    if not job.takes_day:
        raise ConfigError(f"--day {day}: {job.id} does not work by days")
    try:
        return job, date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"--day {day}: not a day; write it like 2026-11-22") from None


async def _run_by_hand(
    role: SchedulerRole, job: Job, day: date | None, on_step: Callable[[str, int | None, int | None], None]
) -> Attempt:
    from batch.scheduler.runner import Runner

    try:
        return await Runner(role.desk).run_by_hand(
            job, day, lambda said: on_step(said.step, said.done, said.total)
        )  # fmt: skip
    finally:
        await role.close()


def _with_books(act: Callable[[Books], Awaitable[T]]) -> T:
    from batch.scheduler.books import Books
    from streamproc.cli.with_clickhouse import with_clickhouse
    from streamproc.config import load_settings

    return with_clickhouse(load_settings(), lambda clickhouse: act(Books(clickhouse)))
