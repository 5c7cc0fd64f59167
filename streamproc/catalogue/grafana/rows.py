"""Which panels stand in which row, and what each says of itself."""

from __future__ import annotations

from typing import Final

from schemas.events import COMPONENTS
from streamproc.catalogue.daily import DAILY_METRICS, DailyMetric
from streamproc.catalogue.grafana import queries
from streamproc.catalogue.grafana.goals import GREEN, RED, UNITS, steps
from streamproc.catalogue.grafana.panels import Json, figure, matrix, table, time_series
from streamproc.catalogue.measures import measure_of
from streamproc.catalogue.metrics import METRICS, Metric, metric_named

#: Days are asked for over weeks, whatever minutes the live rows look at.
_DAYS, _COHORTS = "35d", "90d"
#: Totals are grouped anew at each refresh: of a day, not of whatever range.
_TOTALS_OVER: Final = "1d"
_BUILT: Final = "Of the warehouse: as new as the last `streamproc warehouse build`."
_FUNNEL: Final = tuple(
    (step, f"videos_{step}") for step in ("requested", "started", "completed", "published", "failed")
)
_WINDOWED: Final = tuple(metric for metric in METRICS if not metric.entity)
_TOTALS: Final = tuple(metric for metric in METRICS if metric.entity)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _goals(metric: Metric | DailyMetric) -> list[str]:
    named = (("Threshold", metric.threshold), ("Target", metric.target))
    return [f"{what}: {goal}." for what, goal in named if goal]


def _about(metric: Metric) -> str:
    """Meaning, formula, source and goals of a live metric."""
    lines = [
        _sentence(metric.meaning),
        f"Unit: {metric.unit}; null: {metric.null_when}.",
        f"Formula `{metric.formula}` of measure `{metric.measure}`, from {', '.join(measure_of(metric.measure).topics)}.",
        *_goals(metric),
    ]
    if metric.dimensions:
        lines.append(f"By {', '.join(metric.dimensions)}: the {queries.MOST_SERIES} values with the highest count.")
    return "\n\n".join(lines)


def _about_daily(metric: DailyMetric) -> str:
    lines = [_sentence(metric.meaning), f"Unit: {metric.unit}; null: {metric.null_when}.", f"From {metric.source}."]
    return "\n\n".join([*lines, *_goals(metric), _BUILT])


def live() -> list[Json]:
    """A panel a windowed metric, in the windows that are chosen above."""
    return [
        time_series(
            metric.name,
            _about(metric),
            queries.live_series(metric.name, metric.dimensions),
            UNITS[metric.unit],
            steps=steps(metric.threshold, metric.target),
        )
        for metric in _WINDOWED
    ]


def costs() -> list[Json]:
    """What today costs, what videos cost, and the days of it."""
    burning = metric_named("daily_burn_rate_usd")
    about = f"The UTC day in which the range ends. {_sentence(burning.meaning)}"
    today = [
        figure("Burn rate today", about, queries.day_of_window(burning.name, ""), "currencyUSD", series=True),
        figure(
            "Burn rate today by component",
            about,
            queries.day_of_window(burning.name, "component"),
            "currencyUSD",
            kind="bargauge",
            series=True,
            size=(8, 7),
        ),
    ]
    return [*today, *(_dearest(metric) for metric in _TOTALS), _dearest_videos(), *_daily(of_costs=True)]


def _dearest(metric: Metric) -> Json:
    return table(
        f"{metric.name}: highest, live",
        f"{_about(metric)}\n\nOf those with a cost in the last day.",
        queries.dearest_entities(metric.name, metric.entity),
        units={"total": UNITS[metric.unit]},
        steps={"total": steps(metric.threshold, metric.target)},
        size=(12, 7),
        over=_TOTALS_OVER,
    )


def _dearest_videos() -> Json:
    limit = next(metric for metric in _TOTALS if metric.entity == "video_id")
    return table(
        "Dearest videos, by what was paid for",
        f"Videos requested in the range, gold.fact_video_generation.\n\n{_BUILT}",
        queries.dearest_videos(COMPONENTS),
        units=dict.fromkeys(("total", *COMPONENTS), "currencyUSD"),
        steps={"total": steps(limit.threshold, limit.target)},
        size=(24, 8),
        over=_DAYS,
    )


