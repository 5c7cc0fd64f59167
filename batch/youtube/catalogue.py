"""Channels, their uploads, and the counts of their videos, by the Data API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from batch.youtube.errors import ChannelError, ListChangedError
from batch.youtube.fetch import Fetcher
from batch.youtube.pages import Page
from batch.youtube.patience import Patience
from batch.youtube.plan import IDS, asked, chunks
from batch.youtube.values import CHANNELS, UPLOADS, VIDEOS
from streamproc.errors import ConfigError, PermanentError
from streamproc.sinks.clickhouse_client import ClickHouse

_CHANNEL_PARTS: Final = "snippet,contentDetails,statistics"
_UPLOAD_PARTS: Final = "contentDetails"
_VIDEO_PARTS: Final = "snippet,contentDetails,statistics,status"
_GENERATIONS: Final = 3


class Catalogue:
    """What there is. Never `search.list`: it costs 100 units a call, and forgets videos."""

    def __init__(self, clickhouse: ClickHouse, patience: Patience, fetcher: Fetcher) -> None:
        self._clickhouse = clickhouse
        self._patience = patience
        self._fetcher = fetcher

    async def channels(self) -> list[str]:
        """The ids of our channels that are on YouTube, those loaded longest ago first: a short quota then starves none.

        Raises:
            ConfigError: there is no gold.dim_channel yet.
            RetryableError, PermanentError: ClickHouse's reason.
        """
        try:
            rows = await self._rows(
                "SELECT c.id FROM (SELECT DISTINCT assumeNotNull(youtube_channel_id) AS id FROM gold.dim_channel"
                " WHERE is_current AND youtube_channel_id != '') AS c LEFT JOIN (SELECT youtube_channel_id AS id,"
                " max(fetched_at) AS at FROM bronze.youtube WHERE item = 0 AND method = {method:String} GROUP BY id) AS l"
                " ON l.id = c.id ORDER BY l.at, c.id",
                {"method": UPLOADS},
            )
        except PermanentError as error:
            if error.reason != "unknown_table":
                raise
            raise ConfigError(
                "there is no gold.dim_channel yet, which says what our channels are; run: streamproc warehouse build"
            ) from error
        return [row[0] for row in rows]

    async def counts(self) -> dict[str, int]:
        """Videos by channel, as far as they are known."""
        rows = await self._rows(
            "SELECT id, max(n) FROM (SELECT youtube_channel_id AS id, uniqExact(youtube_video_id) AS n"
            " FROM silver.youtube_videos GROUP BY id UNION ALL SELECT youtube_channel_id AS id,"
            " argMax(video_count, fetched_at) AS n FROM silver.youtube_channels GROUP BY id) GROUP BY id"
        )
        return {channel_id: int(count) for channel_id, count in rows}

    async def ask_channels(self, channels: Sequence[str]) -> dict[str, str]:
        """Uploads playlist by channel; one that YouTube does not know is noted as skipped."""
        fetcher = self._fetcher
        done = asked(fetcher.stored.get("channels", ()))
        self._whoever()
        for ids in chunks([one for one in channels if one not in done], IDS):
            await self._ask_as_anybody({"part": _CHANNEL_PARTS, "id": ",".join(ids), "maxResults": IDS})
        found = {}
        for page in await fetcher.pages.items_of("channels"):
            for item in page.items:
                playlists = item.get("contentDetails", {}).get("relatedPlaylists", {})
                found[str(item.get("id", ""))] = str(playlists.get("uploads", ""))
        for channel_id in channels:
            if not found.get(channel_id):
                fetcher.report.skipped[channel_id] = "YouTube knows no such channel, or gives no list of its uploads"
        return {one: found[one] for one in channels if found.get(one)}

    def _whoever(self) -> str:
        """Who may ask for what everybody may see."""
        owner = self._fetcher.client.any_owner()
        if not owner and not self._fetcher.client.has_key:
            raise ConfigError("YouTube: no owner's token works and there is no API key (STREAMPROC_YOUTUBE_API_KEY)")
        return owner

    async def _ask_as_anybody(self, request: dict[str, Any]) -> None:
        """A page of channels; an owner whose token is refused now is no reason to ask for none of them."""
        while True:
            owner = self._whoever()
            try:
                await self._fetcher.page("channels", CHANNELS, request, owner=owner)
                return
            except ChannelError:
                if not self._fetcher.client.refusal(owner):
                    raise

    async def load(self, channel_id: str, uploads: str) -> None:
        """All pages of its uploads, then its videos, 50 a request.

        Raises:
            ChannelError: nobody may ask for it; else as `Fetcher.page`.
        """
        client = self._fetcher.client
        owner = client.owner_of(channel_id)
        try:
            if owner:
                return await self._load(channel_id, uploads, owner)
        except ChannelError:
            # Its token was refused just now: what everybody may see is left.
            if client.owner_of(channel_id):
                raise
        if not client.has_key:
            raise ChannelError("token", client.refusal(channel_id) or "no token of its owner, and no API key")
        await self._load(channel_id, uploads, "")

    async def _load(self, channel_id: str, uploads: str, owner: str) -> None:
        ids = await self._uploads(channel_id, uploads, owner)
        known = await self._fetcher.silver.known_videos(channel_id=channel_id)
        ids += [one.video_id for one in known if one.privacy not in ("gone", "hidden")]
        ids += await self._published(channel_id)
        unit = f"videos/{channel_id}"
        done = asked(self._fetcher.stored.get(unit, ()))
        for some in chunks([one for one in dict.fromkeys(ids) if one not in done], IDS):
            request = {"part": _VIDEO_PARTS, "id": ",".join(some)}
            await self._fetcher.page(unit, VIDEOS, request, owner=owner, channel_id=channel_id)

    async def _uploads(self, channel_id: str, uploads: str, owner: str) -> list[str]:
        unit = f"playlist/{channel_id}"
        for _ in range(_GENERATIONS):
            try:
                await self._list(unit, channel_id, uploads, owner)
                break
            except ListChangedError:
                # The list's token is void, so this unit can never go on: it begins again under another name.
                unit += "/again"
        else:
            raise ChannelError("invalidPageToken", "its list of uploads was cut short each time")
        pages = await self._fetcher.pages.items_of(unit)
        return [video_id for page in pages for item in page.items if (video_id := _video_id(item))]

    async def _list(self, unit: str, channel_id: str, uploads: str, owner: str) -> None:
        stored: list[Page] = self._fetcher.stored.get(unit, [])
        token = stored[-1].next_token if stored else ""
        while token or not stored:
            request: dict[str, Any] = {"part": _UPLOAD_PARTS, "playlistId": uploads, "maxResults": IDS}
            if token:
                request["pageToken"] = token
            page = await self._fetcher.page(unit, UPLOADS, request, owner=owner, channel_id=channel_id)
            if page.next_token == token and token:
                raise ListChangedError("invalidPageToken", "a page names itself as the next one")
            stored, token = [page], page.next_token

    async def _published(self, channel_id: str) -> list[str]:
        """What our own events say was published there: also what is not in the list."""
        rows = await self._rows(
            "SELECT DISTINCT assumeNotNull(youtube_video_id) FROM silver.video_status WHERE youtube_video_id != ''"
            " AND match(youtube_video_id, '^[A-Za-z0-9_-]{11}$')"
            " AND channel_id IN (SELECT channel_id FROM gold.dim_channel WHERE is_current AND youtube_channel_id = {id:String})"
            " ORDER BY 1",
            {"id": channel_id},
        )
        return [row[0] for row in rows]

    async def _rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return await self._patience(lambda: self._clickhouse.rows(sql, parameters))


def _video_id(item: Any) -> str:
    details = item.get("contentDetails") if isinstance(item, dict) else None
    return str(details.get("videoId", "")) if isinstance(details, dict) else ""
