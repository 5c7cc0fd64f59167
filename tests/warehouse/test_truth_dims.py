"""Dimensions by hand: versions by position, late changes, deletes and returns, and how values are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.columns import DIM_CHANNEL, DIM_USER
from tests.warehouse.hand import Hand, ms, rfc
from tests.warehouse.truth import Truth
from tests.warehouse.truth_dims import FOREVER_MS


def _row(tier: str = "free", created: str = "2026-09-01", active: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "email": "a@b.org",
        "username": "a",
        "subscription_tier": tier,
        "channels_limit": 1,
        "daily_video_limit": 2,
        "monthly_budget": "10.50",
        "created_at": ms(created) * 1000 + 999,
        "last_active_at": None if active is None else rfc(active),
        **more,
    }


def _versions(truth: Truth, column: str = "subscription_tier", user: int = 1) -> list[tuple[int, int, Any]]:
    """(valid_from, valid_to, column) of a user."""
    names = list(DIM_USER.columns)
    return [
        (since, row[names.index("valid_to")], row[names.index(column)])
        for (number, since), row in sorted(truth.gold["dim_user"].items())
        if number == user
    ]


def test_a_late_change_takes_its_place_by_position(tmp_path: Path) -> None:
    """It arrives last, and is told twice; the first version begins when the user was created."""
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-01", _row("free"))
    hand.change("users", "u", 300, "2026-10-05", _row("pro"))
    for arrived in ("2026-10-09", "2026-10-10"):
        hand.change("users", "u", 200, "2026-10-03", _row("basic"), log=arrived)
    assert _versions(hand.truth(tmp_path)) == [
        (ms("2026-09-01"), ms("2026-10-03"), "free"),
        (ms("2026-10-03"), ms("2026-10-05"), "basic"),
        (ms("2026-10-05"), FOREVER_MS, "pro"),
    ]


def test_what_makes_no_version(tmp_path: Path) -> None:
    """Activity alone, a snapshot again, an amount told otherwise; but type 1 columns are the newest everywhere."""
    hand = Hand()
    hand.change("users", "r", 100, "2026-10-01", _row("free", active="2026-09-02"))
    hand.change("users", "u", 200, "2026-10-02", _row("free", active="2026-10-02"))
    hand.change("users", "r", 300, "2026-10-03", _row("free", active="2026-10-02", monthly_budget=10.5))
    hand.change("users", "u", 400, "2026-10-04", _row("pro", active="2026-10-02", created="2026-08-01"))
    hand.user("2026-10-03 08:00", 1)
    truth = hand.truth(tmp_path)
    assert _versions(truth, "last_active_at") == [
        (ms("2026-09-01"), ms("2026-10-04"), ms("2026-10-03 08:00")),
        (ms("2026-10-04"), FOREVER_MS, ms("2026-10-03 08:00")),
    ]
    assert [value for *_, value in _versions(truth, "created_at")] == [ms("2026-08-01")] * 2
    assert [value for *_, value in _versions(truth, "monthly_budget")] == [1050, 1050]
    assert [value for *_, value in _versions(truth, "is_current")] == [False, True]


def test_delete_and_insert_again(tmp_path: Path) -> None:
    """A gap between the versions; the second begins at its source time, not when its row was created."""
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-01", _row("free"))
    hand.change("users", "d", 200, "2026-10-03", _row("free"))
    hand.raw("cdc.app.users", "2026-10-03", None)
    hand.change("users", "c", 300, "2026-10-05", _row("free", created="2026-10-04"))
    truth = hand.truth(tmp_path)
    assert _versions(truth, "created_at") == [
        (ms("2026-09-01"), ms("2026-10-03"), ms("2026-10-04")),
        (ms("2026-10-05"), FOREVER_MS, ms("2026-10-04")),
    ]


def test_a_user_who_stays_deleted_has_no_current_version(tmp_path: Path) -> None:
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-01", _row("free"))
    hand.change("users", "d", 200, "2026-10-03", _row("free", active="2026-10-02"))
    truth = hand.truth(tmp_path)
    assert _versions(truth, "is_current") == [(ms("2026-09-01"), ms("2026-10-03"), False)]
    assert _versions(truth, "last_active_at")[0][2] == ms("2026-10-02")


def test_versions_of_no_length_are_left_out_and_time_never_goes_back(tmp_path: Path) -> None:
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-05", _row("free"))
    hand.change("users", "u", 200, "2026-10-02", _row("basic"))
    hand.change("users", "u", 300, "2026-10-04", _row("pro"))
    hand.change("users", "u", 400, "2026-10-06", _row("free"))
    assert _versions(hand.truth(tmp_path)) == [
        (ms("2026-09-01"), ms("2026-10-05"), "free"),
        (ms("2026-10-05"), ms("2026-10-06"), "pro"),
        (ms("2026-10-06"), FOREVER_MS, "free"),
    ]


def test_a_first_version_begins_no_later_than_its_source_time(tmp_path: Path) -> None:
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-01", _row("free", created="2026-10-02"))
    assert _versions(hand.truth(tmp_path)) == [(ms("2026-10-01"), FOREVER_MS, "free")]


@pytest.mark.parametrize(
    ("type_", "told", "cents"),
    [
        ({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}, "AP8=", 255),
        ({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}, "/w==", -1),
        ({"type": "string"}, "249.90", 24990),
        ({"type": "double"}, 249.9, 24990),
    ],
)
def test_how_the_schema_part_tells_amounts_and_times(tmp_path: Path, type_: Any, told: Any, cents: int) -> None:
    columns = [
        type_ | {"field": "monthly_budget"},
        {"type": "int64", "name": "io.debezium.time.Timestamp", "field": "created_at"},
        {"type": "int64", "name": "io.debezium.time.MicroTimestamp", "field": "last_active_at"},
    ]
    schema = {"type": "struct", "fields": [{"field": "after", "fields": columns}]}
    row = _row(monthly_budget=told) | {"created_at": ms("2026-09-01"), "last_active_at": ms("2026-09-02") * 1000 + 5}
    hand = Hand()
    hand.change("users", "c", 100, "2026-10-01", row, schema=schema)
    truth = hand.truth(tmp_path)
    assert _versions(truth, "monthly_budget") == [(ms("2026-09-01"), FOREVER_MS, cents)]
    assert _versions(truth, "last_active_at")[0][2] == ms("2026-09-02")


def test_what_users_spent_and_made(tmp_path: Path) -> None:
    """Costs that name them, and those of their videos that name nobody; a cost that names another is the other's."""
    hand = Hand()
    for user in (1, 2):
        hand.change("users", "c", 100 + user, "2026-10-01", _row() | {"id": user})
    hand.video("2026-10-01 10:00", 5, "completed", user_id=1)
    hand.video("2026-10-01 10:00", 6, "requested", user_id=1)
    hand.cost("2026-10-01", "1", 5)
    hand.cost("2026-10-01", "2", 5, user_id=2)
    hand.cost("2026-10-01", "4", None, user_id=1)
    hand.cost("2026-10-01", "8", 99)
    hand.cost("2026-10-01", "16")
    truth = hand.truth(tmp_path)
    assert [_versions(truth, "total_spent", user)[0][2] for user in (1, 2)] == [50_000, 20_000]
    assert [_versions(truth, "videos_generated", user)[0][2] for user in (1, 2)] == [1, 0]


