"""From YouTube to gold by dbt: facts, channels, the day's mean and revenue are what the double's seed says; no news, no new row."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.youtube.server import YouTube
from tests.youtube.house import DAY, House, week

pytestmark = pytest.mark.timeout(600)


def _build(house: House, tmp_path: Path) -> None:
    env = os.environ | {"STREAMPROC_CLICKHOUSE_URL": house.url, "STREAMPROC_DATA_DIR": str(tmp_path)}
    env["STREAMPROC_REDIS_URL"] = "redis://127.0.0.1:1/0"
    done = subprocess.run(
        [sys.executable, "-c", "from batch.warehouse import dbt; from streamproc.config import load_settings;"
         " dbt.run(load_settings(), ['run', '--select', '+dim_channel', '+financial_daily'], {})"],
        env=env, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _our_side(house: House, youtube: YouTube) -> None:
    """Channels by change data capture, and the events of their videos, as the archive worker writes them."""
    house.client.command("TRUNCATE TABLE silver.cdc_channels")
    house.client.command("TRUNCATE TABLE silver.video_status")
    for nth, channel in enumerate(youtube.world.channels.values(), start=1):
        house.client.command(
            "INSERT INTO silver.cdc_channels (id, user_id, channel_name, youtube_channel_id, is_active, created_at, op, deleted,"
            f" position, source_ts, snapshot, topic, log_id) VALUES ({nth}, 1, 'c{nth}', '{channel.id}', true,"
            f" '2026-01-01 00:00:00', 'c', false, {nth}, '2026-01-01 00:00:00', false, 'cdc.app.channels', 'l')"
        )
        rows = ", ".join(
            f"(generateUUIDv4(), '{DAY - timedelta(days=n % 7)} 01:00:00', {nth * 1000 + n}, {nth}, 1, 'published', '{DAY} 00:00:00', '{DAY} 01:00:00',"
            f" '{video.id}', 'video-status', {nth}, 'l', {n}, now64(3))"
            for n, video in enumerate(channel.videos[:20])
        )
        house.client.command(
            "INSERT INTO silver.video_status (event_id, occurred_at, video_id, channel_id, user_id, status, requested_at,"
            f" published_at, youtube_video_id, topic, partition, log_id, offset, ingested_at) VALUES {rows}"
        )


def test_gold_has_what_youtube_says(house: House, youtube: YouTube, tmp_path: Path) -> None:
    """Views, likes, comments and retention of each video; counts of each channel; revenue of each day."""
    house.client.command("DROP TABLE IF EXISTS gold.dim_channel")
    _our_side(house, youtube)
    _build(house, tmp_path)
    house.load(youtube)
    _build(house, tmp_path)
    world = youtube.world
    facts = house.rows(
        "SELECT youtube_video_id, views, likes, comments, retention_rate FROM gold.fact_video_generation FINAL"
    )
    assert len(facts) == 60
    for video_id, views, likes, comments, retention in facts:
        assert (views, likes, comments) == world.counts(video_id)
        days = [world.of_video(video_id, day) for day in week()]
        mean = sum(one.views * one.percentage for one in days) / sum(one.views for one in days)
        assert retention == pytest.approx(mean)
    channels = house.rows(
        "SELECT youtube_channel_id, total_views, subscriber_count FROM gold.dim_channel WHERE is_current"
    )
    assert {row[0]: row[1:] for row in channels} == {one: world.channel_counts(one)[:2] for one in world.channels}
    revenue = dict(house.rows("SELECT day, youtube FROM gold.financial_daily FINAL WHERE youtube != 0"))
    truth = {day: sum(world.of_channel(one, day).revenue_e4 for one in world.channels) for day in week()[1:]}
    assert {day: round(usd * 10_000) for day, usd in revenue.items()} == truth
    before = house.count("gold.fact_video_generation")
    house.load(youtube)
    house.load(youtube, DAY + timedelta(days=1))
    _build(house, tmp_path)
    assert house.count("gold.fact_video_generation") == before