def _daily(*, of_costs: bool) -> list[Json]:
    return [
        time_series(
            f"{metric.name}, by day",
            _about_daily(metric),
            queries.daily_series(metric.name, metric.dimension),
            UNITS[metric.unit],
            steps=steps(metric.threshold, metric.target),
            over=_DAYS,
        )
        for metric in DAILY_METRICS
        if of_costs == ("cost" in metric.name or "burn_rate" in metric.name)
    ]


def funnel() -> list[Json]:
    """How far videos come."""
    named = ", ".join(f"`{metric}`" for _, metric in _FUNNEL)
    in_range = "Videos requested in the range, gold.fact_video_generation."
    return [
        figure(
            "From request to publication",
            f"Sums of {named} over the windows that touch the range; a status of a video counts once. "
            "Not one group of videos: what completes now was requested before.",
            queries.funnel(_FUNNEL),
            "short",
            kind="bargauge",
            size=(8, 9),
        ),
        table(
            "Videos by niche",
            f"How far they came: {in_range}\n\n{_BUILT}",
            queries.videos_by_niche(),
            units={"generation_time": "s", "cost": "currencyUSD"},
            size=(16, 9),
            over=_DAYS,
        ),
        table(
            "Why videos failed",
            f"What the newest failed event said. {in_range}\n\n{_BUILT}",
            queries.failures(),
            size=(24, 6),
            over=_DAYS,
        ),
    ]


def business() -> list[Json]:
    """Daily metrics that are no costs, the ledger, and cohorts."""
    money = time_series(
        "Revenue and costs, by day",
        f"gold.financial_daily: payments, refunds, YouTube's estimate (0 until loaded) and costs.\n\n{_BUILT}",
        queries.finances(),
        "currencyUSD",
        by_series=False,
        bars=True,
        stacked=True,
        size=(16, 7),
        over=_DAYS,
    )
    weeks = matrix(
        "Weekly retention",
        "Share of the users whose first event was in that ISO week that came back so many weeks later, percent "
        f"(gold.retention_weekly).\n\n{_BUILT}",
        queries.cohorts(),
        ("cohort", "week", "rate"),
        "percent",
        _COHORTS,
    )
    return [*_daily(of_costs=False), money, weeks]


def alerts() -> list[Json]:
    """What fires, and what changed."""
    some: list[Json] = [{"color": GREEN, "value": None}, {"color": RED, "value": 1}]
    kept = f"Those that began in the range or the {queries.FIRING_DAYS} days before it (gold.alerts)."
    return [
        figure("Firing", f"At the end of the range. {kept}", queries.firing_count(), "short", steps=some),
        table("Firing alerts", f"At the end of the range. {kept}", queries.firing(), size=(20, 7)),
        table(
            "Latest changes of alerts",
            "The 100 newest in the range, and how each was delivered (gold.alerts); empty: not delivered yet, or of a state "
            "that is not sent.",
            queries.transitions(),
            size=(24, 8),
        ),
    ]


def health() -> list[Json]:
    """What came late, was refused, is lost, or is not built."""
    names = tuple(metric.name for metric in _WINDOWED)
    return [
        time_series(
            "Late events",
            "Events taken in after the end of their window, by metric; what comes more than 10 minutes late is not in it.",
            queries.late(names),
            "short",
            bars=True,
        ),
        table("Windows by status", "Of the totals.", queries.window_statuses(names), size=(8, 7)),
        time_series(
            "Dead letters",
            "Records that were refused, by reason (meta.dead_letters).",
            queries.dead_letters(),
            "short",
            bars=True,
            stacked=True,
        ),
        table(
            "Lost records",
            "Ranges that a broker deleted before they were read, and what lacks them (meta.lost_offsets).",
            queries.lost_offsets(),
            size=(14, 7),
        ),
        table(
            "Builds of the warehouse",
            "Begin of the last build that ended, by model (meta.build_marks).",
            queries.builds(),
            units={"age": "s"},
            size=(10, 7),
        ),
    ]
