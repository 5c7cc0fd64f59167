"""`streamproc up`: the whole stack on this machine, with nothing but this Python environment."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Start the broker, Redis, ClickHouse, the workers and demo traffic on this machine, and keep them running.

Everything listens on 127.0.0.1 only and keeps its files under one directory. The broker keeps its log in memory;
the values it led to are kept by ClickHouse and Redis.

[bold]Examples[/bold]

  streamproc up                                the whole stack until Ctrl-C

  streamproc up --for 60s --no-view            one minute, with status lines and a summary

  streamproc up --no-demo                      no made-up traffic: send your own events

  streamproc up --rate 500 --workers 2         more traffic, shared by two workers

  streamproc up --data-dir /tmp/sp --broker-port 19092 --redis-port 16379 --clickhouse-port 18123 --metrics-port 19464
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", help=_EXAMPLES)(up)


def up(
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Make demo traffic.")] = True,
    rate: Annotated[float, typer.Option(min=0.1, max=20_000, help="Demo events per second.")] = 50.0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Processes that count windows.")] = 1,
    for_: Annotated[
        str, typer.Option("--for", help="Stop by itself after 60s, 10m, 2h .. (from when all is ready).")
    ] = "",
    data_dir: Annotated[Path, typer.Option(envvar="STREAMPROC_DATA_DIR", help="Where all files are kept.")] = Path(
        "data"
    ),
    broker_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the broker.")] = 9092,
    redis_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of Redis.")] = 6379,
    clickhouse_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of ClickHouse (HTTP).")] = 8123,
    api_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the API and dashboard.")] = 8000,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65_500, help="First port of the workers' metrics; one more for each worker.")
    ] = 9464,
    broker_memory_mb: Annotated[
        int, typer.Option(min=50, help="Renew the broker, whose log is in memory, when it holds more than this.")
    ] = 500,
    view: Annotated[bool, typer.Option("--view/--no-view", help="Live view (in a terminal), or status lines.")] = True,
) -> None:
    """Run the stack; the options are explained by --help."""
    from streamproc.cli.up_run import run_up
    from streamproc.embedded.durations import parse_duration
    from streamproc.embedded.stack import StackOptions
    from streamproc.logs import setup_logs

    setup_logs(level="warning")
    options = StackOptions(
        data_dir=data_dir.expanduser().resolve(),
        demo=demo,
        rate=rate,
        workers=workers,
        broker_port=broker_port,
        redis_port=redis_port,
        clickhouse_port=clickhouse_port,
        metrics_port=metrics_port,
        broker_memory_mb=broker_memory_mb,
    )
    for_s = parse_duration(for_) if for_ else None
    raise typer.Exit(asyncio.run(run_up(options, for_s, view and sys.stdout.isatty())))
