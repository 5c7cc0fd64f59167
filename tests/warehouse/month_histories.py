"""Rows of the company's tables, and what an edit makes of one."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.warehouse.month_company import Channel, User
from tests.warehouse.month_envelope import Row
from tests.warehouse.month_write import DAY, HOUR

_TIERS = {
    "free": (1, 2, "0.00"),
    "basic": (2, 5, "50.00"),
    "pro": (5, 20, "249.90"),
    "studio": (20, 100, "12345678.99"),
}

USER_EDITS = (
    "active alone",
    "plan",
    "plan and back",
    "e-mail",
    "username",
    "budget",
    "limits",
    "nothing",
    "two in one millisecond",
)
CHANNEL_EDITS = (
    "updated_at alone",
    "name",
    "niche",
    "niche to null",
    "youtube_channel_id",
    "switches",
    "another user",
    "name and back",
    "two in one millisecond",
)


def _micros(rng: random.Random, ms: int) -> int:
    return ms * 1000 + rng.randrange(1000)


def user_row(rng: random.Random, user: User) -> Row:
    """As it was at sign-up."""
    tier = rng.choice(list(_TIERS))
    channels, videos, budget = _TIERS[tier]
    return {
        "id": user.id,
        "email": f"{user.name}@exämple.org",
        "username": user.name,
        "subscription_tier": tier,
        "channels_limit": channels,
        "daily_video_limit": videos,
        "monthly_budget": budget,
        "created_at": _micros(rng, user.signup_ms),
        "last_active_at": None if rng.random() < 0.5 else _micros(rng, user.signup_ms + rng.randrange(HOUR)),
    }


def channel_row(rng: random.Random, channel: Channel, since: int) -> Row:
    """As it was when it was made; most are not connected to YouTube at once."""
    return {
        "id": channel.id,
        "user_id": channel.user,
        "channel_name": channel.name,
        "niche": channel.niche,
        "youtube_channel_id": None if rng.random() < 0.5 else f"UC{channel.id:06d}",
        "is_active": True,
        "auto_publish": rng.random() < 0.5,
        "created_at": _micros(rng, since),
        "updated_at": _micros(rng, since),
    }


def subscription_row(rng: random.Random, user: User) -> Row:
    """One a user."""
    return {
        "id": user.id,
        "user_id": user.id,
        "plan": rng.choice(list(_TIERS)),
        "status": "active",
        "mrr_usd": rng.choice(("9.99", "29.00", "99.50")),
        "started_at": _micros(rng, user.signup_ms),
        "cancelled_at": None,
    }


def _user_edit(rng: random.Random, row: Row, way: str) -> Row:
    if way in ("plan", "plan and back", "two in one millisecond"):
        tier = rng.choice([name for name in _TIERS if name != row["subscription_tier"]])
        channels, videos, budget = _TIERS[tier]
        limits = {"channels_limit": channels, "daily_video_limit": videos, "monthly_budget": budget}
        return row | {"subscription_tier": tier} | limits
    if way == "e-mail":
        return row | {"email": f"new{rng.randrange(1000)}.{row['email']}"[:200]}
    if way == "username":
        return row | {"username": f"{row['username'][:30]}_ß{rng.randrange(10)}"}
    if way == "budget":
        return row | {"monthly_budget": f"{rng.randrange(100_000) / 100:.2f}"}
    return row | {"channels_limit": rng.randrange(1, 50)}


def _channel_edit(rng: random.Random, row: Row, way: str) -> Row:
    if way in ("name", "name and back", "two in one millisecond"):
        return row | {"channel_name": f"{row['channel_name'][:40]} №{rng.randrange(100)}"}
    if way == "niche":
        return row | {"niche": rng.choice(("science", "cuisine française", "旅行"))}
    if way == "niche to null":
        return row | {"niche": None}
    if way == "youtube_channel_id":
        return row | {"youtube_channel_id": f"UC{rng.randrange(10**6):06d}x{row['id']}"}
    if way == "switches":
        return row | {"is_active": not row["is_active"], "auto_publish": not row["auto_publish"]}
    return row | {"user_id": row["user_id"] % 20 + 1}


def edited(rng: random.Random, table: str, row: Row, at: int, way: str) -> Iterator[Row]:
    """The rows that follow `row` by an edit at `at` (epoch ms): one, or two."""
    stamp = "last_active_at" if table == "users" else "updated_at"
    # Now and then a row is touched without its stamp.
    touched = {stamp: _micros(rng, at)} if rng.random() < 0.8 or way.endswith("alone") else {}
    if way in ("active alone", "updated_at alone"):
        yield row | touched
        return
    if way == "nothing":
        yield dict(row)
        return
    edit = _user_edit if table == "users" else _channel_edit
    first = edit(rng, row, way) | touched
    yield first
    if way == "two in one millisecond":
        yield edit(rng, first, way) | touched
    elif way.endswith("and back"):
        yield row | {stamp: _micros(rng, at + DAY // 1000)}
