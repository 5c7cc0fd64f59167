"""Google's price list, and what each project has spent by Pacific day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

#: Units of the Data API; a list method costs 1, a search 100. Analytics counts queries, in a quota of its own.
PRICES = {
    "youtube.channels.list": 1,
    "youtube.playlistItems.list": 1,
    "youtube.videos.list": 1,
    "youtube.search.list": 100,
    "youtubeAnalytics.reports.query": 1,
}
_PACIFIC = ZoneInfo("America/Los_Angeles")


class Quota:
    """Spent units by (api, Pacific day)."""

    def __init__(self, now_ms: Callable[[], int], units: int = 10_000, queries: int = 100_000) -> None:
        self.now_ms = now_ms
        self.limits = {"youtube": units, "youtubeAnalytics": queries}
        self.spent: Counter[tuple[str, str]] = Counter()

    def today(self) -> str:
        """The Pacific day, YYYY-MM-DD."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC).astimezone(_PACIFIC).date().isoformat()

    def spend(self, method: str) -> bool:
        """Whether there was enough left; a request that is refused for its quota costs nothing more."""
        api, price = method.split(".", 1)[0], PRICES[method]
        if self.spent[api, self.today()] + price > self.limits[api]:
            return False
        self.spent[api, self.today()] += price
        return True

    def total(self, api: str = "youtube") -> int:
        """Spent over all days."""
        return sum(units for (name, _), units in self.spent.items() if name == api)
