"""`streamproc warehouse`: silver to gold by dbt, the newest daily metrics into Redis, and the pages that explain it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

  streamproc warehouse build                                   what came since the last build, and its tests
  streamproc warehouse build --select fact_video_generation    one model
  streamproc warehouse build --everything                      all of it, from silver
  streamproc warehouse docs                                    a page of all models, columns and where they come from
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Gold tables and daily metrics, made of silver by dbt.", epilog=_EXAMPLES
    )
    app.add_typer(group, name="warehouse")

    @group.command()
    def build(
        select: Annotated[
            list[str] | None,
            typer.Option("--select", "-s", help="Only these models (dbt's selection); may be repeated."),
        ] = None,
        everything: Annotated[
            bool, typer.Option("--everything", help="Compute every row again, not only what news touch.")
        ] = False,
        tests: Annotated[bool, typer.Option(help="Run the models' tests too.")] = True,
    ) -> None:
        """Bring the gold tables up to date, test them, put the newest daily metrics into Redis, and note in meta.datasets what
        there is.

        Rules on daily metrics are judged last, by the newest day that is over, and their alerts go to the topic `alerts`.

        Safe to run again and to kill: a build without news writes nothing, one that was killed is done again.
        """
        from batch.warehouse import daily_alerts, daily_redis, dbt
        from streamproc.cli.with_clickhouse import with_clickhouse
        from streamproc.config import load_settings
        from streamproc.datasets import refresh

        settings = load_settings()
        arguments = ["build" if tests else "run", *(word for name in select or [] for word in ("--select", name))]
        results = dbt.run(settings, arguments, {"everything": True} if everything else None)
        shown = daily_redis.publish(settings)
        with_clickhouse(settings, lambda clickhouse: refresh(clickhouse, settings))
        alerts = daily_alerts.judge(settings)
        models = sum(each.node.resource_type == "model" for each in results)
        checks = sum(each.node.resource_type == "test" for each in results)
        typer.echo(
            f"{models} models built, {checks} tests passed, {shown} daily metrics in Redis, {alerts} alerts recorded"
        )

    @group.command()
    def docs(
        out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("warehouse.html"),
    ) -> None:
        """Write one page that shows every model, column, test and the lineage; open it in a browser."""
        from batch.warehouse import dbt
        from streamproc.config import load_settings

        dbt.write_docs(load_settings(), out)
        typer.echo(f"wrote {out}")
