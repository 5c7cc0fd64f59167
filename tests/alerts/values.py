"""Builders of published values and rule sets for alert tests."""

from __future__ import annotations

from schemas.results import ALL, FINAL, SIZES_MS, MetricValue
from streamproc.alerts.rules import RuleSet
from streamproc.alerts.rules_file import parse_rules

MIN = 60_000
FIVE = SIZES_MS["5m"]


def cost(usd: float, version: int, video: str = "7", complete: bool = True) -> MetricValue:
    """A video's running total."""
    return MetricValue(
        metric="cost_per_video_usd",
        size=ALL,
        dimension="video_id",
        dimension_value=video,
        window_start_ms=0,
        window_end_ms=0,
        value=usd,
        count=3,
        sum_e4=round(usd * 10_000),
        status="open",
        late=0,
        version=version,
        updated_at_ms=1_700_000_000_000 + version,
        complete=complete,
    )


def window(
    value: float | None,
    number: int,
    version: int = 1,
    *,
    metric: str = "api_response_time_p95_ms",
    size: str = "5m",
    status: str = FINAL,
    count: int = 100,
    dimension: str = "",
    dimension_value: str = "",
    complete: bool = True,
) -> MetricValue:
    """The value of the `number`th window."""
    start = number * SIZES_MS[size]
    return MetricValue(
        metric=metric,
        size=size,
        dimension=dimension,
        dimension_value=dimension_value,
        window_start_ms=start,
        window_end_ms=start + SIZES_MS[size],
        value=value,
        count=count,
        sum_e4=0,
        status=status,
        late=0,
        version=version,
        updated_at_ms=start + 1000,
        complete=complete,
    )


def slow_api(extra: str = "") -> RuleSet:
    """One rule on the API's p95, with more fields (one a line, `name: value`)."""
    lines = "".join(f"    {line}\n" for line in extra.splitlines())
    return parse_rules(
        "rules:\n  - name: slow\n    metric: api_response_time_p95_ms\n    window: 5m\n    operator: '>'\n"
        "    threshold: 200\n    min_count: 20\n" + lines,
        "test.yaml",
    )
