"""A stack on one Kafka node, and what tests ask of the node itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import KafkaBroker
from tests.support.kafka import KafkaCluster
from tests.support.stack import Stack


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    """Servers with topics on one Kafka node, and no worker yet."""
    with Stack(tmp_path / "stack") as stack:
        stack.create_topics()
        yield stack


@pytest.fixture
def kafka(running: Stack) -> KafkaCluster:
    """The node of the running stack."""
    assert isinstance(running.broker, KafkaBroker)
    return running.broker.cluster
