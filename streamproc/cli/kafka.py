"""`streamproc kafka`: Apache Kafka on this machine, one node or a cluster of three, until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamproc.embedded.journal import Journal
    from streamproc.embedded.kafka.cluster import Cluster
    from streamproc.embedded.process import Part
    from streamproc.embedded.supervisor import Supervisor

_HELP = """Run Apache Kafka (KRaft) on this machine until Ctrl-C or SIGTERM; the data stays and is there at the next start.

Needs Java 17 and, the first time, Maven. Everything listens on 127.0.0.1 only. The command's process id is in DIR/pid,
each node's in DIR/node-N/pid. A node that dies is started again.

[bold]Examples[/bold]

  streamproc kafka                              one node, on a free port that is printed and kept

  streamproc kafka --port 9092                  where the other commands look for it without any setting

  streamproc kafka --nodes 3 --data data/k3     three nodes: what one of them acknowledged, two have

  kill $(cat data/kafka/pid)                    stops it
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("kafka", help=_HELP)(kafka)


def kafka(
    nodes: Annotated[int, typer.Option(help="1, or 3 for a cluster.")] = 1,
    data: Annotated[Path, typer.Option("--data", "--data-dir", help="Where everything is kept.")] = Path("data/kafka"),
    port: Annotated[
        int, typer.Option(min=0, max=65_000, help="Port of the first node, one more for each; 0: free ones.")
    ] = 0,
) -> None:
    """Run the cluster; the options are explained by --help."""
    from streamproc.logs import setup_logs

    setup_logs(level="warning")
    raise typer.Exit(asyncio.run(_run(data, nodes, port)))


async def _run(directory: Path, nodes: int, port: int) -> int:
    from streamproc.cli.up_run import Stop
    from streamproc.embedded.datadir import locked_data_dir
    from streamproc.embedded.journal import Journal
    from streamproc.embedded.kafka.cluster import format_node, plan_cluster
    from streamproc.embedded.kafka.ports import choose_ports
    from streamproc.embedded.supervisor import Supervisor

    with locked_data_dir(directory, "streamproc kafka") as home:
        cluster = plan_cluster(home, choose_ports(home, nodes, port))
        journal = Journal(home / "logs")
        stop = Stop()
        with stop.listening(), _pid_file(home / "pid"):
            if not all(node.formatted for node in cluster.nodes):
                typer.echo("the first start here: fetching Kafka if it is not there yet, and formatting its storage")
            await asyncio.gather(*(asyncio.to_thread(format_node, cluster, node) for node in cluster.nodes))
            supervisor = Supervisor([_parts(cluster)], journal)
            try:
                return await _keep(cluster, supervisor, journal, stop.asked)
            finally:
                await supervisor.kill()
                journal.close()


async def _keep(cluster: Cluster, supervisor: Supervisor, journal: Journal, asked: asyncio.Event) -> int:
    """Start the nodes and keep them until a stop is asked for; the exit code."""
    from streamproc.clock import monotonic
    from streamproc.errors import StreamprocError

    began = monotonic()
    starting = asyncio.create_task(supervisor.start())
    asking = asyncio.create_task(asked.wait())
    await asyncio.wait({starting, asking}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            starting.result()
            with _node_pids(cluster, supervisor):
                _print_addresses(cluster, monotonic() - began)
                await asking
                journal.say("stopping")
                await supervisor.stop()
        return 0
    except StreamprocError as error:
        typer.echo(f"streamproc: {error}", err=True)
        return 1
    finally:
        starting.cancel()
        asking.cancel()
        await asyncio.gather(starting, asking, return_exceptions=True)


def _parts(cluster: Cluster) -> list[Part]:
    from streamproc.embedded.kafka.cluster import node_argv
    from streamproc.embedded.kafka.ready import node_ready
    from streamproc.embedded.process import Part

    return [
        Part(
            f"kafka-{node.number}",
            node_argv(node),
            ready=partial(node_ready, node),
            ready_timeout_s=60.0,
            stop_timeout_s=20.0,
        )
        for node in cluster.nodes
    ]


def _print_addresses(cluster: Cluster, seconds: float) -> None:
    count = len(cluster.nodes)
    typer.echo(f"Apache Kafka is ready after {seconds:.1f} s: {count} node(s), data in {cluster.directory}")
    typer.echo(f"bootstrap: {cluster.bootstrap}")
    typer.echo(f"  export STREAMPROC_BROKER_URL='{cluster.url}'")
    if count > 1:
        typer.echo(f"  export STREAMPROC_REPLICATION_FACTOR={count}")
    typer.echo(f"Ctrl-C or `kill $(cat {cluster.directory / 'pid'})` stops it; the data stays.")


@contextmanager
def _node_pids(cluster: Cluster, supervisor: Supervisor) -> Iterator[None]:
    """Each node's process id in its file, also after it died and was started again."""

    async def write(number: int) -> None:
        cluster.nodes[number].pid_file.write_text(f"{supervisor.keepers[number].pid}\n", encoding="ascii")

    for number, keeper in enumerate(supervisor.keepers):
        keeper.on_return = partial(write, number)
        cluster.nodes[number].pid_file.write_text(f"{keeper.pid}\n", encoding="ascii")
    try:
        yield
    finally:
        for node in cluster.nodes:
            node.pid_file.unlink(missing_ok=True)


@contextmanager
def _pid_file(path: Path) -> Iterator[None]:
    """Our own process id in a file for as long as the block lasts."""
    import os

    path.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
