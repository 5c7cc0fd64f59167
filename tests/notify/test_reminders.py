"""Reminders of alerts that go on firing: when, for which, and how they survive a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from schemas.alerts import AlertState
from streamproc.notify.reminders import Reminders
from tests.notify.stage import NOW, RULES, Collector, Topic, alert, running, until

HOUR = 3_600_000


class Wall:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


def test_reminders_until_resolved(tmp_path: Path) -> None:
    receiver, topic, wall = Collector(), Topic(), Wall()
    item = alert()

    async def scene() -> None:
        topic.records.append(item)
        async with running(receiver, topic, tmp_path, wait_s=0, interval_s=0, wall=wall) as outbox:
            await until(lambda: len(topic.deliveries) == 1)
            wall.ms += 4 * HOUR - 1
            topic.records.append(alert("8"))
            outbox.add(alert("8"))
            await until(lambda: len(topic.deliveries) == 2)
            wall.ms += 1
            await until(lambda: len(topic.deliveries) == 3)
        # A restart knows when people were told last.
        async with running(receiver, topic, tmp_path, wait_s=0, interval_s=0, wall=wall) as outbox:
            wall.ms += 4 * HOUR - 1
            outbox.add(alert("9"))
            await until(lambda: len(topic.deliveries) == 5)  # video 8's reminder, and video 9
            topic.records.append(alert(seq=2, state=AlertState.RESOLVED))
            outbox.add(topic.records[-1])
            await until(lambda: len(topic.deliveries) == 6)
            wall.ms += HOUR
            outbox.add(alert("10"))
            await until(lambda: len(topic.deliveries) == 7)

    asyncio.run(scene())
    told = [
        (notice.item.labels["video_id"], notice.item.state.value, notice.reminder)
        for message in receiver.messages
        for notice in message
    ]
    assert told[:3] == [("7", "firing", False), ("8", "firing", False), ("7", "firing", True)]
    assert sorted(told[3:5]) == [("8", "firing", True), ("9", "firing", False)]
    assert told[5:] == [("7", "resolved", False), ("10", "firing", False)]


def test_an_old_record_brings_no_alert_back_to_life() -> None:
    reminders = Reminders(RULES)
    firing, resolved = alert(), alert(seq=2, state=AlertState.RESOLVED)
    reminders.told(firing, NOW)
    assert reminders.transition(resolved) is None
    assert reminders.transition(firing) is None
    assert reminders.due(NOW + 4 * HOUR) == []
    assert reminders.transition(alert(seq=3)) is None
    reminders.told(alert(seq=3), NOW)
    assert reminders.due(NOW + 4 * HOUR) == [alert(seq=3)]
    assert reminders.due(NOW + 4 * HOUR - 1) == []
    assert reminders.transition(alert(seq=4, state=AlertState.RESOLVED)) == alert(seq=3)


def test_no_reminder_of_what_a_worse_alert_silences(tmp_path: Path) -> None:
    receiver, topic, wall = Collector(), Topic(), Wall()

    async def scene() -> None:
        topic.records.extend([alert(), alert(rule="video-cost-critical")])
        async with running(receiver, topic, tmp_path, wait_s=0, interval_s=0, wall=wall):
            await until(lambda: len(topic.deliveries) == 2)
            wall.ms += 4 * HOUR
            await until(lambda: len(topic.deliveries) == 3)

    asyncio.run(scene())
    assert [notice.item.rule for notice in receiver.messages[-1]] == ["video-cost-critical"]


def test_what_a_clock_a_day_ahead_told_is_reminded_of_in_time() -> None:
    reminders, item = Reminders(RULES), alert()
    reminders.transition(item)
    reminders.told(item, NOW + 24 * HOUR)
    assert reminders.due(NOW) == []
    assert reminders.due(NOW + 4 * HOUR) == [item]
