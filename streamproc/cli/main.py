"""The `streamproc` command: one sub-command a module, and errors as one clear message with the agreed exit codes."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points, version

import typer

from streamproc.errors import ConfigError, StreamprocError

#: Modules with `register(app)`; each imports what is heavy inside its commands, so that `--help` stays fast.
_COMMAND_MODULES = (
    "up",
    "kafka",
    "doctor",
    "worker",
    "migrate",
    "produce",
    "demo",
    "trace",
    "dead_letters",
    "schema",
    "datasets",
    "retention",
    "personal",
)

EXIT_FAILED = 1
EXIT_WRONG_USE = 2


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamproc {version('streamproc')}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The command-line application with every sub-command registered."""
    app = typer.Typer(
        name="streamproc",
        help="Exact real-time metrics, windows and alerts from Kafka events.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode="rich",
    )

    @app.callback()
    def _options(
        _version: bool = typer.Option(
            False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        pass

    for name in _COMMAND_MODULES:
        importlib.import_module(f"streamproc.cli.{name}").register(app)
    # The batch side adds its own: the stream does not know it.
    for point in sorted(entry_points(group="streamproc.commands"), key=lambda point: point.name):
        point.load().register(app)
    return app


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 failed, 2 wrong use or configuration."""
    try:
        build_app()()
    except ConfigError as error:
        sys.exit(_fail(error, EXIT_WRONG_USE))
    except StreamprocError as error:
        sys.exit(_fail(error, EXIT_FAILED))


def _fail(error: StreamprocError, code: int) -> int:
    from streamproc.logs import redact

    typer.echo(f"streamproc: {redact(str(error))}", err=True)
    return code


if __name__ == "__main__":
    main()
