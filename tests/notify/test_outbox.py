"""The outbox: each transition is delivered once, recorded once, and nothing is lost or piles up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.alerts import AlertState, AlertTransition
from streamproc.errors import RetryableError
from streamproc.notify import outbox as outbox_module
from streamproc.notify.grouping import Notice
from streamproc.notify.logfile import FileSender
from streamproc.notify.outbox import Outbox
from streamproc.notify.slack import SlackSender
from tests.notify.stage import NOW, RULES, Collector, Topic, alert, running, until
from tests.support.webhook import NO_SERVICE, Webhook, start_webhook


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_BACKOFF_S", 0.02)


def slack(webhook: Webhook) -> SlackSender:
    return SlackSender(webhook.url, min_interval_s=0.02)


def test_delivered_once_recorded_once_and_not_again_after_a_restart(tmp_path: Path) -> None:
    item, topic = alert(), Topic()

    async def scene(webhook: Webhook) -> None:
        sender = slack(webhook)
        topic.records.append(item)
        async with running(sender, topic, tmp_path) as outbox:
            outbox.add(item)
            outbox.add(item)  # what Kafka repeats
            await until(lambda: len(topic.deliveries) == 1)
            outbox.add(topic.records[-1])  # the record comes back from the topic
            outbox.add(item)
            outbox.add(alert("8"))
            await until(lambda: len(topic.deliveries) == 2)
        async with running(sender, topic, tmp_path) as outbox:
            assert outbox.pending == 0
        await sender.close()

    with start_webhook() as webhook:
        asyncio.run(scene(webhook))
        assert [ids for r in webhook.accepted for ids in r.ids] == [item.transition_id, alert("8").transition_id]
    record = topic.records[1]
    assert (record.kind, record.delivery, record.transition_id) == ("delivery", "slack", item.transition_id)
    assert record.delivered_at_ms > 0


def test_a_crash_between_answer_and_record_repeats_under_the_same_id(tmp_path: Path) -> None:
    topic = Topic()
    topic.records.append(alert())

    async def killed(_: AlertTransition) -> None:
        await asyncio.Event().wait()  # the process dies before the record is written

    async def scene(webhook: Webhook) -> None:
        sender = slack(webhook)
        first = Outbox(RULES, FileSender(tmp_path / "alerts.log"))
        first.restore(topic.records)
        task = asyncio.create_task(first.run(sender, killed))
        await until(lambda: len(webhook.accepted) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with running(sender, topic, tmp_path):
            await until(lambda: len(topic.deliveries) == 1)
        async with running(sender, topic, tmp_path) as outbox:
            assert outbox.pending == 0
        await sender.close()

    with start_webhook() as webhook:
        asyncio.run(scene(webhook))
        assert [r.ids for r in webhook.accepted] == [[alert().transition_id]] * 2


def test_a_record_that_fails_is_written_later_without_another_message(tmp_path: Path) -> None:
    receiver, topic, failures = Collector(), Topic(), [RetryableError("broker"), RetryableError("broker")]

    async def record(item: AlertTransition) -> None:
        if failures:
            raise failures.pop()
        await topic.record(item)

    async def scene() -> None:
        outbox = Outbox(RULES, FileSender(tmp_path / "alerts.log"), wait_s=0)
        outbox.add(alert())
        task = asyncio.create_task(outbox.run(receiver, record))
        await until(lambda: len(topic.deliveries) == 1)
        task.cancel()

    asyncio.run(scene())
    assert len(receiver.messages) == 1 and not failures


def test_errors_of_the_record_end_the_run(tmp_path: Path) -> None:
    async def record(_: AlertTransition) -> None:
        raise ValueError("a bug")

    async def scene() -> None:
        outbox = Outbox(RULES, FileSender(tmp_path / "alerts.log"), wait_s=0)
        outbox.add(alert())
        async with asyncio.timeout(5):
            await outbox.run(Collector(), record)

    with pytest.raises(ExceptionGroup):
        asyncio.run(scene())


def test_a_refused_channel_is_reported_and_written_down(tmp_path: Path) -> None:
    topic = Topic()

    async def scene(webhook: Webhook) -> str:
        sender = slack(webhook)
        async with running(sender, topic, tmp_path) as outbox:
            outbox.add(alert("1"))
            await until(lambda: len(topic.deliveries) == 1)
            outbox.add(alert("2"))
            await until(lambda: len(topic.deliveries) == 2)
            assert outbox.stats.delivered == {"failed: http_404_no_service": 2}
        await sender.close()
        return sender.broken

    with start_webhook(NO_SERVICE) as webhook:
        assert asyncio.run(scene(webhook)) == "http_404_no_service"
        assert len(webhook.requests) == 1
    lines = [json.loads(line) for line in (tmp_path / "alerts.log").read_text().splitlines()]
    assert [line["labels"]["video_id"] for line in lines] == ["1", "2"]
    assert {line["not_in_slack"] for line in lines} == {"http_404_no_service"}


def test_without_slack_alerts_are_in_the_file(tmp_path: Path) -> None:
    topic, file = Topic(), FileSender(tmp_path / "data" / "alerts.log")

    async def scene() -> None:
        async with running(file, topic, tmp_path) as outbox:
            outbox.add(alert())
            await until(lambda: len(topic.deliveries) == 1)

    asyncio.run(scene())
    assert topic.deliveries == [(alert().transition_id, "log")]
    (line,) = file.path.read_text().splitlines()
    assert json.loads(line)["summary"] == "Video 7 has cost 2.60 USD"


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    topic, file = Topic(), FileSender(tmp_path / "data" / "alerts.log")

    async def scene() -> None:
        async with running(file, topic, tmp_path) as outbox:
            outbox.add(alert())
            await until(lambda: outbox.stats.retries.get("alerts_log", 0) > 0)
            (tmp_path / "data").unlink()
            await until(lambda: len(topic.deliveries) == 1)

    asyncio.run(scene())


def test_the_file_is_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamproc.notify.logfile.MAX_FILE_BYTES", 100)
    file = FileSender(tmp_path / "alerts.log")
    for _ in range(5):
        asyncio.run(file.send([Notice(alert())]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alerts.log", "alerts.log.1"]


def test_inhibited_and_pending_transitions_are_not_sent(tmp_path: Path) -> None:
    receiver, topic = Collector(), Topic()
    quiet = alert(inhibited_by="video-cost-critical")

    async def scene() -> None:
        async with running(receiver, topic, tmp_path, wait_s=0) as outbox:
            outbox.add(quiet)
            outbox.add(alert("3", state=AlertState.PENDING))
            outbox.add(alert("4", state=AlertState.INACTIVE))
            outbox.add(alert("5"))
            await until(lambda: len(topic.deliveries) == 2)

    asyncio.run(scene())
    assert sorted(topic.deliveries) == sorted([(quiet.transition_id, "inhibited"), (alert("5").transition_id, "slack")])
    assert receiver.ids == [alert("5").transition_id]


def test_a_storm_of_10000_is_a_few_digests_with_every_id(tmp_path: Path) -> None:
    topic = Topic()
    storm = [alert(str(video)) for video in range(10_000)]

    async def scene(webhook: Webhook) -> None:
        sender = slack(webhook)
        async with running(sender, topic, tmp_path, wait_s=0.05) as outbox:
            for item in storm:
                await outbox.put(item)
            await until(lambda: len(topic.deliveries) == len(storm), 60)
            assert outbox.pending == 0
        await sender.close()

    with start_webhook() as webhook:
        asyncio.run(scene(webhook))
        assert len(webhook.accepted) <= 21
        ids = Counter(i for request in webhook.accepted for i in request.ids)
        assert ids == Counter(item.transition_id for item in storm)


def test_a_full_outbox_makes_the_reader_wait(tmp_path: Path) -> None:
    receiver, topic = Collector(*[RetryableError("http_500")] * 3), Topic()

    async def scene() -> None:
        outbox = Outbox(RULES, FileSender(tmp_path / "alerts.log"), wait_s=0, max_pending=5)

        async def read() -> None:
            for video in range(20):
                await outbox.put(alert(str(video)))

        reader = asyncio.create_task(read())
        await until(lambda: outbox.pending == 5)
        for _ in range(10):
            await asyncio.sleep(0)
        assert outbox.pending == 5 and not reader.done()
        task = asyncio.create_task(outbox.run(receiver, topic.record))
        await until(lambda: len(topic.deliveries) == 20)
        task.cancel()

    asyncio.run(scene())
    assert len(set(receiver.ids)) == len(receiver.ids) == 20


def test_more_than_memory_should_hold_is_given_up_in_writing(tmp_path: Path) -> None:
    receiver, topic = Collector(), Topic()
    topic.records.extend(alert(str(video)) for video in range(30))

    async def scene() -> None:
        async with running(receiver, topic, tmp_path, max_pending=10, wait_s=0):
            await until(lambda: len(topic.deliveries) == 30)

    asyncio.run(scene())
    assert Counter(how for _, how in topic.deliveries) == {"slack": 20, "failed: overflow": 10}
    assert len((tmp_path / "alerts.log").read_text().splitlines()) == 10


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20), st.randoms())
def test_restored_is_what_has_no_delivery(history: list[tuple[int, bool]], random: object) -> None:
    records = []
    for video, delivered in history:
        item = alert(str(video))
        records.append(item)
        if delivered:
            records.append(msgspec.structs.replace(item, kind="delivery", delivered_at_ms=NOW, delivery="slack"))
    random.shuffle(records)  # type: ignore[attr-defined]
    outbox = Outbox(RULES, FileSender(Path("unused")))
    outbox.restore(records)
    sent = {video for video, delivered in history if delivered}
    assert outbox.pending == len({video for video, _ in history} - sent)


def test_a_delivery_known_to_the_topic_but_not_to_clickhouse_is_not_repeated() -> None:
    outbox = Outbox(RULES, FileSender(Path("unused")))
    outbox.restore([alert()])  # gold.alerts lags behind
    assert outbox.pending == 1
    outbox.restore([alert(), msgspec.structs.replace(alert(), kind="delivery", delivered_at_ms=NOW)])
    assert outbox.pending == 0


def test_partitions_that_go_and_come_back() -> None:
    outbox = Outbox(RULES, FileSender(Path("unused")))
    outbox.restore([alert("1"), alert("2")])
    outbox.forget(lambda item: item.labels["video_id"] == "1")
    assert outbox.pending == 1
    outbox.restore([alert("1"), alert("2")])
    assert outbox.pending == 2
    outbox.forget(lambda item: True)
    outbox.restore([msgspec.structs.replace(alert("1"), kind="delivery", delivered_at_ms=NOW), alert("1"), alert("2")])
    assert outbox.pending == 1
