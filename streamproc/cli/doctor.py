"""`streamproc doctor`: checks every connection and says what is wrong and what to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from streamproc.cli.doctor_checks import Finding
    from streamproc.config import Settings

_HELP = """Check broker, topics, Redis, ClickHouse, migrations, clocks, keys, Redis Streams and settings, and say what to do.

Exit code 0 only if nothing is wrong; notes are no faults.

[bold]Examples[/bold]

  streamproc doctor

  STREAMPROC_CLICKHOUSE_URL=http://127.0.0.1:18123 streamproc doctor
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=_HELP)(doctor)


def doctor() -> None:
    """Check everything and print a table."""
    import logging

    from rich.console import Console

    from streamproc.cli.doctor_checks import Verdict
    from streamproc.config import load_settings
    from streamproc.logs import setup_logs

    settings = load_settings()
    setup_logs(level="error")
    # Their retries are logged as errors; the table says the same once and in words.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    findings = asyncio.run(examine(settings))
    console = Console()
    console.print(table(findings))
    wrong = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    console.print(f"{wrong} problem(s) found" if wrong else "all fine")
    raise typer.Exit(1 if wrong else 0)


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order of the table."""
    from streamproc.cli.doctor_broker import check_broker
    from streamproc.cli.doctor_checks import check_clickhouse, check_redis, check_settings, guarded
    from streamproc.cli.doctor_keys import check_intake, check_keys

    groups = await asyncio.gather(
        guarded("broker", check_broker, settings),
        guarded("Redis", check_redis, settings),
        guarded("ClickHouse", check_clickhouse, settings),
        guarded("keys", check_keys, settings),
        guarded("Redis Streams", check_intake, settings),
        guarded("settings", check_settings, settings),
    )
    return [finding for group in groups for finding in group]


def table(findings: list[Finding]) -> Table:
    """The findings for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    shown = Table(box=box.SIMPLE_HEAD)
    for heading in ("check", "verdict", "found", "what to do"):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict.value, style=styles[finding.verdict.value])
        shown.add_row(Text(finding.what), verdict, Text(finding.found), Text(finding.advice))
    return shown
