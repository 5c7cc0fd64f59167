"""`streamproc personal show|destroy`: a user's personal data in clear, and the end of it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from streamproc.sinks.clickhouse_client import ClickHouse
    from streamproc.sinks.key_store import KeyStore

_T = TypeVar("_T")

_SHOW_HELP = """Print what silver and gold hold of a user, in clear. Needs the master key and the right to read `keys`.

[bold]Examples[/bold]

  streamproc personal show --user 4711

  streamproc personal show --user 4711 --json
"""
_DESTROY_HELP = """Destroy a user's keys: what was sealed with them in bronze, silver, gold and their backups can never be read again.

Records that come within 8 days afterwards are stored without their personal values. A second run changes nothing.

[bold]Example[/bold]

  streamproc personal destroy --user 4711 --yes
"""
_USER = typer.Option(..., "--user", help="The user's id.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(help="Personal data of one user: show, destroy.", no_args_is_help=True)
    group.command("show", help=_SHOW_HELP)(show)
    group.command("destroy", help=_DESTROY_HELP)(destroy)
    app.add_typer(group, name="personal")


def show(user: int = _USER, as_json: bool = typer.Option(False, "--json", help="As JSON, for programs.")) -> None:
    """Print a user's values."""
    from streamproc.personal_data import STATES, held_of

    held = _with_keys(lambda clickhouse, keys: held_of(clickhouse, keys, user))
    if as_json:
        import orjson

        rows = [each._asdict() for each in held]
        sys.stdout.buffer.write(orjson.dumps({"user_id": user, "held": rows}, option=orjson.OPT_INDENT_2) + b"\n")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not held:
        console.print(f"silver and gold hold no personal value of user {user}")
        return
    table = Table("table", "field", "value", "rows", "how", box=None, header_style="bold", pad_edge=False)
    for each in held:
        value = "-" if each.value is None else escape(each.value)
        table.add_row(each.table, each.field, value, f"{each.rows:,}", STATES[each.state])
    console.print(table)


def destroy(
    user: int = _USER, yes: bool = typer.Option(False, "--yes", help="Do it: nothing brings the data back.")
) -> None:
    """Destroy a user's keys and say what was done."""
    from streamproc.errors import ConfigError
    from streamproc.sinks.key_store import LOOK_AGAIN_S, REPLAY_DAYS

    if not yes:
        raise ConfigError(f"nothing was destroyed: what is sealed of user {user} can never be read again; say --yes")
    done = _with_keys(lambda _clickhouse, keys: keys.destroy(user))
    if not done.newly and not done.keys:
        typer.echo(f"user {user}: the keys were destroyed before, and none is there; nothing was changed")
        return
    typer.echo(
        f"user {user}: {done.keys} keys destroyed, none is left. Workers let go of them within {LOOK_AGAIN_S:g} s; what "
        f"comes of the user within {REPLAY_DAYS} days is stored without personal values"
    )


def _with_keys(act: Callable[[ClickHouse, KeyStore], Awaitable[_T]]) -> _T:
    from streamproc.cli.with_clickhouse import with_clickhouse
    from streamproc.config import load_settings
    from streamproc.logs import setup_logs
    from streamproc.sinks.key_store import KeyStore, keys_clickhouse
    from streamproc.sinks.master_key import load_master_key

    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    master = load_master_key(settings)

    async def run(clickhouse: ClickHouse) -> _T:
        server = keys_clickhouse(settings, clickhouse)
        try:
            return await act(clickhouse, KeyStore(server, master))
        finally:
            await server.close()

    return with_clickhouse(settings, run)
