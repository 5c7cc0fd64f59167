"""Pages that follow from the code: `python -m tests.docs.pages` writes them, a test holds them up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import prometheus_client
from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamproc import telemetry
from streamproc.catalogue import document, grafana
from streamproc.config import Settings

ROOT: Final = Path(__file__).parents[2]

_SETTINGS_HEAD: Final = """# Settings

Written by `python -m tests.docs.pages` from `streamproc/config.py`; a test holds it up to date. Do not edit it by hand.

Every setting is an environment variable with the prefix `STREAMPROC_`, or a line of a TOML file that `STREAMPROC_CONFIG`
names, in lower case and without the prefix ([an example](../deploy/settings.example.toml)). The environment wins over
the file, options on the command line win over both. Unknown names in the file and values out of bounds are refused with
a message that names the setting, its value and what is allowed (exit code 2). URLs are secrets: they appear in no log.

| environment variable | default | allowed | meaning |
| --- | --- | --- | --- |
"""

_TELEMETRY_HEAD: Final = """# Prometheus metrics of a worker

Written by `python -m tests.docs.pages` from `streamproc/telemetry.py`; a test holds it up to date. Do not edit it by
hand. Each worker serves them on `http://127.0.0.1:9464/metrics` (and up, one port a worker). What to do when one looks
wrong: [operations.md](operations.md).

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""

_TOML_HEAD: Final = """# Settings of streamproc with their defaults: copy it, uncomment what you change, and name it by STREAMPROC_CONFIG.
# Written by `python -m tests.docs.pages` from streamproc/config.py. Environment variables win over this file.
"""


def default_of(field: FieldInfo) -> Any:
    """A field's default; None if it has none."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return None if value is PydanticUndefined else value


def _allowed(field: FieldInfo) -> str:
    signs = {Ge: ">=", Gt: ">", Le: "<=", Lt: "<"}
    if get_origin(field.annotation) is not None and all(isinstance(arg, str) for arg in get_args(field.annotation)):
        return ", ".join(f"`{arg}`" for arg in get_args(field.annotation))
    bounds = [
        f"{sign} {getattr(item, type(item).__name__.lower())}"
        for item in field.metadata
        for kind, sign in signs.items()
        if isinstance(item, kind)
    ]
    patterns = [f"`{item.pattern}`" for item in field.metadata if getattr(item, "pattern", None)]
    return ", ".join(bounds + patterns) or {bool: "`true`, `false`"}.get(field.annotation, "–")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`{}`" if value == {} else f"`{value}`" if str(value) else "empty"


def settings_page() -> str:
    """docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        allowed = _allowed(field).replace("|", "\\|")
        rows.append(f"| `STREAMPROC_{name.upper()}` | {_shown(default_of(field))} | {allowed} | {field.description} |")
    return _SETTINGS_HEAD + "\n".join(rows) + "\n"


def settings_toml() -> str:
    """deploy/settings.example.toml."""
    parts = [_TOML_HEAD]
    for name, field in Settings.model_fields.items():
        value = default_of(field)
        parts.append(f"# {field.description}\n# {name} = {_toml(value)}\n")
    return "\n".join(parts)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    return "{}" if value == {} else f'"{value if value is not None else "..."}"'


def exposed_metrics() -> dict[str, Any]:
    """Name as Prometheus sees it -> the metric's object."""
    found: dict[str, Any] = {}
    for metric in vars(telemetry).values():
        if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            found[name] = metric
    return found


def telemetry_page() -> str:
    """docs/telemetry.md."""
    rows = [
        f"| `{name}` | {metric._type} | {', '.join(metric._labelnames) or '–'} | {metric._documentation} |"
        for name, metric in exposed_metrics().items()
    ]
    return _TELEMETRY_HEAD + "\n".join(rows) + "\n"


def pages() -> dict[Path, str]:
    """Every written page and what is to be in it."""
    return {
        ROOT / "docs/metrics.md": document.page(),
        ROOT / "docs/settings.md": settings_page(),
        ROOT / "docs/telemetry.md": telemetry_page(),
        ROOT / "deploy/settings.example.toml": settings_toml(),
        ROOT / "deploy/grafana/dashboards/streamproc.json": grafana.dashboard_json(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
