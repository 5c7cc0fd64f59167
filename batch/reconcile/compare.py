"""Published windows against those recomputed from silver: what each should say, and where they differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from batch.reconcile import uptime
from batch.reconcile.recipes import Recipe
from batch.reconcile.truth import DAY_MS, Scope, windows_sql
from schemas.results import OPEN
from streamproc.catalogue import metrics_of_measure
from streamproc.sinks.clickhouse_client import ClickHouse

E4: Final = 10_000
_INT64: Final = 2**63 - 1
#: Percentiles are within 1 % of the value at their rank (contracts.md).
_PERCENTILE_ERROR: Final = 0.0101
#: More values of a dimension than this are counted under `other`, by each source for itself.
MAX_VALUES: Final = 1000


class Key(NamedTuple):
    """One window of one measure."""

    size: str
    start_ms: int
    dimension: str
    value: str


class Facts(NamedTuple):
    """What silver has of a window: events, sum (1/10000), distinct ids, events that came too late, percentiles.

    Of uptime: `total` minutes up, `ids` minutes due, `percentiles` those due while the window is open.
    """

    n: int = 0
    total: int = 0
    ids: int = 0
    late: int = 0
    percentiles: tuple[int, ...] = ()


class Published(NamedTuple):
    """What gold.windows says of one metric of a window."""

    value: float | None
    n: int
    sum_e4: int
    version: int
    status: str


@dataclass(slots=True)
class Compared:
    """A measure's windows of a day. `differing` are those of which some metric says something else than silver."""

    windows: int
    facts: dict[Key, Facts]
    versions: dict[Key, int]
    differing: list[Key]
    skipped: tuple[str, ...] = ()


def percents_of(measure: str) -> tuple[int, ...]:
    """The percentiles that are published of a measure."""
    return tuple(
        int(metric.formula[1:]) for metric in metrics_of_measure(measure) if metric.formula in ("p50", "p95", "p99")
    )


def expected(formula: str, facts: Facts, percentile: float = 0.0) -> tuple[float | None, int, int]:
    """(value, count, sum in 1/10000) by the definitions of contracts.md, in this module's own words."""
    n, total, ids = facts.n, facts.total, facts.ids
    clamped = max(-_INT64, min(_INT64, total))
    if formula in ("mean", "money", "money_per_distinct"):
        of = {"mean": n, "money": 1, "money_per_distinct": ids}[formula]
        return (total / (E4 * of) if of else None), (ids if formula == "money_per_distinct" else n), clamped
    if formula in ("percent", "share"):
        of = n - total if formula == "percent" else n
        return (100.0 * total / of if of else None), of, 0
    if formula in ("count", "distinct"):
        return float(ids if formula == "distinct" else n), n, 0
    if formula == "uptime":
        return (100.0 * total / ids if ids else None), ids, 0
    return (percentile if n else None), n, 0


def agree(formula: str, facts: Facts, percentile: float, published: Published) -> bool:
    """Whether a published metric says what it should; percentiles within their stated error."""
    if formula == "uptime" and published.status == OPEN and facts.percentiles:
        facts = facts._replace(ids=facts.percentiles[0])
    value, count, sum_e4 = expected(formula, facts, percentile)
    if (count, sum_e4) != (published.n, published.sum_e4) or (value is None) != (published.value is None):
        return False
    if value is None or published.value is None:
        return True
    error = _PERCENTILE_ERROR if formula.startswith("p") and formula[1:].isdigit() else 1e-9
    return math.isclose(value, published.value, rel_tol=error, abs_tol=1e-9)


async def compare(clickhouse: ClickHouse, recipe: Recipe, scope: Scope) -> Compared:
    """Recompute a measure's windows of the day, and find those that were published otherwise, or not at all.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    percents = percents_of(recipe.measure)
    facts = {
        Key(size, start, dimension, value): Facts(n, total, ids, late, tuple(ranks))
        for size, start, dimension, value, ranks, n, total, ids, late in await clickhouse.rows(
            uptime.windows_sql(scope) if recipe.of_minutes else windows_sql(recipe, scope, percents)
        )
    }
    published = {
        metric.name: await _published(clickhouse, metric.name, scope) for metric in metrics_of_measure(recipe.measure)
    }
    skipped = _too_many(facts)
    keys = {key for key in facts if key.dimension not in skipped}
    keys |= {
        key
        for windows in published.values()
        for key, said in windows.items()
        if (said.n or said.sum_e4) and key.dimension not in skipped
    }
    differing = [key for key in keys if not _all_agree(recipe.measure, facts.get(key, Facts()), key, published)]
    versions = {
        key: max((windows[key].version for windows in published.values() if key in windows), default=0)
        for key in differing
    }
    return Compared(len(keys), facts, versions, sorted(differing), skipped)


def _all_agree(measure: str, facts: Facts, key: Key, published: dict[str, dict[Key, Published]]) -> bool:
    percents = percents_of(measure)
    for metric in metrics_of_measure(measure):
        said = published[metric.name].get(key)
        if said is None:
            return False
        rank = percents.index(int(metric.formula[1:])) if percents else 0
        percentile = float(facts.percentiles[rank]) if percents and facts.n else 0.0
        if not agree(metric.formula, facts, percentile, said):
            return False
    return True


def _too_many(facts: dict[Key, Facts]) -> tuple[str, ...]:
    values: dict[str, set[str]] = {}
    for key in facts:
        values.setdefault(key.dimension, set()).add(key.value)
    return tuple(sorted(name for name, found in values.items() if len(found) > MAX_VALUES))


async def _published(clickhouse: ClickHouse, metric: str, scope: Scope) -> dict[Key, Published]:
    rows = await clickhouse.rows(
        """SELECT window, toInt64(toUnixTimestamp(window_start)) * 1000, dimension, dimension_value, value, count, sum_e4, version, toString(status)
           FROM gold.windows FINAL
           WHERE metric = {metric:String} AND window_start >= toDateTime({start:Int64}, 'UTC')
             AND window_start < toDateTime({end:Int64}, 'UTC')""",
        {"metric": metric, "start": scope.day_ms // 1000, "end": (scope.day_ms + DAY_MS) // 1000},
    )
    return {
        Key(size, start, dimension, name): Published(value, count, sum_e4, version, status)
        for size, start, dimension, name, value, count, sum_e4, version, status in rows
    }
