"""The dimensions: versions of users and channels by position of their changes, and what does not make versions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tests.warehouse.cdc import Change, Row
from tests.warehouse.columns import DIM_CHANNEL, DIM_USER, Rows
from tests.warehouse.read import Cost, UserEvent

FOREVER_MS: Final = int(datetime(2299, 12, 31, tzinfo=UTC).timestamp()) * 1000
_USER: Final = ("email", "username", "subscription_tier", "channels_limit", "daily_video_limit", "monthly_budget")
_CHANNEL: Final = ("user_id", "channel_name", "niche", "youtube_channel_id", "is_active", "auto_publish")


@dataclass
class Version:
    """One version: [valid_from, valid_to) in epoch ms and its attributes."""

    valid_from: int
    valid_to: int
    row: Row


def versions(changes: list[Change], attributes: tuple[str, ...]) -> list[Version]:
    """Versions of one entity, of its changes in order of position; those of no length are left out."""
    made: list[Version] = []
    now: Row | None = None
    latest = 0
    for change in changes:
        latest = max(latest, change.ts_ms)
        if change.op == "d":
            if now is not None:
                made[-1].valid_to = latest
            now = None
            continue
        row = {name: change.row.get(name) for name in attributes}
        if row == now:
            continue
        begin = latest
        if not made:
            created = change.row.get("created_at")
            begin = latest if created is None else min(created, latest)
        if now is not None:
            made[-1].valid_to = latest
        made.append(Version(begin, FOREVER_MS, row))
        now = row
    return [version for version in made if version.valid_from < version.valid_to]


def _newest(changes: list[Change]) -> Row:
    """The row of the newest change; of a delete the old row, or the one known before if it tells its id alone."""
    row = changes[-1].row
    if row.get("created_at") is None:
        row = next((change.row for change in reversed(changes) if change.row.get("created_at") is not None), row)
    return row


def _spent(costs: Iterable[Cost], facts: dict[int, dict[str, Any]]) -> Counter[int]:
    """user_id -> sum of costs in 1/10000 USD."""
    spent: Counter[int] = Counter()
    for cost in costs:
        user = cost.user_id
        if user is None and cost.video_id in facts:
            user = facts[cost.video_id]["user_id"]
        if user is not None:
            spent[user] += cost.amount
    return spent


def user_rows(
    changes: dict[int, list[Change]],
    events: Iterable[UserEvent],
    costs: Iterable[Cost],
    facts: dict[int, dict[str, Any]],
) -> Rows:
    """gold.dim_user."""
    spent = _spent(costs, facts)
    generated = Counter(fact["user_id"] for fact in facts.values() if fact["completed_at"] is not None)
    active: dict[int, int] = defaultdict(int)
    for event in events:
        active[event.user_id] = max(active[event.user_id], event.at)
    rows: Rows = {}
    for user, history in changes.items():
        newest = _newest(history)
        seen = [at for at in (newest.get("last_active_at"), active.get(user)) if at is not None]
        for version in versions(history, _USER):
            budget = version.row["monthly_budget"]
            rows[user, version.valid_from] = DIM_USER.row(
                **version.row | {"monthly_budget": None if budget is None else int(budget * 100)},
                total_spent=spent[user],
                videos_generated=generated[user],
                created_at=newest.get("created_at"),
                last_active_at=max(seen, default=None),
                valid_to=version.valid_to,
                is_current=version.valid_to == FOREVER_MS,
            )
    return rows


def channel_rows(changes: dict[int, list[Change]], facts: dict[int, dict[str, Any]]) -> Rows:
    """gold.dim_channel; YouTube's figures are 0, for the month has none."""
    videos = Counter(fact["channel_id"] for fact in facts.values())
    rows: Rows = {}
    for channel, history in changes.items():
        newest = _newest(history)
        for version in versions(history, _CHANNEL):
            rows[channel, version.valid_from] = DIM_CHANNEL.row(
                **version.row,
                total_videos=videos[channel],
                total_views=0,
                subscriber_count=0,
                created_at=newest.get("created_at"),
                updated_at=newest.get("updated_at"),
                valid_to=version.valid_to,
                is_current=version.valid_to == FOREVER_MS,
            )
    return rows
