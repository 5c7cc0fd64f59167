"""Of a repeated JSON key the last value counts, in the windows as in silver; and both read every spelling alike."""

from __future__ import annotations

import random
import uuid

import pytest

from streamproc.sinks.clickhouse_client import ClickHouse
from tests.fuzz.jsonish import TOPICS, record
from tests.fuzz.mutate import MIB
from tests.sinks.agreement import differing, expected, stored
from tests.sinks.support import with_clickhouse
from tests.support.clickhouse import ClickHouseHandle

HEAD = '"event_id":"{id}","schema_version":"1.0.0","occurred_at":"2026-11-22T10:00:00Z"'
USER = HEAD + ',"user_id":1,"activity_type":"view"'
COST = HEAD + ',"component":"voice"'
VIDEO = HEAD + ',"video_id":1,"channel_id":2,"user_id":3,"status":"requested","requested_at":"2026-11-22T09:00:00Z"'

CASES = {
    "user-events": [
        USER,
        USER + ',"user_id":2',
        USER + ',"response_time_ms":5,"response_time_ms":null',
        USER + ',"response_time_ms":null,"response_time_ms":6',
        USER + ',"user\\u005fid":3',
        USER
        + ',"activity_type":"a \\" \\\\ \\u00e9 \\ud83d\\ude00","activity_type":"b \\" \\\\ \\u00e9 \\ud83d\\ude00 \\u0001"',
        USER + ',"new":{{"user_id":7,"user_id":8}}',
        USER + ',"new":1,"new":"{{\\"user_id\\":7}}"',
        USER.replace("10:00:00Z", "09:00:00Z") + ',"occurred_at":"2026-11-22T11:00:00.25+01:00"',
    ],
    "video-status": [
        VIDEO + ',"niche":"a","niche":"b"',
        VIDEO + ',"niche":"a","niche":null,"video_type":null,"video_type":"short"',
        VIDEO + ',"status":"started","started_at":"2026-11-22T09:00:01Z","started_at":"2026-11-22T09:00:02Z"',
    ],
    "cost-events": [
        COST + ',"amount_usd":"1.5","amount_usd":"2.5"',
        COST + ',"amount_usd":1.5,"amount_usd":0.00015000000000000001',
        COST + ',"amount_usd":0.00015000000000000001,"amount_usd":0.00015',
        COST + ',"amount_usd":"7","amount_usd":0.00025',
        COST + ',"amount_usd":7,"amount_usd":"0.00025"',
        COST + ',"amount\\u005fusd":0.00015000000000000001',
        COST + ',"amount_usd":5,"amount\\u005fusd":0.00015000000000000001',
        COST + ',"amount_usd":9223372.0000500000000000001,"video_id":1,"video_id":null',
    ],
}


def check(url: str, topic: str, values: list[bytes | None]) -> None:
    """Write as the archive does and compare; every call is a log of its own."""
    wanted = expected(topic, values)

    async def read(clickhouse: ClickHouse) -> dict[int, tuple[object, ...]]:
        return await stored(clickhouse, uuid.uuid4().hex, topic, values)

    wrong = differing(wanted, with_clickhouse(url, read))
    assert not wrong, "\n".join(f"{values[position]!r}: {text}" for position, text in list(wrong.items())[:5])


@pytest.mark.parametrize("topic", CASES)
def test_the_last_of_repeated_keys_counts(clickhouse_server: ClickHouseHandle, topic: str) -> None:
    values: list[bytes | None] = [
        ("{" + each.format(id=uuid.uuid5(uuid.NAMESPACE_URL, f"{topic}{number}")) + "}").encode()
        for number, each in enumerate(CASES[topic])
    ]
    assert len(expected(topic, values)) == len(values)
    check(clickhouse_server.url, topic, values)


@pytest.mark.parametrize("topic", TOPICS)
def test_silver_reads_odd_records_as_the_windows_do(clickhouse_server: ClickHouseHandle, topic: str) -> None:
    """A seeded sample of what `python -m tests.fuzz --target silver` looks at by the million."""
    rng = random.Random(topic)
    check(clickhouse_server.url, topic, [value for _ in range(1500) if len(value := record(rng, topic)) < MIB])
