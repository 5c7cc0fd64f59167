"""Analytics by day and channel, and by day and video; revenue apart, for it comes later and would hold the rest back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from batch.youtube.errors import ChannelError
from batch.youtube.fetch import Fetcher
from batch.youtube.pacific import PACIFIC
from batch.youtube.plan import REPORT_IDS, activity_days, asked, chunks, revenue_days
from batch.youtube.silver_rows import VideoRow
from batch.youtube.values import ACTIVITY, REPORTS, REVENUE


class Analytics:
    """Each channel with its owner's token: YouTube gives analytics to nobody else."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def load(self, channel_id: str) -> None:
        """The days of the load.

        Raises:
            ChannelError: there is no token, or it is not taken; else as `Fetcher.page`.
        """
        client, day = self._fetcher.client, self._fetcher.report.day
        if not client.owner_of(channel_id):
            why = client.refusal(channel_id) or "no refresh token of its owner: public numbers only"
            raise ChannelError("token", why)
        days = activity_days(day)
        await self._once(f"activity/{channel_id}", channel_id, _by_day(channel_id, ACTIVITY, days[0], day))
        money = _by_day(channel_id, REVENUE, revenue_days(day)[0], day)
        await self._fetcher.for_channel(
            channel_id, lambda: self._once(f"revenue/{channel_id}", channel_id, money), "revenue"
        )
        newest = await self._newest_day(channel_id)
        videos = await self._fetcher.silver.known_videos(channel_id=channel_id)
        for one in days:
            # A day of which the channel has no numbers yet has none of its videos either.
            if newest is not None and one <= newest:
                await self._videos(channel_id, one, videos)

    async def _once(self, unit: str, channel_id: str, request: dict[str, Any]) -> None:
        if unit not in self._fetcher.stored or not self._fetcher.stored[unit]:
            await self._fetcher.page(unit, REPORTS, request, owner=channel_id, channel_id=channel_id)

    async def _newest_day(self, channel_id: str) -> date | None:
        pages = await self._fetcher.pages.items_of(f"activity/{channel_id}")
        found = [
            date.fromisoformat(item[0])
            for page in pages
            for item, error in zip(page.items, page.errors, strict=True)
            if not error
        ]
        return max(found, default=None)

    async def _videos(self, channel_id: str, day: date, videos: list[VideoRow]) -> None:
        unit = f"video-days/{channel_id}/{day}"
        done = asked(self._fetcher.stored.get(unit, ()))
        over_ms = datetime.combine(day + timedelta(days=1), time(), PACIFIC).astimezone(UTC).timestamp() * 1000
        ids = [
            one.video_id
            for one in videos
            if one.privacy not in ("gone", "hidden") and (one.published_ms or 0) < over_ms and one.video_id not in done
        ]
        for some in chunks(ids, REPORT_IDS):
            request = {
                "ids": f"channel=={channel_id}", "startDate": day.isoformat(), "endDate": day.isoformat(),
                "metrics": ",".join(ACTIVITY), "dimensions": "video", "filters": f"video=={','.join(some)}",
                "sort": "-views", "maxResults": 200,
            }  # fmt: skip
            await self._fetcher.page(unit, REPORTS, request, owner=channel_id, channel_id=channel_id)


def _by_day(channel_id: str, metrics: tuple[str, ...], first: date, last: date) -> dict[str, Any]:
    return {
        "ids": f"channel=={channel_id}", "startDate": first.isoformat(), "endDate": last.isoformat(),
        "metrics": ",".join(metrics), "dimensions": "day",
    }  # fmt: skip
