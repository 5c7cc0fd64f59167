"""Whether Kafka nodes take part: asked in Kafka's own protocol."""

from __future__ import annotations

import asyncio

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from streamproc.embedded.health import CHECK_TIMEOUT_S, kafka_ready
from streamproc.embedded.kafka.cluster import HOST, Node


async def nodes_seen_by(node: Node) -> frozenset[int]:
    """Numbers of the nodes that this one knows as alive; empty if it does not answer."""
    if not await kafka_ready(HOST, node.port):
        return frozenset()
    client = AIOKafkaClient(bootstrap_servers=node.bootstrap, request_timeout_ms=int(CHECK_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await client.bootstrap()
            return frozenset(broker.nodeId for broker in client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return frozenset()
    finally:
        await client.close()


async def node_ready(node: Node) -> bool:
    """Whether a node serves clients as a living member of its cluster."""
    return node.number in await nodes_seen_by(node)
