"""What was planned and spent of Google's quota, by Pacific day; written down before each request is sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from typing import Final

from batch.youtube.errors import QuotaSpentError
from batch.youtube.pacific import next_midnight_ms, pacific_day
from batch.youtube.patience import Patience
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, block, integers, texts

DATA: Final = "youtube"
ANALYTICS: Final = "youtubeAnalytics"
_COLUMNS: Final = ("pacific_day", "api", "kind", "id", "load", "method", "units", "at")
# Another process (the hourly refresh) may spend too: what it spent is looked up again now and then.
_LOOK_EVERY: Final = 25


class Ledger:
    """Units by API and Pacific day. `limits` are the project's: {'youtube': units a day, 'youtubeAnalytics': queries}."""

    def __init__(
        self, clickhouse: ClickHouse, patience: Patience, load: str, limits: dict[str, int], now_ms: Callable[[], int]
    ) -> None:
        self._clickhouse = clickhouse
        self._patience = patience
        self._load = load
        self._limits = limits
        self._now_ms = now_ms
        self._day: date | None = None
        self._spent: dict[str, int] = {}
        self._refused: set[str] = set()
        self._since_look = 0
        self.spent_here: dict[str, int] = {DATA: 0, ANALYTICS: 0}

    async def left(self, api: str) -> int:
        """What of today's quota is left.

        Raises:
            RetryableError, PermanentError: ClickHouse's reason.
        """
        today = pacific_day(self._now_ms())
        if today != self._day or self._since_look >= _LOOK_EVERY:
            await self._look(today)
        return 0 if api in self._refused else max(0, self._limits[api] - self._spent.get(api, 0))

    async def spend(self, api: str, method: str, units: int = 1) -> None:
        """Write units down, then the request may be sent.

        Raises:
            QuotaSpentError: not enough is left today.
            RetryableError, PermanentError: ClickHouse's reason.
        """
        left = await self.left(api)
        if left < units:
            raise self._nothing_left(
                api, f"{left} of {self._limits[api]} {api} units left on {self._day} (Pacific time)"
            )
        await self._write(api, "spent", str(uuid.uuid4()), method, units)
        self._spent[api] = self._spent.get(api, 0) + units
        self.spent_here[api] += units
        self._since_look += 1

    async def refused(self, api: str, text: str) -> QuotaSpentError:
        """Google says that nothing is left, whatever we counted: nobody asks again today."""
        await self._write(api, "refused", "google", "", 0)
        self._refused.add(api)
        return self._nothing_left(api, text)

    async def plan(self, units: dict[str, int]) -> None:
        """What the load is going to spend from now on, beside what it has spent today."""
        rows = await self._patience(
            lambda: self._clickhouse.rows(
                "SELECT api, sum(units) FROM meta.youtube_quota FINAL WHERE pacific_day = {day:Date} AND kind = 'spent'"
                " AND load = {load:String} GROUP BY api",
                {"day": pacific_day(self._now_ms()), "load": self._load},
            )
        )
        before = {api: int(spent) for api, spent in rows}
        for api, count in units.items():
            await self._write(api, "planned", self._load, "", count + before.get(api, 0))

    def _nothing_left(self, api: str, detail: str) -> QuotaSpentError:
        return QuotaSpentError(api, next_midnight_ms(self._now_ms()), detail)

    async def _look(self, today: date) -> None:
        rows = await self._patience(
            lambda: self._clickhouse.rows(
                "SELECT api, sumIf(units, kind = 'spent'), countIf(kind = 'refused') FROM meta.youtube_quota FINAL"
                " WHERE pacific_day = {day:Date} GROUP BY api",
                {"day": today},
            )
        )
        self._day, self._since_look = today, 0
        self._spent = {api: int(units) for api, units, _ in rows}
        self._refused = {api for api, _, refused in rows if refused}

    async def _write(self, api: str, kind: str, name: str, method: str, units: int) -> None:
        now = self._now_ms()
        days = (pacific_day(now) - date(1970, 1, 1)).days
        row = (
            integers("pacific_day", "UInt16", [days]), texts("api", [api]), texts("kind", [kind]), texts("id", [name]),
            texts("load", [self._load]), texts("method", [method]), integers("units", "UInt32", [units]),
            integers("at", DATETIME_MS, [now]),
        )  # fmt: skip
        await self._patience(lambda: self._clickhouse.insert("meta.youtube_quota", _COLUMNS, block(row, 1)))
