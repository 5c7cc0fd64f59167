"""`streamproc schema`: holds events in a file against the contract, before they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from schemas.topics import SOURCES
from streamproc.decode import decode_batch
from streamproc.errors import ConfigError

_BATCH_LINES = 2000

Numbered = list[tuple[int, bytes | None]]


def register(app: typer.Typer) -> None:
    """Add the `schema` commands."""
    commands = typer.Typer(help="Hold events against the contract.", no_args_is_help=True)

    @commands.callback()
    def _group() -> None:
        """Hold events against the contract."""

    @commands.command("check")
    def check(
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON: one event a line")
        ],
        topic: Annotated[str, typer.Option("--topic", "-t", help=f"one of {', '.join(SOURCES)}")],
        show: Annotated[int, typer.Option(min=0, help="how many invalid lines to print")] = 100,
    ) -> None:
        """Check each line as the stream would, and print the invalid ones. Exit code 1 if there are any."""
        if topic not in SOURCES:
            raise ConfigError(f"--topic is {topic!r}; allowed: {', '.join(SOURCES)}")
        if not _check(file, topic, show):
            raise typer.Exit(1)

    app.add_typer(commands, name="schema")


def _check(file: Path, topic: str, show: int) -> bool:
    lines = invalid = 0
    with file.open("rb") as stream:
        for numbered in _batches(stream):
            decoded = decode_batch(topic, [value for _, value in numbered])
            lines += len(numbered)
            for row, reason, text in decoded.dead:
                invalid += 1
                if invalid <= show:
                    typer.echo(f"{file}:{numbered[row][0]}: {reason.value}: {text}")
    if invalid > show:
        typer.echo(f"... and {invalid - show:,} more")
    typer.echo(f"{lines:,} events checked against {topic}: {lines - invalid:,} valid, {invalid:,} invalid")
    return invalid == 0


def _batches(stream: BinaryIO) -> Iterator[Numbered]:
    """Lines with their numbers from 1, without blank ones and without the line's end."""
    lines: Iterator[tuple[int, bytes | None]] = (
        (number, line.rstrip(b"\r\n")) for number, line in enumerate(stream, start=1) if line.strip()
    )
    while batch := list(islice(lines, _BATCH_LINES)):
        yield batch
