"""ClickHouse with our channels in it, a YouTube beside it, and a load as the scheduler or a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import clickhouse_connect

from batch.youtube.load import load_day
from batch.youtube.report import Report
from streamproc.clock import now_ms
from streamproc.config import Settings
from tests.support.youtube.server import API_KEY, YouTube
from tests.support.youtube.world import World

DAY = date(2026, 11, 20)  # a Friday: seven days are asked for
ALL = ("bronze.youtube", "meta.youtube_units", "meta.youtube_quota", "silver.youtube_videos", "silver.youtube_channels",
       "silver.youtube_analytics_daily", "meta.quality_results", "silver.video_status", "silver.cdc_channels")  # fmt: skip


class House:
    """One load's surroundings; `clean` makes them new for the next test."""

    def __init__(self, clickhouse_url: str) -> None:
        self.url = clickhouse_url
        self.client = clickhouse_connect.get_client(dsn=clickhouse_url, autogenerate_session_id=False)

    def clean(self, youtube: YouTube) -> None:
        """Empty tables, and the double's channels as ours."""
        for table in ALL:
            self.client.command(f"TRUNCATE TABLE {table}")
        self.client.command("DROP TABLE IF EXISTS gold.dim_channel")
        self.client.command(
            "CREATE TABLE gold.dim_channel (channel_id Int64, youtube_channel_id Nullable(String), is_current Bool)"
            " ENGINE = MergeTree ORDER BY channel_id"
        )
        rows = ", ".join(f"({nth}, '{one}', true)" for nth, one in enumerate(youtube.world.channels, start=1))
        self.client.command(f"INSERT INTO gold.dim_channel VALUES {rows}")

    def settings(self, youtube: YouTube, **changed: Any) -> Settings:
        """As the environment would give them."""
        given: dict[str, Any] = {
            "clickhouse_url": self.url, "youtube_endpoint": youtube.url, "youtube_api_key": API_KEY,
            "youtube_credentials": json.dumps(youtube.credentials()), "youtube_backoff_s": 0.01,
        }  # fmt: skip
        return Settings(**(given | changed))

    def load(
        self,
        youtube: YouTube,
        day: date = DAY,
        *,
        now: Callable[[], int] = now_ms,
        dry_run: bool = False,
        **changed: Any,
    ) -> Report:
        """One run in this process."""
        settings = self.settings(youtube, **changed)
        return asyncio.run(load_day(settings, day, lambda text, done, total: None, now=now, dry_run=dry_run))

    def start(self, youtube: YouTube, day: date = DAY, **environment: str) -> subprocess.Popen[str]:
        """One run as a command, in a process that can be killed."""
        env = os.environ | {
            "STREAMPROC_CLICKHOUSE_URL": self.url, "STREAMPROC_YOUTUBE_ENDPOINT": youtube.url,
            "STREAMPROC_YOUTUBE_API_KEY": API_KEY, "STREAMPROC_YOUTUBE_BACKOFF_S": "0.01",
            "STREAMPROC_YOUTUBE_CREDENTIALS": json.dumps(youtube.credentials()), **environment,
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "streamproc.cli.main", "youtube", "load", "--day", day.isoformat(), "--json"],
            env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Of a query."""
        return [tuple(row) for row in self.client.query(sql).result_rows]

    def count(self, table: str) -> int:
        """Rows as they lie there."""
        return int(self.rows(f"SELECT count() FROM {table}")[0][0])


def week(day: date = DAY) -> list[date]:
    """The days that a load asks for."""
    return [day - timedelta(days=n) for n in range(7)]


def truth_videos(world: World) -> dict[str, tuple[Any, ...]]:
    """What silver must say of each video that is there, from the world alone."""
    found = {}
    for video in world.videos.values():
        if not video.deleted:
            found[video.id] = (video.channel_id, video.title, video.duration_s, video.privacy, *world.counts(video.id))
    return found


def silver_videos(house: House) -> dict[str, tuple[Any, ...]]:
    """What it says: of each video the newest row."""
    rows = house.rows(
        "SELECT youtube_video_id, youtube_channel_id, title, duration_seconds, privacy_status, view_count, like_count,"
        " comment_count FROM silver.youtube_videos FINAL ORDER BY fetched_at"
    )
    return {row[0]: row[1:] for row in rows}


def truth_days(world: World, days: list[date], revenue_until: date) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """What silver must say of each day: channels whole with revenue, videos without; nothing for a video that nobody saw."""
    found: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    for day in days:
        for channel in world.channels.values():
            whole = asdict(world.of_channel(channel.id, day))
            money = whole.pop("revenue_e4")
            found[str(day), channel.id, ""] = (*whole.values(), money if day <= revenue_until else None)
            for video in channel.videos:
                one = asdict(world.of_video(video.id, day))
                one.pop("revenue_e4")
                if one["views"] and not video.deleted:
                    found[str(day), channel.id, video.id] = (*one.values(), None)
    return found


def silver_days(house: House) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """What it says: of each day the newest row."""
    rows = house.rows(
        "SELECT toString(day), youtube_channel_id, youtube_video_id, views, engaged_views, watch_time_minutes,"
        " average_view_percentage, likes, comments, shares, subscribers_gained, subscribers_lost, estimated_revenue_e4"
        " FROM silver.youtube_analytics_daily FINAL ORDER BY fetched_at"
    )
    return {row[:3]: row[3:] for row in rows}
