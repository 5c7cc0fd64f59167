"""Texts of alerts: values with their unit, times, and summary templates that can only name what exists."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from string import Formatter
from typing import Final

#: What every summary template may name, besides the rule's label.
PLACEHOLDERS: Final = (
    "value",
    "threshold",
    "unit",
    "operator",
    "metric",
    "rule",
    "severity",
    "window",
    "window_start",
    "window_end",
    "count",
)


def template_problem(template: str, allowed: Collection[str]) -> str:
    """Why a template cannot be used, or '' if it can. Only plain names: no attributes, indexes or formats."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"not a template: {error}"
    for _, name, spec, conversion in parts:
        if name is not None and (name not in allowed or spec or conversion):
            return f"unknown placeholder {{{name}}}; allowed: {', '.join(allowed)}"
    return ""


def number_text(value: float | None, unit: str) -> str:
    """A value as people read it, without its unit: money with two to four decimals, whole numbers without any."""
    if value is None:
        return "no value"
    if unit == "USD":
        text = f"{value:,.4f}"
        return text[:-2] if text.endswith("00") else text
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def value_text(value: float | None, unit: str) -> str:
    """A value with its unit."""
    return number_text(value, unit) if value is None or not unit else f"{number_text(value, unit)} {unit}"


def time_text(at_ms: int) -> str:
    """UTC time of epoch ms; '' for 0 (entity totals have no window)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at_ms else ""
