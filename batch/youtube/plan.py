"""What a load asks for: days, chunks of ids, and how many units that is before any of it is spent. Pure but for one query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from batch.youtube.ledger import ANALYTICS, DATA
from batch.youtube.pages import Page

#: The Data API takes at most 50 ids, and gives at most 50 items a page.
IDS: Final = 50
#: A request above 2048 characters would be sent as a POST; a report of top videos has at most 200 rows.
REPORT_IDS: Final = 100
_DAILY: Final = 7
_WEEKLY: Final = 35
_SUNDAY: Final = 6
_MONTH_CLOSED_ON: Final = 10


def activity_days(day: date) -> list[date]:
    """The days of activity that a load asks for, oldest first: 7, and on Sundays 35, for YouTube restates them."""
    count = _WEEKLY if day.weekday() == _SUNDAY else _DAILY
    return [day - timedelta(days=n) for n in reversed(range(count))]


def revenue_days(day: date) -> list[date]:
    """The same for revenue; on the 10th all of the month before, which is corrected when it is closed."""
    days = activity_days(day)
    if day.day == _MONTH_CLOSED_ON:
        begin = (day.replace(day=1) - timedelta(days=1)).replace(day=1)
        days = [begin + timedelta(days=n) for n in range((day - begin).days + 1)]
    return days


def chunks(ids: Sequence[str], size: int) -> list[list[str]]:
    """Ids in groups, in their order."""
    return [list(ids[at : at + size]) for at in range(0, len(ids), size)]


def asked(pages: Iterable[Page]) -> set[str]:
    """Ids that stored pages have asked for already."""
    return {one for page in pages for one in page.asked_ids}


@dataclass(frozen=True, slots=True)
class Known:
    """Of a channel before it is loaded: how many videos it has (None: never loaded), and whether its owner's token is there."""

    videos: int | None
    owned: bool


def planned_units(
    channels: dict[str, Known], stored: dict[str, list[Page]], day: date, days: Sequence[date]
) -> dict[str, int]:
    """Units and queries that are still to be spent. A channel that was never loaded counts as one with no video."""
    missing = [one for one in channels if one not in asked(stored.get("channels", ()))]
    units = {DATA: -(-len(missing) // IDS), ANALYTICS: 0}
    for channel_id, known in channels.items():
        videos = known.videos or 0
        listed = stored.get(f"playlist/{channel_id}", [])
        if not listed or listed[-1].next_token:
            units[DATA] += max(1, -(-videos // IDS) - len(listed))
        units[DATA] += _left(videos, stored.get(f"videos/{channel_id}", []), IDS)
        if known.owned:
            units[ANALYTICS] += sum(f"{kind}/{channel_id}" not in stored for kind in ("activity", "revenue")) + sum(
                _left(videos, stored.get(f"video-days/{channel_id}/{one}", []), REPORT_IDS) for one in days
            )
    return units


def _left(videos: int, pages: Sequence[Page], size: int) -> int:
    return -(-max(0, videos - len(asked(pages))) // size)
