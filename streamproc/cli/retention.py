"""`streamproc retention show`: how long every table is kept, as promised and as the table itself says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from streamproc.sinks.clickhouse_client import ClickHouse

_DAYS = {"Day": 1, "Week": 7, "Month": 30, "Year": 365}
_INTERVAL = re.compile(r"toInterval(Day|Week|Month|Year)\(((?:[^()]|\([^()]*\))*)\)")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="How long data is kept.")
    app.add_typer(group, name="retention")

    @group.callback()
    def _group() -> None:
        """How long data is kept."""

    @group.command()
    def show() -> None:
        """Every table, the customer's data type, how long it is kept, and its rows. Exit code 1 if a table says otherwise."""
        from rich.console import Console
        from rich.table import Table

        from schemas.retention import RETENTION
        from streamproc.cli.with_clickhouse import with_clickhouse
        from streamproc.config import load_settings

        found = with_clickhouse(load_settings(), tables)
        page = Table("table", "data type", "kept", "rows", "note")
        wrong = []
        for kept in RETENTION:
            if kept.dataset not in found:
                page.add_row(kept.dataset, kept.data_type, in_words(kept.days), "-", "not there yet")
                continue
            days, rows = found[kept.dataset]
            note = kept.note
            if days != kept.days:
                note = f"[red]its TTL says {in_words(days)}[/red]"
                wrong.append(kept.dataset)
            page.add_row(kept.dataset, kept.data_type, in_words(kept.days), f"{rows:,}", note)
        Console().print(page)
        if wrong:
            typer.echo(f"kept otherwise than promised: {', '.join(wrong)}", err=True)
            raise typer.Exit(1)


async def tables(clickhouse: ClickHouse) -> dict[str, tuple[frozenset[int], int]]:
    """Table -> (days of its TTL, rows), of all that hold data.

    Raises:
        RetryableError, PermanentError: with a reason.
    """
    rows = await clickhouse.rows(
        """SELECT database || '.' || name, extract(create_table_query, ' TTL (.*?)(?: SETTINGS |$)'), ifNull(total_rows, 0)
           FROM system.tables
           WHERE database IN ('bronze', 'silver', 'gold', 'meta', 'keys') AND engine LIKE '%MergeTree' AND name NOT LIKE 'int\\_%'"""
    )
    return {name: (ttl_days(ttl), int(count)) for name, ttl, count in rows}


def ttl_days(ttl: str) -> frozenset[int]:
    """The periods that a TTL names, in days (`toIntervalDay(if(..., 1095, 730))` names two)."""
    return frozenset(
        _DAYS[unit] * int(number)
        for unit, amount in _INTERVAL.findall(ttl)
        for number in re.findall(r"(?<![\w'%.])\d+(?![\w'%.])", amount)
    )


def in_words(days: frozenset[int]) -> str:
    """`90 days`, `2 or 3 years`, `for ever`."""
    if not days:
        return "for ever"
    if all(each % 365 == 0 for each in days):
        years = " or ".join(str(each // 365) for each in sorted(days))
        return f"{years} year{'s' if max(days) > 365 else ''}"
    return " or ".join(str(each) for each in sorted(days)) + " days"
