"""Alert rules on daily metrics: the newest day that is over is judged after each build, its transitions go to the topic `alerts`.

A second build judges the same values from the recorded states, so it records nothing. State comes from the topic to its end and from
gold.alerts: the one is ahead, the other knows what was in a topic that is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.alerts import AlertTransition
from schemas.results import DAY, DAY_MS, FINAL, MetricValue
from streamproc.agents.alerting import alert_message, decode_transition
from streamproc.agents.follow import Follower
from streamproc.agents.publisher import Publisher
from streamproc.alerts.engine import AlertEngine
from streamproc.alerts.rules import RuleSet
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.logs import get_logger
from streamproc.notify.load import load_rules
from streamproc.sinks.alerts_store import GoldAlerts
from streamproc.sinks.clickhouse_client import ClickHouse

log = get_logger("daily_alerts")

#: A day is over once there is one after it.
_VALUES: Final = """
    SELECT metric, dimension, dimension_value, value, toString(day)
    FROM gold.daily_metrics FINAL
    WHERE grain = 'day' AND metric IN {metrics:Array(String)}
      AND day = (SELECT max(day) FROM gold.daily_metrics WHERE grain = 'day' AND day < (
          SELECT max(day) FROM gold.daily_metrics WHERE grain = 'day'))
    ORDER BY metric, dimension, dimension_value
"""


def judge(settings: Settings) -> int:
    """Judge the newest day that is over, and record what changed; how many transitions were recorded.

    Raises:
        ConfigError: the rules file cannot be used.
        RetryableError, PermanentError: ClickHouse's or the broker's reason. Nothing is lost: the next build judges again.
    """
    return asyncio.run(_judge(settings, load_rules(settings.alert_rules)))


async def _judge(settings: Settings, rules: RuleSet) -> int:
    metrics = {metric for metric, size in rules.metrics() if size == DAY}
    clickhouse = ClickHouse.of(settings)
    try:
        stored = [each for each in await GoldAlerts(clickhouse).load_states() if each.window == DAY]
        # Of rules that are gone too: their alerts are resolved once their metric is seen again.
        metrics |= {each.metric for each in stored}
        rows = await clickhouse.rows(_VALUES, {"metrics": sorted(metrics)}) if metrics else []
        values = [_value(*row) for row in rows]
    finally:
        await clickhouse.close()
    if not values:
        return 0
    due = _changed(rules, values, [*stored, *await _recorded(settings)])
    if due:
        await _record(settings, due)
    return len(due)


def _value(metric: str, dimension: str, dimension_value: str, value: float | None, day: str) -> MetricValue:
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    count = int(value is not None)
    # Version 0 always: a day that was restated is judged again, since it is no older than itself.
    return MetricValue(
        metric, DAY, dimension, dimension_value, start, start + DAY_MS, value, count, 0, FINAL, 0, 0, now_ms()
    )


def _changed(rules: RuleSet, values: Sequence[MetricValue], states: Sequence[AlertTransition]) -> list[AlertTransition]:
    """The transitions that follow from the values, after those that are recorded."""
    engine = AlertEngine(rules)
    engine.restore(each for each in states if each.window == DAY)
    now = now_ms()
    return [*(item for value in values for item in engine.observe(value, now)), *engine.tick(now)]


async def _recorded(settings: Settings) -> list[AlertTransition]:
    """What the topic holds of daily metrics, read to its end."""
    found: list[AlertTransition] = []

    def take(record: Any) -> None:
        try:
            item = decode_transition(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of the alerts topic is not readable", offset=record.offset, error=str(error))
            return
        if item.window == DAY:
            found.append(item)

    try:
        await Follower(settings, topics.ALERTS, take, back=None).read_up()
    except (KafkaError, OSError) as error:
        raise RetryableError(
            "broker_unavailable", f"daily alerts: the alerts topic cannot be read ({error!r})"
        ) from error
    return found


async def _record(settings: Settings, items: Sequence[AlertTransition]) -> None:
    publisher = Publisher(settings.bootstrap_servers)
    await publisher.start()
    try:
        await publisher.send_all([alert_message(settings, item) for item in items])
    finally:
        await publisher.stop()
