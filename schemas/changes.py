"""Rows of the application's database as change data capture brings them: the columns of each topic, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS

#: int: 64 bits. amount: whole 1/10000 USD. time: epoch ms.
Kind = Literal["int", "text", "bool", "amount", "time"]

#: Operations that carry a row, and those that carry none (truncate, message).
ROW_OPS: Final = ("c", "u", "d", "r")
OTHER_OPS: Final = ("t", "m")


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the source's table; all but `id` may be null. `column` is its name in silver."""

    name: str
    kind: Kind
    column: str = ""

    @property
    def stored_as(self) -> str:
        """Its column in silver."""
        return self.column or self.name


#: The columns beside `id`, which is an integer in all of them. Others of the tables are ignored.
ROWS: Final[dict[str, tuple[Field, ...]]] = {
    CDC_USERS: (
        Field("email", "text"),
        Field("username", "text"),
        Field("subscription_tier", "text"),
        Field("channels_limit", "int"),
        Field("daily_video_limit", "int"),
        Field("monthly_budget", "amount", "monthly_budget_e4"),
        Field("created_at", "time"),
        Field("last_active_at", "time"),
    ),
    CDC_CHANNELS: (
        Field("user_id", "int"),
        Field("channel_name", "text"),
        Field("niche", "text"),
        Field("youtube_channel_id", "text"),
        Field("is_active", "bool"),
        Field("auto_publish", "bool"),
        Field("created_at", "time"),
        Field("updated_at", "time"),
    ),
    CDC_SUBSCRIPTIONS: (
        Field("user_id", "int"),
        Field("plan", "text"),
        Field("status", "text"),
        Field("mrr_usd", "amount", "mrr_e4"),
        Field("started_at", "time"),
        Field("cancelled_at", "time"),
    ),
}
