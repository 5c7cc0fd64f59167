"""`streamproc datasets`: every table with its purpose, size, freshness, retention and owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamproc.datasets import Described

_EXAMPLES = """
[bold]Examples[/bold]

  streamproc datasets

  streamproc datasets --json | jq 'map(select(.layer == "gold"))'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=_EXAMPLES)
    def datasets(
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array instead of a table.")] = False,
    ) -> None:
        """Count what every table holds, write it to meta.datasets, and show it."""
        from streamproc.cli.with_clickhouse import with_clickhouse
        from streamproc.config import load_settings
        from streamproc.datasets import refresh

        settings = load_settings()
        _print(with_clickhouse(settings, lambda clickhouse: refresh(clickhouse, settings)), as_json)


def _print(found: list[Described], as_json: bool) -> None:
    import orjson
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    if as_json:
        rows = [
            {
                "dataset": each.dataset.name, "layer": each.dataset.layer, "purpose": each.dataset.purpose,
                "owner": each.dataset.owner, "schema_version": each.schema_version, "partitions": each.partitions,
                "rows": each.rows, "bytes": each.size, "newest": each.newest, "retention_days": each.retention_days,
            }
            for each in found
        ]  # fmt: skip
        typer.echo(orjson.dumps(rows).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "purpose", "owner", "schema"):
        table.add_column(name)
    for name in ("partitions", "rows", "size", "newest (UTC)", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        newest = f"{each.newest:%Y-%m-%d %H:%M:%S}" if each.newest else "-"
        kept = f"{each.retention_days} days" if each.retention_days else "for ever"
        table.add_row(
            each.dataset.name, each.dataset.purpose, each.dataset.owner, each.schema_version, str(each.partitions),
            f"{each.rows:,}", decimal(each.size), newest, kept,
        )  # fmt: skip
    Console().print(table)
