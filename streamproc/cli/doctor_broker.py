"""The doctor's checks of the broker: connection, topics, and what it can do beyond the least that we need."""

from __future__ import annotations

import asyncio
import uuid

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from schemas.topics import ALL
from streamproc.cli.doctor_checks import CLOCK_TOLERANCE_MS, Finding, note, ok, problem
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.kafka_topics import TopicState, admin_client, topic_states

_LOG_APPEND_TIME = 1
_LONG_AGO_MS = 1_000_000_000_000
_STEP_S = 6.0


async def check_broker(settings: Settings) -> list[Finding]:
    """All checks of the broker; one finding only if it is away."""
    try:
        async with admin_client(settings, timeout_s=5.0) as admin:
            cluster = await admin.describe_cluster()
            brokers = cluster["brokers"]
            findings = [ok("broker", f"{len(brokers)} broker(s), cluster {cluster.get('cluster_id') or 'without id'}")]
            states = await topic_states(admin)
            findings += _topics(settings, states)
            findings += await _compaction(settings, admin, states)
            findings.append(await _append_time(settings, admin))
    except RetryableError as error:
        return [problem("broker", str(error), "start it, or correct STREAMPROC_BROKER_URL")]
    except (KafkaError, TimeoutError) as error:
        return [problem("broker", f"{type(error).__name__}: {error}", "see the broker's log")]
    return [*findings, await _idempotence(settings)]


def _topics(settings: Settings, states: dict[str, TopicState]) -> list[Finding]:
    wanted = [settings.topic(name) for name in ALL]
    missing = [name for name in wanted if name not in states]
    leaderless = [name for name in wanted if name in states and not states[name].ready]
    other = {name: states[name].partitions for name in wanted if name in states}
    uneven = [f"{name} ({count})" for name, count in other.items() if count != settings.partitions]
    findings = []
    if missing:
        findings.append(
            problem(
                "topics",
                f"missing: {', '.join(missing)}",
                "start a worker with STREAMPROC_CREATE_TOPICS=true, or create them",
            )
        )
    if leaderless:
        findings.append(problem("topics", f"without leader: {', '.join(leaderless)}", "see which brokers are down"))
    if uneven:
        findings.append(
            problem(
                "partitions",
                f"not {settings.partitions}: {', '.join(uneven)}",
                "create them again while they are empty, or set STREAMPROC_PARTITIONS",
            )
        )
    return findings or [ok("topics", f"all {len(wanted)} with {settings.partitions} partitions")]


async def _compaction(settings: Settings, admin: AIOKafkaAdminClient, states: dict[str, TopicState]) -> list[Finding]:
    """A compacted topic keeps the last record of a key, which can be that of a worker that was thought dead."""
    names = [settings.topic(name) for name in ALL if settings.topic(name) in states]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return []
    compacted = []
    for response in await admin.describe_configs(resources):
        for _code, _message, _kind, name, entries in response.resources:
            policy = next((str(entry[1]) for entry in entries if entry[0] == "cleanup.policy"), "delete")
            if "compact" in policy:
                compacted.append(name)
    if compacted:
        return [problem("retention", f"compacted: {', '.join(compacted)}", "set cleanup.policy=delete")]
    return [ok("retention", "no topic is compacted")]


async def _append_time(settings: Settings, admin: AIOKafkaAdminClient) -> Finding:
    """Write one record with an old timestamp into a topic made for that, and see which time the broker gives it."""
    what = "LogAppendTime"
    name = f"{settings.topic_prefix}streamproc-doctor-{uuid.uuid4().hex[:12]}"
    topic = NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": what})
    response = await admin.create_topics([topic], timeout_ms=5000)
    code, message = response.topic_errors[0][1:3]
    if code:
        return note(what, f"not tried: no topic could be created for it ({message or code})")
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, request_timeout_ms=5000)
    try:
        await producer.start()
        before = now_ms()
        async with asyncio.timeout(_STEP_S):
            sent = await producer.send_and_wait(name, b"doctor", partition=0, timestamp_ms=_LONG_AGO_MS)
        after = now_ms()
    except (KafkaError, TimeoutError) as error:
        return problem(what, f"a record cannot be written: {type(error).__name__}: {error}", "see the broker's log")
    finally:
        await producer.stop()
        await admin.delete_topics([name])
    if sent.timestamp_type != _LOG_APPEND_TIME:
        return note(
            what, "not honoured: log time is what producers say", "no fault of the embedded broker; Kafka has it"
        )
    if not before - CLOCK_TOLERANCE_MS <= sent.timestamp <= after + CLOCK_TOLERANCE_MS:
        off_s = (sent.timestamp - before) / 1000
        return problem("clock of the broker", f"{off_s:+.1f} s against this machine", "run NTP on both")
    return ok(what, "honoured, and the broker's clock agrees")


async def _idempotence(settings: Settings) -> Finding:
    """Whether a producer's own retries can be kept from doubling records."""
    what = "idempotent producer"
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, enable_idempotence=True, request_timeout_ms=3000
    )
    try:
        async with asyncio.timeout(_STEP_S):
            await producer.start()
        return ok(what, "supported")
    except (KafkaError, TimeoutError) as error:
        return note(what, f"not supported ({type(error).__name__})", "no fault: repeats are found by event_id")
    finally:
        await producer.stop()
