"""Alerts of jobs: what the books lead to, and that it reaches the topic under the same ids from whoever sends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from batch.scheduler.announcer import TOLD_AGAIN_MS, Announcer
from batch.scheduler.due import BY_HAND, FAILED, RUNNING
from batch.scheduler.notices import JOB_FAILED, JOB_LATE, overdue_ms, transitions
from schemas import topics
from schemas.alerts import AlertState, AlertTransition
from streamproc.agents.alerting import decode_transition
from streamproc.alerts.engine import AlertEngine
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from streamproc.notify.load import load_rules
from tests.scheduler.support import job
from tests.scheduler.test_due import ms, ran
from tests.support.broker import start_broker
from tests.support.stack import read_raw

DAILY = job("daily", retries=1, late_s=3600.0)


def _said(found: list[AlertTransition]) -> list[tuple[str, str]]:
    return [(each.rule, each.state.value) for each in found]


def test_a_failure_fires_and_the_next_success_resolves() -> None:
    """Not before the last attempt; a run by hand resolves too; the numbers grow."""
    attempts = [ran(DAILY, "2026-11-10 02:00", FAILED, error="no such table")]
    assert transitions(DAILY, attempts, ms("2026-11-10 02:05")) == []
    attempts.append(ran(DAILY, "2026-11-10 02:00", FAILED, 2, error="no such table"))
    fired = transitions(DAILY, attempts, ms("2026-11-10 02:05"))
    assert _said(fired) == [(JOB_FAILED, "firing")] and "no such table" in fired[0].summary
    attempts.append(ran(DAILY, "2026-11-10 09:00", origin=BY_HAND))
    both = transitions(DAILY, attempts, ms("2026-11-10 09:05"))
    assert both[0] == fired[0] and _said(both)[1] == (JOB_FAILED, "resolved")
    assert both[1].seq > both[0].seq and both[1].fingerprint == both[0].fingerprint
    by_hand = [ran(DAILY, "2026-11-10 09:00", FAILED, origin=BY_HAND)]
    assert transitions(DAILY, by_hand, ms("2026-11-10 09:05")) == []


def test_a_late_run_fires_once_and_resolves() -> None:
    """From the oldest due time on; the same transitions follow from the books afterwards."""
    attempts = [ran(DAILY, "2026-11-09 02:00")]
    assert transitions(DAILY, attempts, ms("2026-11-10 02:59")) == []
    fired = transitions(DAILY, attempts, ms("2026-11-10 03:01"))
    assert _said(fired) == [(JOB_LATE, "firing")]
    assert transitions(DAILY, attempts, ms("2026-11-11 09:00")) == fired
    attempts.append(
        ran(DAILY, "2026-11-11 02:00", RUNNING, details={"first_due_ms": ms("2026-11-10 02:00")}, ended_ms=None)
    )
    assert transitions(DAILY, attempts, ms("2026-11-11 09:00")) == fired
    assert overdue_ms(DAILY, attempts, ms("2026-11-11 03:00")) == (ms("2026-11-10 02:00"), 25 * 3_600_000)
    attempts[-1] = replace(attempts[-1], status="done", ended_ms=ms("2026-11-11 09:10"))
    both = transitions(DAILY, attempts, ms("2026-11-11 09:11"))
    assert both[0] == fired[0] and _said(both) == [(JOB_LATE, "firing"), (JOB_LATE, "resolved")]
    assert both[1].seq > both[0].seq


def test_nothing_is_late_before_the_first_run() -> None:
    """A fresh installation raises no alarm."""
    assert transitions(DAILY, [], ms("2026-11-10 12:00")) == []


@pytest.mark.timeout(120)
def test_two_schedulers_record_the_same(tmp_path: Path) -> None:
    """Both send; the topic has one id, the stream's workers take it for what it is, and an old one is not told again."""
    attempts = [ran(DAILY, "2026-11-10 02:00", FAILED, n, error="boom") for n in (1, 2)]
    now = ms("2026-11-10 02:05")
    found = transitions(DAILY, attempts, now)
    broker = start_broker()
    settings = Settings(broker_url=broker.url, partitions=2, data_dir=tmp_path)

    async def run() -> list[AlertTransition]:
        await ensure_topics(settings)
        senders = [Announcer(settings), Announcer(settings)]
        for sender in senders:
            sender.offer(found, now)
            sender.offer(found, now)
        Announcer(settings).offer(found, now + TOLD_AGAIN_MS * 2)
        tasks = [asyncio.create_task(sender.run()) for sender in senders]
        records = []
        for _ in range(300):
            records = await read_raw(broker.bootstrap, [topics.ALERTS])
            if len(records) >= 2:
                break
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [decode_transition(record.value) for record in records]

    try:
        recorded = asyncio.run(run())
    finally:
        broker.discard()
    assert recorded == [found[0], found[0]]
    assert msgspec.json.encode(recorded[0]) == msgspec.json.encode(recorded[1])
    engine = AlertEngine(load_rules(None))
    engine.restore(recorded)
    assert engine.counts()[AlertState.FIRING] == 1
    assert engine.tick(now + 10 * 86_400_000) == []
