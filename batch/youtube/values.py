"""Items of a page as typed values of silver, or why one is none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from batch.youtube.ledger import ANALYTICS
from batch.youtube.models import ChannelItem, DayRow, RevenueRow, UploadItem, VideoItem, parsed
from batch.youtube.pages import Page

CHANNELS: Final = "youtube.channels.list"
UPLOADS: Final = "youtube.playlistItems.list"
VIDEOS: Final = "youtube.videos.list"
REPORTS: Final = f"{ANALYTICS}.reports.query"
ACTIVITY: Final = (
    "views", "engagedViews", "estimatedMinutesWatched", "averageViewPercentage", "likes", "comments", "shares",
    "subscribersGained", "subscribersLost",
)  # fmt: skip
REVENUE: Final = ("estimatedRevenue",)


@dataclass(frozen=True, slots=True)
class DayKey:
    """Whose day: `video_id` '' is the channel as a whole; `day` is YYYY-MM-DD of Pacific time."""

    channel_id: str
    video_id: str
    day: str


def is_revenue(page: Page) -> bool:
    """Whether a report is the one of revenue."""
    return page.request.get("metrics") == ",".join(REVENUE)


def read_items(page: Page) -> list[Any]:
    """A value for each item, None for one that is not valid; `page.errors` then says why, with the path."""
    read = _READERS[page.method]
    found, page.errors = [], []
    for item in page.items:
        value = read(page, item)
        page.errors.append(value if isinstance(value, str) else "")
        found.append(None if isinstance(value, str) else value)
    return found


def _report_row(page: Page, item: Any) -> tuple[DayKey, DayRow | int] | str:
    columns = page.columns
    if not isinstance(item, list) or len(item) != len(columns):
        return f"item: not a list of {len(columns)} values, as columnHeaders says"
    named = dict(zip(columns, item, strict=True))
    key = _key(page, named)
    if isinstance(key, str):
        return key
    if is_revenue(page):
        money = parsed(RevenueRow, named)
        return money if isinstance(money, str) else (key, usd_e4(money.estimated_revenue))
    row = parsed(DayRow, named)
    return row if isinstance(row, str) else (key, row)


def _key(page: Page, named: dict[str, Any]) -> DayKey | str:
    by_day = page.request["dimensions"] == "day"
    name = "day" if by_day else "video"
    value = named.get(name)
    if not isinstance(value, str) or not value:
        return f"{name}: Field required"
    if not by_day:
        return DayKey(page.channel_id, value, page.request["startDate"])
    if not page.request["startDate"] <= value <= page.request["endDate"]:
        return f"day: {value} was not asked for"
    return DayKey(page.channel_id, "", value)


def usd_e4(amount: float) -> int:
    """USD as 1/10000 USD, half to even, from the shortest decimal text of the double."""
    return int((Decimal(repr(amount)) * 10_000).quantize(Decimal(1), ROUND_HALF_EVEN))


_READERS: Final = {
    CHANNELS: lambda page, item: parsed(ChannelItem, item),
    UPLOADS: lambda page, item: parsed(UploadItem, item),
    VIDEOS: lambda page, item: parsed(VideoItem, item),
    REPORTS: _report_row,
}