def test_channels(tmp_path: Path) -> None:
    """updated_at alone makes no version; a niche that goes to null does."""
    row = {
        "id": 10,
        "user_id": 1,
        "channel_name": "TV",
        "niche": "science",
        "youtube_channel_id": None,
        "is_active": True,
        "auto_publish": False,
        "created_at": rfc("2026-09-01"),
        "updated_at": rfc("2026-09-01"),
    }
    hand = Hand()
    hand.change("channels", "c", 100, "2026-10-01", row)
    hand.change("channels", "u", 200, "2026-10-02", row | {"updated_at": rfc("2026-10-02")})
    hand.change("channels", "u", 300, "2026-10-03", row | {"niche": None, "updated_at": rfc("2026-10-03")})
    hand.video("2026-10-01 10:00", 5, "requested", channel_id=10)
    rows = hand.truth(tmp_path).gold["dim_channel"]
    assert list(rows) == [(10, ms("2026-09-01")), (10, ms("2026-10-03"))]
    told = [dict(zip(DIM_CHANNEL.columns, values, strict=True)) for values in rows.values()]
    assert [(row["niche"], row["total_videos"], row["updated_at"]) for row in told] == [
        ("science", 1, ms("2026-10-03")),
        (None, 1, ms("2026-10-03")),
    ]


def test_records_that_carry_no_change(tmp_path: Path) -> None:
    hand = Hand()
    for value in (
        None,
        "",
        "no JSON",
        "[]",
        '{"ts_ms":1}',
        '{"schema":{},"payload":{"ts_ms":1}}',
        '{"status":"BEGIN"}',
    ):
        hand.raw("cdc.app.users", "2026-10-01", value)
    assert hand.truth(tmp_path).gold["dim_user"] == {}
