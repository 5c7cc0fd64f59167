"""The catalogue as a page for people: `python -m streamproc.catalogue.document` writes docs/metrics.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from streamproc.catalogue.daily import DAILY_METRICS, DailyMetric
from streamproc.catalogue.measures import MEASURES, Measure, measure_of
from streamproc.catalogue.metrics import METRICS, WINDOWS, Metric

_HEAD: Final = """# Metrics

Written by `python -m streamproc.catalogue.document` from [`streamproc/catalogue`](../streamproc/catalogue); a test holds
it up to date. Do not edit it by hand.

A metric is published from a *measure* (what is accumulated, in one accumulator per window, dimension value and source)
by a *formula*. Windows are half-open, aligned to UTC: {windows}. A window takes events until 10 minutes after its end,
by the event time of the events before in the same partition. `null` is an empty text in Redis and NULL in ClickHouse.
Where to read them: [README](../README.md#read-a-value); how events are counted: [events.md](events.md).
"""

_DAILY_HEAD: Final = """## Daily metrics

`gold.daily_metrics`, a row a day from the first day with an event to the newest, computed from silver by `streamproc warehouse
build`; the newest of each is in Redis under `sp:daily:`. What comes late changes the days that it belongs to, up to 150 days back.
Formulas are those of the customer's document; edge cases are decided as the table says. More: [warehouse.md](warehouse.md).
"""

_KINDS: Final[dict[str, str]] = {
    "count": "number of events",
    "sum": "exact integer sum, in 1/10000 of the unit",
    "distinct": "exact set of ids (Roaring bitmap)",
    "histogram": "counts by bucket, percentiles within 1 %",
    "ratio": "both halves of a ratio in one accumulator",
    "sum_distinct": "exact sum and the exact set of ids it is spread over",
    "uptime": "of each minute of each service the last health event",
    "id_sum": "amount by event id, so that no id counts twice",
}


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD.format(windows=", ".join(f"`{window}`" for window in WINDOWS)), "## Overview\n", _overview()]
    parts += [_metric(metric) for metric in METRICS]
    parts += ["## Measures\n", _measures(), _DAILY_HEAD, _daily()]
    return "\n".join(parts)


def _daily() -> str:
    lines = ["| metric | unit | value of a day | null | from |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_daily_row(metric) for metric in DAILY_METRICS)]) + "\n"


def _daily_row(metric: DailyMetric) -> str:
    more = [metric.meaning]
    if metric.dimension:
        more.append(f"also by {metric.dimension}")
    if metric.live:
        more.append(f"as the 1d window of `{metric.live}`")
    if metric.monthly:
        more.append("also by month: the value of its last day")
    goals = (("threshold", metric.threshold), ("target", metric.target))
    more += [f"{what} {goal}" for what, goal in goals if goal]
    return f"| `{metric.name}` | {metric.unit} | {'; '.join(more)} | {metric.null_when} | {metric.source} |"


def _overview() -> str:
    lines = ["| metric | unit | topic | dimensions | threshold or target |", "| --- | --- | --- | --- | --- |"]
    for metric in METRICS:
        goal = metric.threshold or metric.target or "–"
        lines.append(
            f"| [`{metric.name}`](#{metric.name}) | {metric.unit} | {_topic(metric)} | {_breakdown(metric)} | {goal} |"
        )
    return "\n".join(lines) + "\n"


def _topic(metric: Metric) -> str:
    return _topics(measure_of(metric.measure))


def _topics(measure: Measure) -> str:
    return ", ".join(f"`{topic}`" for topic in measure.topics)


def _breakdown(metric: Metric) -> str:
    if metric.entity:
        return f"by {metric.entity}, no windows"
    return ", ".join(metric.dimensions) or "–"


def _metric(metric: Metric) -> str:
    measure = measure_of(metric.measure)
    judged = "on every update" if metric.judged == "every_update" else "on final windows only"
    lines = [
        f"## {metric.name}\n",
        f"{metric.meaning[0].upper()}{metric.meaning[1:]}.\n",
        f"- unit: {metric.unit}; null: {metric.null_when}",
        f"- from {_topics(measure)}: measure `{measure.name}`, formula `{metric.formula}`",
        f"- dimensions: {_breakdown(metric)}",
        f"- alert rules judge it {judged}; asked for: {metric.frequency}",
    ]
    if metric.threshold or metric.target:
        goals = (("threshold", metric.threshold), ("target", metric.target))
        lines.append("- " + "; ".join(f"{what} {goal}" for what, goal in goals if goal))
    if metric.alias:
        lines.append(f"- alias of its 1d window: `{metric.alias}` (Redis key `sp:live:{metric.alias}:1d`, alert rules)")
    key = f"sp:entity:{metric.name}:{{{metric.entity}}}" if metric.entity else f"sp:live:{metric.name}:{{window}}"
    lines.append(f"- Redis: `{key}`; ClickHouse: `{'gold.entities' if metric.entity else 'gold.windows'}`")
    return "\n".join(lines) + "\n"


def _measures() -> str:
    lines = ["| measure | topic | events | value | accumulator |", "| --- | --- | --- | --- | --- |"]
    lines += [_measure_row(measure) for measure in MEASURES]
    return "\n".join(lines) + "\n"


def _measure_row(measure: Measure) -> str:
    value = f"`{measure.value}`" if measure.value else "–"
    return (
        f"| `{measure.name}` | {_topics(measure)} | `{measure.selector}` | {value} "
        f"| `{measure.kind}`: {_KINDS[measure.kind]} |"
    )


def main(path: Path = Path("docs/metrics.md")) -> None:
    """Write the page."""
    path.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
