"""One node and three: started, killed, paused, emptied; what the helpers of the other tests promise."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from schemas.topics import ALL, USER_EVENTS
from streamproc.config import Settings
from streamproc.embedded.kafka.cluster import plan_cluster
from streamproc.errors import ConfigError
from streamproc.kafka_topics import ensure_topics
from tests.support.kafka import KafkaCluster, start_kafka
from tests.support.ports import free_port
from tests.support.stack import produce, read_all, wait_for

pytestmark = pytest.mark.kafka_only("is about Kafka itself")

EVENTS = [(USER_EVENTS, str(n).encode(), f"{n}".encode()) for n in range(500)]


def test_one_node_keeps_its_log_over_a_crash_and_forgets_it_when_told(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as kafka:
        settings = Settings(broker_url=kafka.url, partitions=2)
        assert sorted(asyncio.run(ensure_topics(settings))) == sorted(ALL)
        asyncio.run(produce(kafka.bootstrap, EVENTS))
        first = kafka.nodes[0].pid
        kafka.nodes[0].kill()
        assert kafka.nodes[0].pid == 0
        kafka.nodes[0].start()
        assert kafka.nodes[0].pid not in (0, first)
        assert asyncio.run(ensure_topics(settings)) == []
        assert len(asyncio.run(read_all(kafka.bootstrap, [USER_EVENTS]))) == 500
        kafka.lose_log()
        assert sorted(asyncio.run(ensure_topics(settings))) == sorted(ALL)
        assert asyncio.run(read_all(kafka.bootstrap, [USER_EVENTS])) == []


def test_three_nodes_take_and_give_records_with_one_of_them_killed(tmp_path: Path) -> None:
    with start_kafka(tmp_path, nodes=3) as kafka:
        asyncio.run(ensure_topics(Settings(broker_url=kafka.url, partitions=3, replication_factor=3)))
        asyncio.run(produce(kafka.bootstrap, EVENTS[:250]))
        kafka.nodes[1].kill()
        asyncio.run(produce(kafka.bootstrap, EVENTS[250:]))
        assert len(asyncio.run(read_all(kafka.bootstrap, [USER_EVENTS]))) == 500
        assert 2 not in kafka.leaders(USER_EVENTS).values()
        kafka.nodes[1].start()
        kafka.nodes[0].kill()
        assert len(asyncio.run(read_all(kafka.bootstrap, [USER_EVENTS]))) == 500


def test_topics_are_ensured_with_any_one_of_three_nodes_away(tmp_path: Path) -> None:
    """The client asks any node that it knows of; a worker that starts must not end because that one is away."""
    with start_kafka(tmp_path, nodes=3) as kafka:
        settings = Settings(broker_url=kafka.url, partitions=1, replication_factor=3)
        asyncio.run(ensure_topics(settings))
        kafka.nodes[1].kill()
        # Until the session of the killed node ends, metadata still names it.
        for _ in range(12):
            assert asyncio.run(ensure_topics(settings)) == []


def test_partitions_groups_and_retention_can_be_changed_from_outside(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as kafka:
        asyncio.run(ensure_topics(Settings(broker_url=kafka.url, partitions=1)))
        asyncio.run(produce(kafka.bootstrap, EVENTS))
        assert kafka.delete_records(USER_EVENTS, 0, before=120) == 120
        assert kafka.bounds(USER_EVENTS) == {0: (120, 500)}
        kafka.add_partitions(USER_EVENTS, 3)
        assert kafka.bounds(USER_EVENTS) == {0: (120, 500), 1: (0, 0), 2: (0, 0)}
        kafka.set_group_offset("some-group", USER_EVENTS, 0, 333)
        assert kafka.group_offsets("some-group") == {(USER_EVENTS, 0): 333}


def test_what_was_deleted_stays_deleted_in_a_crash_of_all_nodes(tmp_path: Path) -> None:
    """By default a minute of it comes back: a fault run then held the service for wrong that had counted these records."""
    with start_kafka(tmp_path) as kafka:
        asyncio.run(ensure_topics(Settings(broker_url=kafka.url, partitions=1)))
        asyncio.run(produce(kafka.bootstrap, EVENTS))
        kafka.delete_records(USER_EVENTS, 0, before=120)
        kafka.nodes[0].kill()
        kafka.nodes[0].start()
        assert kafka.bounds(USER_EVENTS) == {0: (120, 500)}


def test_a_paused_node_answers_when_it_goes_on(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as kafka:
        asyncio.run(ensure_topics(Settings(broker_url=kafka.url, partitions=1)))
        kafka.nodes[0].pause()

        async def act() -> float:
            began = time.monotonic()
            sending = asyncio.create_task(produce(kafka.bootstrap, EVENTS[:10]))
            await asyncio.sleep(0.3)
            kafka.nodes[0].resume()
            await sending
            return time.monotonic() - began

        assert asyncio.run(act()) > 0.3


def test_event_topics_carry_the_brokers_time_and_internal_ones_the_producers(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as kafka:
        asyncio.run(ensure_topics(Settings(broker_url=kafka.url, partitions=1)))
        for name, topic in ALL.items():
            config = kafka.topic_config(name)
            assert config["message.timestamp.type"] == ("CreateTime" if topic.internal else "LogAppendTime")
            assert config["cleanup.policy"] == "delete"
            assert config["retention.ms"] == str(topic.retention_ms)
            assert config["max.message.bytes"] == str(topic.max_message_bytes)


def test_no_topic_is_made_by_asking_for_it(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as kafka:
        with pytest.raises((KafkaError, TimeoutError)):
            asyncio.run(asyncio.wait_for(produce(kafka.bootstrap, EVENTS[:1]), 2))
        assert kafka.bounds(USER_EVENTS) == {}


def test_topics_are_made_when_enough_brokers_have_come(tmp_path: Path) -> None:
    """Whoever starts before the last of three brokers waits for it; a replication that never can be is a mistake."""
    # One that was there before and is away counts: topics get their third replica when it comes back.
    with KafkaCluster(plan_cluster(tmp_path, [(free_port(), free_port()) for _ in range(3)])) as kafka:
        settings = Settings(broker_url=kafka.url, partitions=1, replication_factor=3)
        for node in kafka.nodes[:2]:
            node.start(wait=False)
        wait_for("two nodes", lambda: kafka.alive() == {1, 2})
        with pytest.raises(ConfigError, match="STREAMPROC_REPLICATION_FACTOR=3"):
            asyncio.run(ensure_topics(settings, timeout_s=1))

        async def act() -> list[str]:
            making = asyncio.create_task(ensure_topics(settings, timeout_s=60))
            await asyncio.to_thread(kafka.nodes[2].start)
            return await making

        assert sorted(asyncio.run(act())) == sorted(ALL)
