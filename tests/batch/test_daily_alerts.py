"""Rules on daily metrics: judged by the newest day that is over, recorded once, whoever builds and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from batch.warehouse import daily_alerts
from schemas.alerts import AlertTransition
from streamproc.agents.alerting import decode_transition
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.alerts_store import GoldAlerts
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.support.stack import Stack, read_raw

#: As the dbt model makes it, as far as these rules look at it.
_TABLE = """
    CREATE TABLE IF NOT EXISTS gold.daily_metrics (day Date, metric LowCardinality(String), grain LowCardinality(String),
        dimension LowCardinality(String), dimension_value String, value Nullable(Float64), updated_at DateTime64(6))
    ENGINE = ReplacingMergeTree(updated_at) ORDER BY (metric, grain, dimension, dimension_value, day)
"""


class Days:
    """gold.daily_metrics by hand, and the builds' last step on it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        names = ("broker_url", "redis_url", "clickhouse_url", "data_dir", "partitions", "replication_factor")
        self.settings = Settings.model_validate({name: stack.env[f"STREAMPROC_{name.upper()}"] for name in names})
        stack.query(_TABLE)

    def say(self, day: date, value: float | None) -> None:
        """A day's cost efficiency, as of now."""
        self.stack.query(
            "INSERT INTO gold.daily_metrics SELECT"
            f" '{day}', 'cost_efficiency', 'day', '', '', {'NULL' if value is None else value}, now64(6)"
        )

    def judge(self) -> int:
        """As after a build."""
        return daily_alerts.judge(self.settings)

    def recorded(self) -> list[AlertTransition]:
        """All that lies in the topic, by number."""
        records = asyncio.run(read_raw(self.stack.broker.bootstrap, [self.settings.topic("alerts")]))
        return sorted((decode_transition(record.value) for record in records), key=lambda item: item.seq)

    def to_gold(self) -> None:
        """What the notify role does with the topic, and then the topic is lost."""

        async def write() -> None:
            clickhouse = ClickHouse.of(self.settings)
            try:
                await GoldAlerts(clickhouse).write(items)
            finally:
                await clickhouse.close()

        items = self.recorded()
        asyncio.run(write())
        self.stack.lose_log()


@pytest.fixture
def days(tmp_path: Path) -> Iterator[Days]:
    with Stack(tmp_path / "stack") as stack:
        stack.create_topics()
        yield Days(stack)


def test_it_fires_and_resolves_once_by_days_that_are_over(days: Days) -> None:
    """A day that goes on is not judged; a second build, with or without gold.alerts, with or without the topic, sends nothing."""
    days.say(date(2026, 10, 1), 9.0)
    assert days.judge() == 0
    days.say(date(2026, 10, 2), 0.5)
    assert days.judge() == 0
    days.say(date(2026, 10, 3), 5.0)
    assert (days.judge(), days.judge()) == (1, 0)
    (fired,) = days.recorded()
    assert (fired.rule, fired.state, fired.value, fired.window) == ("cost-efficiency-low", "firing", 0.5, "day")
    assert fired.summary == "Revenue was 0.50 times the costs on the day from 2026-10-02 00:00:00 UTC (target above 3)"
    days.to_gold()
    assert days.judge() == 0
    # A day without a value says nothing; the next one resolves.
    days.say(date(2026, 10, 3), None)
    days.say(date(2026, 10, 4), 3.0)
    assert days.judge() == 0
    days.say(date(2026, 10, 5), 1.0)
    assert (days.judge(), days.judge()) == (1, 0)
    (resolved,) = days.recorded()
    assert (resolved.state, resolved.seq, resolved.fingerprint) == ("resolved", 2, fired.fingerprint)


def test_a_day_that_is_restated_is_judged_again(days: Days) -> None:
    """Costs that came late, and payments that came later still: of one day, under numbers that follow."""
    for number, value in enumerate((4.0, 2.5, 3.5, 1.0)):
        days.say(date(2026, 10, 1), value)
        days.say(date(2026, 10, 2), 9.0)
        assert (days.judge(), days.judge()) == (int(number > 0), 0)
    assert [(item.seq, item.state.value) for item in days.recorded()] == [(1, "firing"), (2, "resolved"), (3, "firing")]
    assert len({item.transition_id for item in days.recorded()}) == 3


def test_without_a_broker_nothing_is_lost(days: Days, tmp_path: Path) -> None:
    """The build says so, and the next one records what was due; without rules on days none is needed."""
    away = days.settings.model_copy(
        update={"broker_url": Settings.model_validate({"broker_url": "kafka://127.0.0.1:1"}).broker_url}
    )
    days.say(date(2026, 10, 1), 9.0)
    days.say(date(2026, 10, 2), 1.0)
    days.say(date(2026, 10, 3), 9.0)
    none = tmp_path / "none.yaml"
    none.write_text("rules: []\n")
    assert daily_alerts.judge(away.model_copy(update={"alert_rules": none})) == 0
    with pytest.raises(RetryableError, match="alerts topic cannot be read"):
        daily_alerts.judge(away)
    assert days.judge() == 1
