"""A video gets too dear: the alert as the customer asked for it, at a fake Slack that also fails."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from streamproc.alerts.engine import AlertEngine
from streamproc.notify import outbox as outbox_module
from streamproc.notify.outbox import Outbox
from streamproc.notify.slack import SlackSender
from tests.alerts.values import cost
from tests.notify.stage import NOW, RULES, Topic, running, until
from tests.support.webhook import DROP, HANG, SERVER_ERROR, Answer, Webhook, rate_limited, start_webhook

FAULTS = [rate_limited(0.3), SERVER_ERROR, HANG, DROP]


async def publish(engine: AlertEngine, outbox: Outbox, topic: Topic, usd: float, version: int) -> int:
    """Judge one total as a worker does: record the transitions, then they reach the notifier. Returns their number."""
    items = engine.observe(cost(usd, version), NOW + version)
    topic.records.extend(items)
    for item in items:
        await outbox.put(item)
    return len(items)


async def play(webhook: Webhook, folder: Path, interval_s: float) -> tuple[Topic, float]:
    """1.00, 2.00, 2.60, 3.10, 2.40; returns the topic and the seconds from 2.60 to its message."""
    engine, topic, sent = AlertEngine(RULES), Topic(), 0
    sender = SlackSender(webhook.url, timeout_s=1.5, min_interval_s=interval_s)
    waited = 0.0
    async with running(sender, topic, folder) as outbox:
        for version, (usd, messages) in enumerate([(1.0, 0), (2.0, 0), (2.6, 1), (3.1, 2), (2.4, 3)], start=1):
            start = time.monotonic()
            sent += await publish(engine, outbox, topic, usd, version)
            await until(lambda m=messages, s=sent: len(webhook.accepted) == m and len(topic.deliveries) == s)
            waited = waited or (webhook.accepted[0].at - start if messages else 0.0)
    await sender.close()
    return topic, waited


@pytest.mark.parametrize("faults", [[], FAULTS], ids=["healthy", "faults first"])
def test_one_warning_one_critical_one_resolve(
    faults: list[Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_BACKOFF_S", 0.05)
    with start_webhook(*faults) as webhook:
        topic, waited = asyncio.run(play(webhook, tmp_path, 0.1 if faults else 1.0))
        said = [request.text for request in webhook.accepted]
    assert said == [
        "WARNING: video-cost-warning · video_id 7: Video 7 has cost 2.60 USD (alert above 2.50 USD)",
        "CRITICAL: video-cost-critical · video_id 7: Video 7 has cost 3.10 USD (limit 3.00 USD)",
        "2 resolved: cost_per_video_usd video_id 7",
    ]
    assert len(webhook.requests) == 3 + len(faults)
    assert [how for _, how in topic.deliveries] == ["slack"] * 4
    if not faults:
        assert waited < 2.0


def test_a_jump_past_both_is_one_critical_message(tmp_path: Path) -> None:
    async def scene(webhook: Webhook) -> Topic:
        engine, topic, sender = AlertEngine(RULES), Topic(), SlackSender(webhook.url)
        async with running(sender, topic, tmp_path) as outbox:
            await publish(engine, outbox, topic, 3.5, 1)
            await until(lambda: len(topic.deliveries) == 2)
        await sender.close()
        return topic

    with start_webhook() as webhook:
        topic = asyncio.run(scene(webhook))
        assert [request.text[:8] for request in webhook.accepted] == ["CRITICAL"]
    assert sorted(how for _, how in topic.deliveries) == ["inhibited", "slack"]


def test_a_second_run_fires_and_sends_nothing_again(tmp_path: Path) -> None:
    async def scene(webhook: Webhook) -> None:
        engine, topic, sender = AlertEngine(RULES), Topic(), SlackSender(webhook.url)
        async with running(sender, topic, tmp_path) as outbox:
            await publish(engine, outbox, topic, 2.6, 1)
            await until(lambda: len(topic.deliveries) == 1)
        again = AlertEngine(RULES)
        again.restore(topic.records)
        async with running(sender, topic, tmp_path) as outbox:
            assert await publish(again, outbox, topic, 2.6, 1) == 0
            assert await publish(again, outbox, topic, 2.7, 2) == 0
            assert outbox.pending == 0
        await sender.close()

    with start_webhook() as webhook:
        asyncio.run(scene(webhook))
        assert len(webhook.requests) == 1
