"""Findings: one line an invariant, with what was checked, how much of it is wrong, and the first of that in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import duckdb

SHOWN: Final = 10


@dataclass
class Finding:
    """One check of one invariant. `shown` are the first violations in words; `note` is worth knowing and no violation."""

    invariant: str
    name: str
    checked: int
    violations: int
    shown: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def line(self) -> str:
        """As it is printed."""
        verdict = "ok" if not self.violations else f"{self.violations:,} WRONG"
        text = f"{self.invariant:<7} {self.name:<55} checked {self.checked:>11,}   {verdict}"
        return text + (f"   ({self.note})" if self.note else "")


def of_words(invariant: str, name: str, checked: int, wrong: Iterable[str], note: str = "") -> Finding:
    """A finding from violations in words."""
    words = list(wrong)
    return Finding(invariant, name, checked, len(words), words[:SHOWN], note)


def of_query(
    db: duckdb.DuckDBPyConnection, invariant: str, name: str, checked: int, sql: str, say: str, note: str = ""
) -> Finding:
    """A finding from a query whose rows are violations; `say` formats a row (a dictionary by column name)."""
    db.execute(f"CREATE OR REPLACE TEMP TABLE wrong AS {sql}")
    count = (db.execute("SELECT count(*) FROM wrong").fetchone() or (0,))[0]
    result = db.execute(f"FROM wrong LIMIT {SHOWN}")
    names = [column[0] for column in result.description or ()]
    shown = [say.format(**dict(zip(names, row, strict=True))) for row in result.fetchall()]
    return Finding(invariant, name, checked, int(count), shown, note)


def count(db: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The single number of a query; null counts 0."""
    return int((db.execute(sql).fetchone() or (0,))[0] or 0)


def as_json(findings: Sequence[Finding], facts: dict[str, Any]) -> dict[str, Any]:
    """The report as a document."""
    wrong = sum(each.violations for each in findings)
    return {"ok": not wrong, "violations": wrong, **facts, "invariants": [asdict(each) for each in findings]}
