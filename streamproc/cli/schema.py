"""`streamproc schema check`: holds the schemas against the released ones, or events in a file against the schemas."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from schemas.topics import SOURCES
from streamproc.errors import ConfigError

_BATCH_LINES = 2000

_HELP = """Without FILE: hold the schemas of this release against those of the versions whose records it reads, and refuse a
change that breaks one of them, a released file that was edited, and a version that was not raised.

With FILE (NDJSON): check each line as the stream would, and print the invalid ones.

Exit code 0: all is well, 1: something is refused, 2: wrong use.

[bold]Examples[/bold]

  streamproc schema check

  streamproc schema check --released ../main/schemas/released

  streamproc schema check events.ndjson --topic cost-events
"""

Numbered = list[tuple[int, bytes | None]]


def register(app: typer.Typer) -> None:
    """Add the `schema` commands."""
    commands = typer.Typer(
        help="Hold schemas against former versions, and events against schemas.", no_args_is_help=True
    )

    @commands.callback()
    def _group() -> None:
        """Hold schemas against former versions, and events against schemas."""

    @commands.command("check", help=_HELP)
    def check(
        file: Annotated[
            Path | None, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON: one event a line")
        ] = None,
        topic: Annotated[
            str | None, typer.Option("--topic", "-t", help=f"of FILE's events: one of {', '.join(SOURCES)}")
        ] = None,
        show: Annotated[int, typer.Option(min=0, help="how many invalid lines of FILE to print")] = 100,
        released: Annotated[
            Path | None, typer.Option(help="directory of released schemas (those of this release if left out)")
        ] = None,
    ) -> None:
        if file is None:
            if topic is not None:
                raise ConfigError(
                    "--topic belongs to a FILE of events; without one, the schemas of all topics are checked"
                )
            if not _check_schemas(released):
                raise typer.Exit(1)
            return
        if released is not None:
            raise ConfigError("--released is for the check of schemas; leave out FILE, or --released")
        if topic not in SOURCES:
            given = "missing: FILE needs it" if topic is None else repr(topic)
            raise ConfigError(f"--topic is {given}; allowed: {', '.join(SOURCES)}")
        if not _check(file, topic, show):
            raise typer.Exit(1)

    app.add_typer(commands, name="schema")


def _check_schemas(directory: Path | None) -> bool:
    """Print what becomes of each topic; true if nothing is refused."""
    from schemas.export import json_schema
    from schemas.policy import Verdict, formers, judge
    from schemas.released import DIRECTORY, ReleasedError, load
    from schemas.upcasters import CONTRACT

    if directory is not None and not directory.is_dir():
        raise ConfigError(f"--released is {str(directory)!r}; allowed: a directory with released schemas")
    try:
        released = load(directory or DIRECTORY)
    except ReleasedError as error:
        for problem in error.problems:
            typer.echo(f"refused: {problem}")
        return False
    outcome = judge(CONTRACT, {topic: json_schema(topic) for topic in SOURCES}, released)
    state = "released" if CONTRACT.current in released.entries else "not released yet"
    read = ", ".join(map(str, formers(CONTRACT, released))) or "none"
    typer.echo(f"current version: {CONTRACT.current} ({state}); released versions that are read: {read}")

    def told(verdict: Verdict) -> None:
        typer.echo(f"{verdict.topic} against {verdict.against}: {'refused' if verdict.problems else 'ok'}")
        for text in verdict.problems:
            typer.echo(f"  breaks: {text}")
        for text in verdict.notes:
            typer.echo(f"  note: {text}")
        if verdict.not_forward:
            fields = ", ".join(verdict.not_forward)
            typer.echo(f"  note: a release of {verdict.against} does not read all new records, because of {fields}")

    for verdict in outcome.verdicts:
        told(verdict)
    for problem in outcome.problems:
        typer.echo(f"refused: {problem}")
    if any(verdict.not_forward for verdict in outcome.verdicts):
        typer.echo("upgrade every worker before a producer sends the new version")
    return outcome.ok


def _check(file: Path, topic: str, show: int) -> bool:
    from streamproc.decode import decode_batch

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
