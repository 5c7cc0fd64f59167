"""`streamproc migrate`: brings the ClickHouse schema to the state of this code."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def migrate(
        status: bool = typer.Option(
            False, "--status", help="Show what is applied and what is not, and change nothing."
        ),
        wait: float = typer.Option(60.0, min=0.0, help="Seconds to wait for a ClickHouse that is starting."),
    ) -> None:
        """Create or update the ClickHouse tables; safe to run again, and by several at once."""
        from streamproc import migrate as migrations
        from streamproc.config import load_settings

        settings = load_settings()

        def say(line: str) -> None:
            typer.echo(line, err=True)

        if status:
            for state in migrations.status(settings, wait, say):
                typer.echo(f"{state.name:40} {'applied ' + state.applied_at if state.applied_at else 'not applied'}")
            return
        applied = migrations.migrate(settings, wait, say)
        for name in applied:
            typer.echo(f"applied {name}")
        typer.echo(f"{len(applied)} applied, the schema is up to date" if applied else "the schema is up to date")
