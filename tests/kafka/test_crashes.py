"""Brokers killed, stopped and paused with their data kept: exact afterwards, with one node and with three."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checks import check_archive, check_live, check_windows, messages
from tests.support.broker import KafkaBroker
from tests.support.kafka import KafkaCluster
from tests.support.stack import Stack, wait_for

pytestmark = [pytest.mark.kafka_only("needs a broker that keeps its log"), pytest.mark.timeout(600)]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[tuple[Stack, KafkaCluster]]:
    """A stack on three nodes, replication 3, no worker yet."""
    with Stack(tmp_path / "stack", nodes=3) as stack:
        stack.create_topics()
        assert isinstance(stack.broker, KafkaBroker)
        yield stack, stack.broker.cluster


def test_a_broker_killed_and_started_again_loses_and_doubles_nothing(running: Stack, kafka: KafkaCluster) -> None:
    """kill -9 under work in hand, a worker killed while it is away, and a broker stopped in an orderly way."""
    stack, events = running, messages(61, 6000)
    windows, archive = stack.worker("windows"), stack.worker("archive")
    stack.produce(events[:2000])
    wait_for("work begins", lambda: windows.metric("streamproc_events_total") > 300)
    kafka.nodes[0].kill()
    kafka.nodes[0].start()
    stack.produce(events[2000:4000])
    wait_for("it goes on", lambda: windows.metric("streamproc_events_total") > 2200, 60)
    kafka.nodes[0].stop()
    windows.kill()
    kafka.nodes[0].start()
    second = stack.worker("windows", wait=False)
    stack.produce(events[4000:])
    second.wait_ready()
    check_live(stack, check_windows(stack))
    check_archive(stack)
    assert second.process.poll() is None
    assert archive.process.poll() is None


def test_a_broker_that_stands_still_for_longer_than_the_session_is_waited_for(
    running: Stack, kafka: KafkaCluster
) -> None:
    """SIGSTOP, three session timeouts, SIGCONT."""
    stack, events = running, messages(62, 3000)
    worker = stack.worker("windows")
    stack.produce(events[:1500])
    wait_for("work begins", lambda: worker.metric("streamproc_events_total") > 300)
    kafka.nodes[0].pause()
    wait_for("the worker notices", lambda: worker.get("ready")[0] == 503, 40)
    kafka.nodes[0].resume()
    stack.produce(events[1500:])
    check_live(stack, check_windows(stack))
    assert worker.process.poll() is None


def test_three_nodes_with_one_killed_after_the_other(three: tuple[Stack, KafkaCluster]) -> None:
    """Each node is killed once under load and comes back; acknowledged is what counts, and all of it does."""
    stack, kafka = three
    events = messages(63, 6000)
    windows, archive = stack.worker("windows"), stack.worker("archive")
    stack.produce(events[:1500])
    for number, node in enumerate(kafka.nodes, start=1):
        node.kill()
        stack.produce(events[1500 * number : 1500 * (number + 1)])
        node.start()
        wait_for("all in sync again", lambda: kafka.in_sync("user-events") == {1, 2, 3}, 60)
    check_live(stack, check_windows(stack, timeout_s=90))
    check_archive(stack)
    assert windows.process.poll() is None
    assert archive.process.poll() is None
    assert windows.metric("streamproc_lost_offsets_total") == 0
    wait_for("no lag", lambda: windows.metric("streamproc_lag_records") == 0, 60)
