"""An event_id that comes again in another partition, with other content: silver and live totals count the same record."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.results import Cell
from streamproc.decode import decode_batch
from streamproc.sinks.bronze import SILVER, BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.windows.merge import MergeState
from streamproc.windows.source import SourceState
from tests.sinks.support import MINUTE, START, bronze_sink, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle
from tests.support.events import cost_event, encode, user_event, video_event
from tests.support.repeated import Sent, first_of, log_id

_TOPIC = "cost-events"
_MAKERS = {"user-events": user_event, "video-status": video_event, "cost-events": cost_event}
#: Fields of the topics for which tests/support/events.py has no maker.
_MORE = {
    "ops-events": {"service": "api", "kind": "health", "ok": True, "interval_s": 60},
    "billing-events": {
        "kind": "payment",
        "subscription_id": "s",
        "started_at": "2026-11-22T10:00:00Z",
        "amount_usd": "1.00",
    },
}
_numbers = itertools.count(1)


def _event(record: Sent) -> bytes:
    event = cost_event(START - MINUTE, event_id=record.key, video_id=7, amount_usd=f"0.{record.amount:04d}")
    return encode(event)


def _batches(records: Sequence[Sent], draw: random.Random) -> list[BronzeBatch]:
    """As the archive cuts them: in pieces, some of them twice, some cut anew; log times are those of the whole log."""
    found = []
    for _, part in itertools.groupby(sorted(records), key=lambda one: one[:2]):
        log = list(part)
        times = list(itertools.accumulate((each.kafka_ms for each in log), max))
        for _ in range(draw.choice((1, 2))):
            cuts = sorted({0, len(log), *(draw.randrange(len(log) + 1) for _ in range(2))})
            for begin, end in itertools.pairwise(cuts):
                piece = log[begin:end]
                batch = BronzeBatch(
                    _TOPIC, piece[0].partition, piece[0].log_id, [each.offset for each in piece],
                    [each.kafka_ms for each in piece], [b"7"] * len(piece), [_event(each) for each in piece],
                    log_times=times[begin:end],
                )  # fmt: skip
                found += [batch] * draw.choice((1, 1, 2))
    draw.shuffle(found)
    return found


def _live(records: Sequence[Sent], draw: random.Random) -> dict[int, int]:
    """What the total of video 7 holds: event id -> amount, by stage 1 and stage 2, cells in any order."""
    cells: list[Cell] = []
    for (partition, born), part in itertools.groupby(sorted(records), key=lambda one: one[:2]):
        log = list(part)
        decoded = decode_batch(_TOPIC, [_event(each) for each in log])
        state = SourceState(_TOPIC, f"{_TOPIC}/{partition}/{born}")
        state.apply(log[-1].offset, np.array([each.kafka_ms for each in log]), decoded.ok, decoded.columns)
        cells += state.all_cells()
    draw.shuffle(cells)
    merged = MergeState()
    for cell in cells:
        merged.apply([cell], 0, 0)
    totals = [window for key, window in merged.windows.items() if key.size == "all"]
    assert len(totals) == 1
    amounts: dict[int, int] = totals[0].folded("id_sum").amounts
    return amounts


def _silver(url: str, batches: Sequence[BronzeBatch], where: str, optimize: bool) -> list[tuple[Any, ...]]:
    async def act(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
        table = SILVER[batches[0].topic]
        for batch in batches:
            await bronze_sink(clickhouse).write([batch])
        if optimize:
            await clickhouse.command(f"OPTIMIZE TABLE {table} FINAL")
        return await clickhouse.rows(
            f"SELECT toString(event_id), partition, log_id, offset FROM {table} FINAL WHERE {where}"
        )

    return with_clickhouse(url, act)


@st.composite
def _logs(draw: st.DrawFn) -> list[Sent]:
    """Up to five logs of partitions whose numbers sort otherwise as text, Kafka times that go back, few ids."""
    number = next(_numbers)
    ids = [f"{number:08x}-0000-4000-8000-{n:012x}" for n in range(4)]
    logs = draw(
        st.lists(
            st.tuples(st.sampled_from((0, 1, 2, 9, 10, 19)), st.integers(0, 1)), min_size=2, max_size=5, unique=True
        )
    )
    records: list[Sent] = []
    for partition, generation in logs:
        born = log_id(number << 8 | generation, draw(st.integers(0, 2**32 - 1)))
        offset = draw(st.integers(0, 3))
        for key in draw(st.lists(st.sampled_from(ids), min_size=1, max_size=6)):
            kafka_ms = START + draw(st.integers(0, 4 * MINUTE))
            records.append(Sent(partition, born, offset, kafka_ms, key, draw(st.integers(1, 9999))))
            offset += draw(st.integers(1, 3))
    return records


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=_logs(), seed=st.integers(0, 2**32), optimize=st.booleans())
def test_silver_and_live_totals_count_the_same_record(
    clickhouse_server: ClickHouseHandle, records: list[Sent], seed: int, optimize: bool
) -> None:
    """Whatever the order of arrival, retries, other cuts and merges."""
    draw = random.Random(seed)
    truth = first_of(records)
    logs = ", ".join({f"'{each.log_id}'" for each in records})
    found = _silver(clickhouse_server.url, _batches(records, draw), f"log_id IN ({logs})", optimize)
    assert {key: tuple(place) for key, *place in found} == {key: each[:3] for key, each in truth.items()}
    assert len(found) == len(truth)
    assert _live(records, draw) == {int(key.replace("-", ""), 16): each.amount for key, each in truth.items()}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("topic", [*_MAKERS, *_MORE])
def test_the_older_record_counts_in_every_table(
    clickhouse_server: ClickHouseHandle, topic: str, order: tuple[int, ...]
) -> None:
    """Not the lower offset: that lies in a partition that was added. The third is in the minute of the first."""
    event_id = f"{next(_numbers):08x}-0000-4000-8000-000000000001"
    event = _MAKERS.get(topic, user_event)(START, event_id=event_id) | _MORE.get(topic, {})
    born = next(_numbers)
    sent = [(2, 304, START), (4, 88, START + 86_000), (3, 5, START + 20_000)]
    batches = [
        BronzeBatch(topic, partition, log_id(born, n), [offset], [ms], [b"7"], [encode(event)], owners=[1])
        for n, (partition, offset, ms) in enumerate(sent)
    ]
    found = _silver(clickhouse_server.url, [batches[n] for n in order], f"event_id = '{event_id}'", False)
    assert [(partition, offset) for _, partition, _, offset in found] == [(2, 304)]


def test_log_time_counts_and_not_a_time_of_the_past(clickhouse_server: ClickHouseHandle) -> None:
    """A producer's clock that is behind makes no record older than those before it in its log."""
    event_id = f"{next(_numbers):08x}-0000-4000-8000-000000000002"
    payload, born = encode(cost_event(START, event_id=event_id)), next(_numbers)
    behind = BronzeBatch(
        _TOPIC, 1, log_id(born, 1), [9], [START - 600_000], [b"7"], [payload], log_times=[START + 120_000]
    )
    other = BronzeBatch(_TOPIC, 2, log_id(born, 2), [10], [START + 1000], [b"7"], [payload])
    found = _silver(clickhouse_server.url, [behind, other], f"event_id = '{event_id}'", True)
    assert [(partition, offset) for _, partition, _, offset in found] == [(2, 10)]
