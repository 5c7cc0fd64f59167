"""Days of Pacific time: Google counts quota by them, and YouTube its analytics."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

PACIFIC: Final = ZoneInfo("America/Los_Angeles")


def pacific_day(at_ms: int) -> date:
    """The day there at a UTC time (epoch ms)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(PACIFIC).date()


def next_midnight_ms(at_ms: int) -> int:
    """When the next day begins there, epoch ms: days of 23 and 25 hours too."""
    following = pacific_day(at_ms) + timedelta(days=1)
    return int(datetime(following.year, following.month, following.day, tzinfo=PACIFIC).timestamp() * 1000)
