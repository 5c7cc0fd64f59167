"""What a load did, for the scheduler, for people and for the books."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from batch.youtube.patience import Patience
from batch.youtube.silver import Derived, Restated
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, block, integers, nullable_floats, texts

#: YouTube restates its newest days as a matter of course.
_SETTLED_AFTER: Final = timedelta(days=7)
_EXAMPLES: Final = 20


@dataclass(slots=True)
class Report:
    """One run of a load. Not `complete`: run it again from `resume_at_ms` (epoch ms; 0: at once) on, and it goes on.

    `planned`, `spent` and `left` are {'youtube': units, 'youtubeAnalytics': queries}; `skipped` is why a channel, or a part of
    it, was left out; `alerts` are in words, for a person.
    """

    load: str
    day: date
    complete: bool = True
    resume_at_ms: int = 0
    channels: int = 0
    channels_unknown: int = 0
    pages: int = 0
    items: int = 0
    written: int = 0
    recovered: int = 0
    planned: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    invalid: int = 0
    invalid_examples: list[str] = field(default_factory=list)
    restated: int = 0
    restated_examples: list[Restated] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    waiting: int = 0
    alerts: list[str] = field(default_factory=list)

    def take(self, derived: Derived, errors: list[str], limit: float) -> None:
        """Add what a page brought; `limit` is the share by which a settled day may change."""
        self.written += derived.written
        self.waiting += derived.waiting
        self.gone += derived.gone
        bad = [one for one in errors if one]
        self.invalid += len(bad)
        self.invalid_examples += bad[: _EXAMPLES - len(self.invalid_examples)]
        self.restated += len(derived.restated)
        for one in derived.restated:
            if len(self.restated_examples) < _EXAMPLES:
                self.restated_examples.append(one)
            if date.fromisoformat(one.day) < self.day - _SETTLED_AFTER and one.share > limit:
                what = f"video {one.video_id}" if one.video_id else f"channel {one.channel_id}"
                self.alerts.append(
                    f"{one.day} of {what} was restated by {one.share:.0%}: views {one.views[0]} -> {one.views[1]},"
                    f" revenue {one.revenue_e4[0] / 10_000:.4f} -> {one.revenue_e4[1] / 10_000:.4f} USD"
                )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"day": self.day.isoformat()}


async def note_quality(clickhouse: ClickHouse, patience: Patience, report: Report, now_ms: int) -> None:
    """A row a check into meta.quality_results."""
    checks = (
        ("youtube_restated", "silver.youtube_analytics_daily", len(report.alerts), report.alerts[:_EXAMPLES]),
        ("youtube_channels", "silver.youtube_channels", len(report.skipped), report.skipped),
        ("youtube_items", "bronze.youtube", report.invalid, report.invalid_examples),
    )
    columns = (
        texts("check_name", [name for name, *_ in checks]),
        texts("dataset", [dataset for _, dataset, *_ in checks]),
        integers("checked_at", DATETIME_MS, [now_ms] * len(checks)),
        texts("run_id", [str(uuid.uuid4())] * len(checks)),
        texts("status", ["warned" if failing else "passed" for _, _, failing, _ in checks]),
        texts("severity", ["warning"] * len(checks)),
        nullable_floats("observed", [float(failing) for _, _, failing, _ in checks]),
        texts("expected", ["0"] * len(checks)),
        integers("failing_rows", "UInt64", [failing for _, _, failing, _ in checks]),
        texts("details", [json.dumps({"load": report.load, "found": found}) for *_, found in checks]),
    )
    names = tuple(name for name, _, _ in columns)
    await patience(lambda: clickhouse.insert("meta.quality_results", names, block(columns, len(checks))))
