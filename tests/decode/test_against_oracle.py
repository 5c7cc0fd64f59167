"""decode_batch and explain agree with an independent reading of the rules, on valid, odd and broken records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.outcomes import DeadReason
from streamproc.decode import Decoded, decode_batch, explain
from tests.decode.oracle import judge
from tests.decode.strategies import TOPICS, events, records

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    """Columns as one dictionary a valid record, in Python types."""
    lists = {name: column if isinstance(column, list) else column.tolist() for name, column in decoded.columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def check(topic: str, values: list[bytes | None]) -> Decoded:
    """Hold decode_batch's verdicts and values against the oracle's."""
    decoded = decode_batch(topic, values)
    verdicts = [judge(topic, value) for value in values]
    expected = [row for verdict, row in verdicts if verdict == "ok"]
    assert decoded.ok.tolist() == [at for at, (verdict, _) in enumerate(verdicts) if verdict == "ok"]
    assert [(at, str(reason)) for at, reason, _ in decoded.dead] == [
        (at, verdict) for at, (verdict, _) in enumerate(verdicts) if verdict != "ok"
    ]
    assert rows(decoded) == expected
    for at, reason, text in decoded.dead:
        assert explain(topic, values[at]) == (reason, text)
        assert text and "please report" not in text and len(text) < 200
    for at in decoded.ok.tolist():
        assert explain(topic, values[at]) is None
    return decoded


@pytest.mark.parametrize("topic", TOPICS)
def test_legal_forms(topic: str) -> None:
    @SETTINGS
    @given(st.lists(events(topic), min_size=1, max_size=3))
    def run(values: list[bytes | None]) -> None:
        check(topic, values)

    run()


@pytest.mark.parametrize("topic", TOPICS)
def test_broken_records(topic: str) -> None:
    @SETTINGS
    @given(st.lists(records(topic), max_size=6))
    def run(values: list[bytes | None]) -> None:
        check(topic, values)

    run()


@pytest.mark.parametrize("topic", TOPICS)
def test_large_batches_say_the_same(topic: str) -> None:
    """The vectorised readers start at some size: each record is repeated until they are all at work."""

    @SETTINGS
    @given(st.lists(records(topic), min_size=1, max_size=5))
    def run(values: list[bytes | None]) -> None:
        small, large = decode_batch(topic, values), check(topic, values * 40)
        assert rows(large) == rows(small) * 40

    run()


@pytest.mark.parametrize("topic", TOPICS)
def test_bytes_never_crash(topic: str) -> None:
    @SETTINGS
    @given(st.lists(st.one_of(st.none(), st.binary(max_size=60)), max_size=20))
    def run(values: list[bytes | None]) -> None:
        decoded = check(topic, values)
        assert len(decoded.dead) == len(values)
        assert {reason for _, reason, _ in decoded.dead} <= {DeadReason.MALFORMED}

    run()
