"""Silver holds exactly what the events say: money to the ten-thousandth, times to the millisecond, all fields typed."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamproc.sinks.clickhouse_client import ClickHouse
from tests.sinks.support import batch, bronze_sink, user_event, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle

UTC = datetime.UTC


def cost_payload(number: int, amount: str) -> bytes:
    """A cost event whose amount is written literally as given."""
    event = user_event(number, component="voice", video_id=7, title="amount_usd : 1")
    return (json.dumps(event)[:-1] + f', "amount_usd": {amount}}}').encode()


def stored(url: str, log_id: str, topic: str, table: str, columns: str, payloads: list[Any]) -> list[tuple[Any, ...]]:
    async def act(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
        await bronze_sink(clickhouse).write([batch(log_id, list(range(len(payloads))), payloads, topic)])
        return await clickhouse.rows(f"SELECT {columns} FROM {table} FINAL WHERE log_id = '{log_id}' ORDER BY offset")

    return with_clickhouse(url, act)


def exact_e4(text: str) -> int:
    return int(Decimal(text).quantize(Decimal("0.0001"), ROUND_HALF_EVEN).scaleb(4))


def test_amounts_known_to_be_hard(clickhouse_server: ClickHouseHandle, name: str) -> None:
    texts = [
        "0.1234",
        "0.12345",
        "0.12355",
        "-0.00005",
        "-0.00015",
        "0.00015000000000000001",
        "1e-4",
        "1.5E2",
        "0",
        "-0",
    ]
    texts += ["0.123450000000000000000001", "900000000000.0001", "922337203685476.9999", "2.6", "0.1", "1.00005"]
    payloads = [cost_payload(n, text if n % 2 else f'"{text}"') for n, text in enumerate(texts * 2 + ["1"])]
    found = stored(clickhouse_server.url, name, "cost-events", "silver.cost_events", "offset, amount_e4", payloads[:-1])
    assert found == [(n, exact_e4(text)) for n, text in enumerate(texts * 2)]


def test_amounts_that_do_not_fit_are_rejected(clickhouse_server: ClickHouseHandle, name: str) -> None:
    texts = ["922337203685478", "-1e30", '"1e400"', "1e300", '"abc"', "null", '""', "[1]", "true", '"NaN"', '"0x10"']
    payloads = [cost_payload(1000 + n, text) for n, text in enumerate(texts)]
    columns = "offset, reason"
    found = stored(clickhouse_server.url, name, "cost-events", "silver.rejected", columns, payloads)
    assert found == [(n, "amount_usd is missing or no amount") for n in range(len(texts))]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.decimals(-(10**9), 10**9, allow_nan=False, places=7) | st.floats(-1e6, 1e6), min_size=20, max_size=60)
)
def test_any_amount_is_exact(clickhouse_server: ClickHouseHandle, amounts: list[Decimal | float]) -> None:
    texts = [f"{each:f}" if isinstance(each, Decimal) else repr(each) for each in amounts]
    log_id = uuid.uuid4().hex
    payloads = []
    for n, text in enumerate(texts):
        event = user_event(0, component="image", event_id=str(uuid.uuid4()))
        literal = text if n % 2 else f'"{text}"'
        payloads.append((json.dumps(event)[:-1] + f',"amount_usd":{literal}}}').encode())
    found = stored(clickhouse_server.url, log_id, "cost-events", "silver.cost_events", "amount_e4", payloads)
    assert found == [(exact_e4(text),) for text in texts]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T10:00:00.123987654Z", datetime.datetime(2026, 11, 22, 10, 0, 0, 123000, UTC)),
        ("2026-11-22T10:00:00+05:30", datetime.datetime(2026, 11, 22, 4, 30, 0, 0, UTC)),
        ("2026-11-22T10:00:00.9999-11:00", datetime.datetime(2026, 11, 22, 21, 0, 0, 999000, UTC)),
        ("1969-12-31T23:59:59.9996Z", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)),
        ("2028-02-29T23:59:59.5Z", datetime.datetime(2028, 2, 29, 23, 59, 59, 500000, UTC)),
    ],
)
def test_times_are_cut_to_milliseconds(
    clickhouse_server: ClickHouseHandle, name: str, text: str, instant: datetime.datetime
) -> None:
    payload = [user_event(int(name[1:]) + 5000, occurred_at=text)]
    columns = "toUnixTimestamp64Milli(occurred_at)"
    found = stored(clickhouse_server.url, name, "user-events", "silver.user_activity", columns, payload)
    assert found == [(round(instant.timestamp() * 1000),)]


def test_every_field_of_a_video_status(clickhouse_server: ClickHouseHandle, name: str) -> None:
    event = user_event(
        6000,
        video_id=1,
        channel_id=2,
        user_id=2**63 - 1,
        status="published",
        requested_at="2026-11-22T09:00:00Z",
        started_at="2026-11-22T09:01:00Z",
        completed_at="2026-11-22T09:02:00.5Z",
        published_at="2026-11-22T09:03:00Z",
        youtube_video_id="abc",
        video_type="short",
        niche="tech",
        title='a "b" \\ ü',
        duration_seconds=61,
        quality_score=0.1,
        error=None,
    )
    columns = """video_id, channel_id, user_id, status, toString(requested_at), toString(started_at), toString(completed_at),
                 toString(published_at), youtube_video_id, video_type, niche, title, duration_seconds, quality_score, error"""
    found = stored(clickhouse_server.url, name, "video-status", "silver.video_status", columns, [event])
    times = [f"2026-11-22 09:0{minute}.{ms}" for minute, ms in (("0:00", "000"), ("1:00", "000"), ("2:00", "500"))]
    texts = ("abc", "short", "tech", 'a "b" \\ ü')
    assert found == [
        (1, 2, 2**63 - 1, "published", *times, "2026-11-22 09:03:00.000", *texts, 61, 0.1, None),
    ]
