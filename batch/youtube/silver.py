"""Values into silver: a row where something changed, so that history has every revision and a repetition writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from batch.youtube.models import ChannelItem, DayRow, VideoItem
from batch.youtube.pages import Page
from batch.youtube.patience import Patience
from batch.youtube.silver_rows import AnalyticsRow, ChannelRow, VideoRow, analytics_block, channel_block, video_block
from batch.youtube.values import CHANNELS, REPORTS, VIDEOS, DayKey, is_revenue
from streamproc.sinks.clickhouse_client import ClickHouse

#: A value that stays the same is written again after this long: silver forgets rows after 180 days.
_RENEW_MS: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Restated:
    """A day of a channel ('' as video) or video whose views or revenue (1/10000 USD) YouTube gave otherwise before."""

    channel_id: str
    video_id: str
    day: str
    views: tuple[int, int]
    revenue_e4: tuple[int, int]

    @property
    def share(self) -> float:
        """The larger change of the two, as a share of what was there before."""
        return max(abs(new - old) / max(abs(old), 1) for old, new in (self.views, self.revenue_e4))


@dataclass(slots=True)
class Derived:
    """What a page brought: rows written, days restated, videos that are not there any more, and revenue without views."""

    written: int = 0
    restated: list[Restated] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    waiting: int = 0


class Silver:
    """The typed tables."""

    def __init__(self, clickhouse: ClickHouse, patience: Patience) -> None:
        self._clickhouse = clickhouse
        self._patience = patience

    async def take(self, page: Page, values: list[Any]) -> Derived:
        """Bring a stored page in; older pages than what is there change nothing.

        Raises:
            RetryableError, PermanentError: ClickHouse's reason.
        """
        valid = [one for one in values if one is not None]
        if page.method == CHANNELS:
            return await self._channels(page, valid)
        if page.method == VIDEOS:
            return await self._videos(page, valid)
        if page.method == REPORTS:
            return await self._report(page, valid)
        return Derived()

    async def _channels(self, page: Page, items: list[ChannelItem]) -> Derived:
        known = {
            row[0]: ChannelRow(*row)
            for row in await self._rows(
                "SELECT youtube_channel_id, tupleElement(n, 1), tupleElement(n, 2), tupleElement(n, 3), tupleElement(n, 4), at FROM"
                " (SELECT youtube_channel_id, argMax((title, view_count, subscriber_count, video_count), fetched_at) AS n,"
                " toUnixTimestamp64Milli(max(fetched_at)) AS at FROM silver.youtube_channels"
                " WHERE youtube_channel_id IN {ids:Array(String)} GROUP BY youtube_channel_id)",
                page.asked_ids,
            )
        }
        new = []
        for item in items:
            counts = item.statistics
            shown = None if counts.hidden_subscriber_count else counts.subscriber_count
            new.append(
                ChannelRow(item.id, item.snippet.title, counts.view_count, shown, counts.video_count, page.fetched_ms)
            )
        changed = [row for row in new if _is_news(known.get(row.channel_id), row)]
        await self._insert("silver.youtube_channels", channel_block(changed), len(changed))
        return Derived(len(changed))

    async def _videos(self, page: Page, items: list[VideoItem]) -> Derived:
        known = {row.video_id: row for row in await self.known_videos(ids=page.asked_ids)}
        new = {
            item.id: VideoRow(
                item.id, item.snippet.channel_id, item.snippet.title, int(item.published_at.timestamp() * 1000),
                item.content_details.duration, item.status.privacy_status, item.statistics.view_count,
                item.statistics.like_count, item.statistics.comment_count, page.fetched_ms,
            )
            for item in items
        }  # fmt: skip
        derived = Derived()
        answered = {str(item.get("id", "")) for item in page.items if isinstance(item, dict)}
        missing = "gone" if page.as_owner else "hidden"
        for video_id in page.asked_ids:
            old = known.get(video_id)
            # Asked for, and not in a page that did come: only that says that a video is not there. An item without an id may be any.
            lost = video_id not in answered and "" not in answered
            if lost and old is not None and old.privacy not in ("gone", "hidden"):
                new[video_id] = replace(old, privacy=missing, fetched_ms=page.fetched_ms)
                derived.gone.append(video_id)
        changed = [row for row in new.values() if _is_news(known.get(row.video_id), row)]
        derived.written = len(changed)
        await self._insert("silver.youtube_videos", video_block(changed), len(changed))
        return derived

    async def known_videos(self, *, ids: list[str] | None = None, channel_id: str = "") -> list[VideoRow]:
        """The newest row of each of these videos, or of all of a channel."""
        where = (
            "youtube_video_id IN {ids:Array(String)}" if ids is not None else "youtube_channel_id = {channel:String}"
        )
        rows = await self._rows(
            "SELECT youtube_video_id, tupleElement(n, 1), tupleElement(n, 2), tupleElement(n, 3), tupleElement(n, 4),"  # noqa: S608 (text of ours)
            " tupleElement(n, 5), tupleElement(n, 6), tupleElement(n, 7), tupleElement(n, 8), at FROM"
            " (SELECT youtube_video_id, argMax((youtube_channel_id, title, toUnixTimestamp64Milli(published_at),"
            " duration_seconds, privacy_status, view_count, like_count, comment_count), fetched_at) AS n,"
            " toUnixTimestamp64Milli(max(fetched_at)) AS at FROM silver.youtube_videos"
            f" WHERE {where} GROUP BY youtube_video_id) ORDER BY youtube_video_id",
            ids or [], channel_id,
        )  # fmt: skip
        return [VideoRow(*row) for row in rows]

    async def _report(self, page: Page, values: list[tuple[DayKey, DayRow | int]]) -> Derived:
        known = await self._known_days(page)
        derived, changed = Derived(), []
        for key, value in values:
            old = known.get(key)
            new = _with(old, key, value, page.fetched_ms)
            if new is None:
                derived.waiting += 1
                continue
            if not _is_news(old, new, renew=False):
                continue
            changed.append(new)
            if old is not None and (restated := _restated(old, new, is_revenue(page))):
                derived.restated.append(restated)
        derived.written = len(changed)
        await self._insert("silver.youtube_analytics_daily", analytics_block(changed), len(changed))
        return derived

    async def _known_days(self, page: Page) -> dict[DayKey, AnalyticsRow]:
        rows = await self._rows(
            "SELECT toString(day), youtube_video_id, tupleElement(n, 1), tupleElement(n, 2), tupleElement(n, 3),"
            " tupleElement(n, 4), tupleElement(n, 5), tupleElement(n, 6), tupleElement(n, 7), tupleElement(n, 8),"
            " tupleElement(n, 9), tupleElement(n, 10), at FROM (SELECT day, youtube_video_id, argMax((views,"
            " engaged_views, watch_time_minutes, average_view_percentage, likes, comments, shares, subscribers_gained,"
            " subscribers_lost, estimated_revenue_e4), fetched_at) AS n, toUnixTimestamp64Milli(max(fetched_at)) AS at"
            " FROM silver.youtube_analytics_daily WHERE youtube_channel_id = {channel:String}"
            " AND youtube_video_id IN {ids:Array(String)} AND day >= {first:Date} AND day <= {last:Date}"
            " GROUP BY day, youtube_video_id)",
            page.asked_ids or [""], page.channel_id, page.request["startDate"], page.request["endDate"],
        )  # fmt: skip
        found = {}
        for day, video_id, *values in rows:
            key = DayKey(page.channel_id, video_id, day)
            found[key] = AnalyticsRow(key, *values)
        return found

    async def _rows(
        self, sql: str, ids: list[str], channel_id: str = "", first: str = "", last: str = ""
    ) -> list[tuple[Any, ...]]:
        parameters: dict[str, Any] = {"ids": ids, "channel": channel_id}
        if first:
            parameters |= {"first": date.fromisoformat(first), "last": date.fromisoformat(last)}
        return await self._patience(lambda: self._clickhouse.rows(sql, parameters))

    async def _insert(self, table: str, encoded: tuple[tuple[str, ...], bytes], rows: int) -> None:
        if rows:
            await self._patience(lambda: self._clickhouse.insert(table, *encoded))


def _is_news(old: Any, new: Any, renew: bool = True) -> bool:
    """Newer than what is there, and another value (or the same after a month)."""
    if old is None:
        return True
    if new.fetched_ms <= old.fetched_ms:
        return False
    unchanged: bool = replace(new, fetched_ms=old.fetched_ms) == old
    return not unchanged or (renew and new.fetched_ms - old.fetched_ms >= _RENEW_MS)


def _with(old: AnalyticsRow | None, key: DayKey, value: DayRow | int, fetched_ms: int) -> AnalyticsRow | None:
    """The row with what came joined to what was there: activity and revenue come apart. None: revenue before activity."""
    if isinstance(value, int):
        return None if old is None else replace(old, revenue_e4=value, fetched_ms=fetched_ms)
    return AnalyticsRow(
        key, value.views, value.engaged_views, value.estimated_minutes_watched, value.average_view_percentage,
        value.likes, value.comments, value.shares, value.subscribers_gained, value.subscribers_lost,
        old.revenue_e4 if old else None, fetched_ms,
    )  # fmt: skip


def _restated(old: AnalyticsRow, new: AnalyticsRow, revenue: bool) -> Restated | None:
    """Revenue that comes for the first time restates nothing."""
    if revenue and old.revenue_e4 is None:
        return None
    key = new.key
    money = (old.revenue_e4 or 0, new.revenue_e4 or 0)
    return Restated(key.channel_id, key.video_id, key.day, (old.views, new.views), money)
