"""dbt on streamproc's own settings: connection from the environment, artefacts in the data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError

PROJECT: Final = Path(__file__).resolve().parent.parent / "dbt"


def environment(settings: Settings) -> dict[str, str]:
    """What `profiles.yml` reads. The password's name has the prefix by which dbt keeps a value out of its logs."""
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    return {
        "STREAMPROC_DBT_HOST": url.hostname or "127.0.0.1",
        "STREAMPROC_DBT_PORT": str(url.port or (8443 if url.scheme == "https" else 8123)),
        "STREAMPROC_DBT_USER": unquote(url.username or "default"),
        "STREAMPROC_DBT_SECURE": "true" if url.scheme == "https" else "false",
        "DBT_ENV_SECRET_STREAMPROC_PASSWORD": unquote(url.password or ""),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def run(settings: Settings, arguments: Sequence[str], variables: Mapping[str, Any] | None = None) -> list[Any]:
    """Run one dbt command (`["build"]`, `["build", "--select", "fact_video_generation"]`, ...).

    Returns:
        dbt's node results, for commands that have some.

    Raises:
        ConfigError: dbt is not installed.
        PermanentError: a model or test failed; the message names each with dbt's words.
    """
    try:
        from dbt.cli.main import dbtRunner
    except ImportError as error:
        raise ConfigError("dbt is not installed; install streamproc with its extra: pip install '.[batch]'") from error
    os.environ.update(environment(settings))
    places = {"project-dir": PROJECT, "profiles-dir": PROJECT}
    places |= {"target-path": settings.data_dir / "dbt" / "target", "log-path": settings.data_dir / "dbt" / "logs"}
    command = [*arguments, *(f"--{name}={path}" for name, path in places.items())]
    if variables:
        command.append(f"--vars={orjson.dumps(variables).decode()}")
    outcome = dbtRunner().invoke(command)
    results = list(getattr(outcome.result, "results", []) or [])
    if not outcome.success:
        raise PermanentError(_words(outcome.exception, results))
    return results


def write_docs(settings: Settings, out: Path) -> None:
    """One HTML page of all models, columns, tests and the lineage.

    Raises:
        ConfigError, PermanentError: as `run`.
    """
    run(settings, ["docs", "generate", "--static", "--quiet"])
    out.write_bytes((settings.data_dir / "dbt" / "target" / "static_index.html").read_bytes())


def _words(exception: BaseException | None, results: Sequence[Any]) -> str:
    failed = [f"{each.node.name}: {each.message}" for each in results if each.status in ("error", "fail")]
    return "dbt failed: " + ("; ".join(failed) or str(exception))
