"""What others do to the group and to the topics while workers run or are away: our own state is the authority."""

from __future__ import annotations

import pytest

from tests.e2e.checks import check_archive, check_live, check_windows, messages
from tests.support.kafka import KafkaCluster
from tests.support.stack import EVENT_TOPICS, Stack, wait_for

pytestmark = pytest.mark.kafka_only("the embedded broker forgets its groups and cannot add partitions")


def test_group_offsets_set_back_or_ahead_while_workers_are_away_change_nothing(
    running: Stack, kafka: KafkaCluster
) -> None:
    """Of one topic to 0, of the others to the end: neither is repeated, nor is anything left out."""
    stack, events = running, messages(51, 3000)
    windows, archive = stack.worker("windows"), stack.worker("archive")
    stack.produce(events[:1500])
    check_windows(stack)
    wait_for("a hint is committed", lambda: kafka.group_offsets("streamproc-windows"))
    assert windows.stop() == 0
    archive.kill()
    stack.produce(events[1500:])
    moved = {
        (topic, partition): 0 if number == 0 else end
        for number, topic in enumerate((*EVENT_TOPICS, "window-partials"))
        for partition, (_, end) in kafka.bounds(topic).items()
    }
    for group in ("streamproc-windows", "streamproc-archive"):
        kafka.set_group_offsets(group, moved)
    second = stack.worker("windows")
    stack.worker("archive")
    check_live(stack, check_windows(stack))
    check_archive(stack)
    assert second.metric("streamproc_duplicates_total") < 1500


def test_partitions_added_to_a_topic_are_read_without_a_restart(running: Stack, kafka: KafkaCluster) -> None:
    """All event topics get two more; the same worker processes count what comes there, within the metadata's age."""
    stack, events = running, messages(52, 4000)
    windows, archive = stack.worker("windows"), stack.worker("archive")
    stack.produce(events[:2000])
    check_windows(stack)
    for topic in EVENT_TOPICS:
        kafka.add_partitions(topic, 6)
    stack.produce(events[2000:])
    assert any(begin != end for topic in EVENT_TOPICS for begin, end in list(kafka.bounds(topic).values())[4:])
    check_live(stack, check_windows(stack, timeout_s=90))
    check_archive(stack)
    assert windows.process.poll() is None
    assert archive.process.poll() is None
    wait_for("no lag", lambda: windows.metric("streamproc_lag_records") == 0)
    windows.kill()
    stack.worker("windows")
    stack.produce(messages(53, 500))
    check_windows(stack)


def test_topics_lost_and_made_again_with_fewer_partitions(running: Stack, kafka: KafkaCluster) -> None:
    """The hint for a partition that is gone could never be committed, and who waited for that did not see the new log."""
    stack = running
    kafka.add_partitions("cost-events", 6)
    roles = ("windows", "archive")
    workers = {role: stack.worker(role) for role in roles}
    stack.produce(messages(54, 1500))
    check_windows(stack)
    check_archive(stack)
    assert len(kafka.bounds("cost-events")) == 6
    archived = stack.query("SELECT count() FROM bronze.user_events FINAL")[0][0]
    wait_for("hints are committed", lambda: ("cost-events", 5) in kafka.group_offsets("streamproc-archive"), 30)
    stack.lose_log()
    again = [message for message in messages(55, 600) if message[0] == "user-events"]
    stack.produce(again)

    def has_all() -> bool:
        for role in roles:
            if workers[role].process.poll() is not None:  # it saw another log and ended, as a supervisor expects
                workers[role] = stack.worker(role, wait=False)
        return bool(stack.query("SELECT count() FROM bronze.user_events FINAL")[0][0] == archived + len(again))

    wait_for("the archive has the new log", has_all, 60, 0.5)
