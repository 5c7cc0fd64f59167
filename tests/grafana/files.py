"""What lies in deploy/grafana, as Grafana would read it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy/grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboards/streamproc.json").read_text(encoding="utf-8"))
USER_SQL: Final = (FOLDER / "clickhouse_user.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Panel:
    """One panel with a query, and the heading it stands under."""

    row: str
    model: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.model["title"])

    @property
    def target(self) -> dict[str, Any]:
        (target,) = self.model["targets"]
        return dict(target)

    @property
    def sql(self) -> str:
        return str(self.target["rawSql"])


def all_panels() -> list[dict[str, Any]]:
    """Every panel and heading, those in collapsed rows too."""
    return [each for panel in DASHBOARD["panels"] for each in (panel, *panel.get("panels", ()))]


def panels() -> list[Panel]:
    """Every panel with a query."""
    found, row = [], ""
    for model in all_panels():
        if model["type"] == "row":
            row = model["title"]
        else:
            found.append(Panel(row, model))
    return found


def provisioned(kind: str) -> dict[str, Any]:
    """The YAML of `datasources` or `dashboards`."""
    (path,) = (FOLDER / "provisioning" / kind).iterdir()
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def statements() -> list[str]:
    """The statements of clickhouse_user.sql without their comments."""
    text = re.sub(r"^\s*--.*$", "", USER_SQL, flags=re.MULTILINE)
    return [each.strip() for each in text.split(";") if each.strip()]
