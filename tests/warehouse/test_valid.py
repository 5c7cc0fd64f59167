"""Validity of operations' and billing events, kind by kind, and which record of an id silver keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.hand import Hand, ms
from tests.warehouse.valid import judge

_HEAD = {
    "event_id": "0B0E5C9A-55B2-4C56-9D6C-2F1DE4A2A7AA",
    "schema_version": "1.2.0",
    "occurred_at": "2026-10-01T00:00:00Z",
}
_TIME = "2026-10-01T00:00:00+02:00"
VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "health": ("ops-events", {"service": "api", "kind": "health", "ok": False, "interval_s": 60}),
    "queue": (
        "ops-events",
        {"service": "api", "kind": "queue", "queue": "q", "queued_at": _TIME, "processing_start": _TIME},
    ),
    "api_request": (
        "ops-events",
        {"service": "api", "kind": "api_request", "endpoint": "/", "http_status": 200, "response_time_ms": 0},
    ),
    "ai_call": (
        "ops-events",
        {"service": "api", "kind": "ai_call", "provider": "p", "model": "m", "latency_ms": 0, "ok": True},
    ),
    **{
        kind: (
            "billing-events",
            {"user_id": 1, "kind": kind, "subscription_id": "s", "started_at": _TIME, field: "1.00005"},
        )
        for kind, field in (
            ("subscription_started", "mrr_usd"),
            ("subscription_changed", "mrr_usd"),
            ("subscription_cancelled", "mrr_usd"),
            ("payment", "amount_usd"),
            ("refund", "amount_usd"),
        )
    },
}


def _judge(kind: str, /, **changed: Any) -> str:
    topic, fields = VALID[kind]
    return judge(topic, json.dumps(_HEAD | fields | changed).encode())[0]


@pytest.mark.parametrize("kind", VALID)
def test_each_field_of_a_kind_is_required(kind: str) -> None:
    """With all of them it is valid; without any one, or with null, it is not."""
    assert _judge(kind) == ""
    for name in (*_HEAD, *VALID[kind][1]):
        assert _judge(kind, **{name: None}) == "malformed"


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("health", {"ok": 1}),
        ("health", {"interval_s": True}),
        ("health", {"interval_s": 1.0}),
        ("api_request", {"response_time_ms": -1}),
        ("ai_call", {"latency_ms": -1}),
        ("ai_call", {"ok": "yes"}),
        ("queue", {"queued_at": "2026-10-01T00:00:00"}),
        ("payment", {"amount_usd": True}),
        ("payment", {"amount_usd": "1,00"}),
        ("payment", {"mrr_usd": "free"}),
        ("payment", {"plan": 7}),
        ("refund", {"user_id": "1"}),
        ("refund", {"kind": "gift"}),
        ("refund", {"kind": ["refund"]}),
        ("refund", {"event_id": "0b0e5c9a55b24c569d6c2f1de4a2a7aa"}),
    ],
)
def test_wrong_types_are_malformed(kind: str, changed: dict[str, Any]) -> None:
    assert _judge(kind, **changed) == "malformed"


def test_other_reasons() -> None:
    """A version that nobody knows is told before its fields are read."""
    assert _judge("refund", schema_version="2.0.0", user_id=None) == "unknown_version"
    assert _judge("refund", schema_version="1.0") == "malformed"
    assert _judge("health", padding="x" * (1 << 20)) == "too_large"
    assert judge("ops-events", None)[0] == judge("ops-events", b"")[0] == judge("ops-events", b"[]")[0] == "malformed"


def test_the_first_valid_record_of_an_id_wins_for_ever(tmp_path: Path) -> None:
    hand = Hand()
    first = hand.user("2026-10-01 10:00", 7)
    hand.user("2026-10-01 10:00", 7, event_id=first.upper(), log="2026-10-09 00:00", activity_type="altered")
    # Refused first (a millisecond too far ahead), then valid: the second counts. Exactly 5 minutes ahead is valid.
    late = hand.user("2026-10-02 10:00", 8, log=ms("2026-10-02 09:55") - 1)
    hand.user("2026-10-02 10:00", 8, event_id=late, log="2026-10-02 10:01")
    ahead = hand.user("2026-10-03 10:00", 9, log="2026-10-03 09:55")
    truth = hand.truth(tmp_path)
    assert truth.silver["user-events"] == {
        first: (ms("2026-10-01 10:00"), ms("2026-10-01 10:00")),
        late: (ms("2026-10-02 10:00"), ms("2026-10-02 10:01")),
        ahead: (ms("2026-10-03 10:00"), ms("2026-10-03 09:55")),
    }
    assert truth.gold["fact_user_activity"][first,][2] == "login"
    assert truth.counts["user-events", "duplicate"] == truth.counts["user-events", "future_event"] == 1
