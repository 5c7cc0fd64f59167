"""A load against the double: silver equals a truth from the world alone, whatever YouTube does meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from batch.youtube.load import load_day
from streamproc.errors import ConfigError
from tests.support.youtube import errors
from tests.support.youtube.errors import Refusal
from tests.support.youtube.server import API_KEY, YouTube, running
from tests.support.youtube.world import World
from tests.youtube.house import DAY, House, silver_days, silver_videos, truth_days, truth_videos, week

# Analytics are there up to DAY, revenue up to the day before.
REVENUE_UNTIL = DAY - timedelta(days=1)


def _is_all_there(house: House, youtube: YouTube) -> None:
    assert silver_videos(house) == truth_videos(youtube.world)
    assert silver_days(house) == truth_days(youtube.world, week(), REVENUE_UNTIL)
    channels = {row[0]: row[1:] for row in house.rows(
        "SELECT youtube_channel_id, view_count, subscriber_count, video_count FROM silver.youtube_channels FINAL ORDER BY fetched_at"
    )}  # fmt: skip
    assert channels == {one: youtube.world.channel_counts(one) for one in youtube.world.channels}


def _no_page_twice(youtube: YouTube) -> None:
    """No request that got its page was sent again."""
    pages = [call.page for call in youtube.calls if call.status == 200]
    assert len(pages) == len(set(pages))


def test_everything_is_loaded_at_the_price_that_was_planned(house: House, youtube: YouTube) -> None:
    """1 + 3 * 2 + 3 * 2 units; a second run asks for nothing and writes nothing."""
    house.load(youtube)
    _is_all_there(house, youtube)
    _no_page_twice(youtube)
    assert youtube.quota.total() == 13
    assert youtube.quota.total("youtubeAnalytics") == 3 * (2 + 7)
    before = {
        table: house.count(table)
        for table in ("bronze.youtube", "silver.youtube_videos", "silver.youtube_analytics_daily")
    }
    calls = len(youtube.calls)
    again = house.load(youtube)
    assert (len(youtube.calls), again.pages, again.written, again.complete) == (calls, 0, 0, True)
    assert again.planned == {"youtube": 0, "youtubeAnalytics": 0}
    assert before == {table: house.count(table) for table in before}


def test_a_dry_run_tells_the_units_and_spends_none(house: House, youtube: YouTube) -> None:
    """The next day's, for channels that are known."""
    house.load(youtube)
    spent = len(youtube.calls)
    planned = house.load(youtube, DAY + timedelta(days=1), dry_run=True).planned
    assert len(youtube.calls) == spent
    report = house.load(youtube, DAY + timedelta(days=1))
    assert report.spent == {"youtube": planned["youtube"], "youtubeAnalytics": planned["youtubeAnalytics"] - 3}
    assert house.rows("SELECT sum(units) FROM meta.youtube_quota FINAL WHERE kind = 'planned' AND load LIKE '%-21'")[0][
        0
    ] == sum(planned.values())
    # A day that YouTube has no numbers of yet: three queries less, and no error.
    assert report.complete


def test_bronze_is_what_came(house: House, youtube: YouTube) -> None:
    """A row an item, unknown fields too; a missing field is an error with its path, in bronze alone."""
    youtube.faults.extra_fields = True
    youtube.faults.drop_fields = ("statistics.viewCount",)
    report = house.load(youtube)
    bad = house.rows(
        "SELECT error, payload FROM bronze.youtube FINAL WHERE method = 'youtube.videos.list' AND error != ''"
    )
    assert len(bad) == 90
    assert {row[0] for row in bad} == {"statistics.viewCount: Field required"}
    assert all('"newThing"' in row[1] for row in bad)
    assert len(silver_videos(house)) == 90
    assert house.rows(
        f"SELECT count() FROM bronze.youtube WHERE position(concat(request, payload), '{API_KEY}') > 0"
    ) == [(0,)]
    assert report.invalid == 90 + 1
    # A video whose item is not valid was answered all the same: it is not gone.
    assert report.gone == []


def test_rate_limits_server_errors_and_broken_connections(house: House, youtube: YouTube) -> None:
    """Every fifth request fails, every eleventh is cut, every thirteenth within its answer; each attempt is in the ledger."""
    youtube.faults.every_nth, youtube.faults.break_every, youtube.faults.cut_every = 5, 11, 13
    youtube.faults.refusals = [
        errors.server_error(),
        errors.rate_limited(),
        errors.rate_limited(403),
        errors.server_error(503),
    ]
    report = house.load(youtube)
    assert report.complete
    _is_all_there(house, youtube)
    _no_page_twice(youtube)
    assert report.spent == {api: youtube.quota.total(api) for api in ("youtube", "youtubeAnalytics")}


def test_tokens_that_end_in_the_middle_are_renewed_once(house: House, youtube: YouTube) -> None:
    """A 401 refreshes; a second one in a row leaves the channel out."""
    settings_of = house.settings(youtube)
    ended = []

    def progress(text: str, done: int, total: int) -> None:
        if done in (5, 20) and done not in ended:
            ended.append(done)
            youtube.expire_tokens()

    report = asyncio.run(load_day(settings_of, DAY, progress))
    assert ended == [5, 20]
    assert report.complete
    assert any(call.status == 401 for call in youtube.calls)
    _is_all_there(house, youtube)


def test_a_channel_without_a_valid_token_is_left_out_and_the_rest_goes_on(house: House, youtube: YouTube) -> None:
    """Revoked: public numbers by the API key, no analytics, a word about it, and a row in the books."""
    first, second, third = youtube.world.channels
    youtube.revoked.add(youtube.world.channels[first].refresh_token)
    youtube.without_money.add(youtube.world.channels[second].refresh_token)
    youtube.world.channels[first].videos[0].privacy = "private"
    report = house.load(youtube)
    assert set(report.skipped) == {f"{first} (analytics)", f"{second} (revenue)"}
    assert "grant access again" in report.skipped[f"{first} (analytics)"]
    assert "scope" in report.skipped[f"{second} (revenue)"]
    days = silver_days(house)
    assert {key[1] for key in days} == {second, third}
    truth = truth_videos(youtube.world)
    truth.pop(youtube.world.channels[first].videos[0].id)
    assert silver_videos(house) == truth
    assert house.rows(
        "SELECT status, failing_rows FROM meta.quality_results WHERE check_name = 'youtube_channels'"
    ) == [("warned", 2)]


def test_one_refused_token_stops_nobody_else_where_there_is_no_key(house: House, youtube: YouTube) -> None:
    """The first owner is asked for all channels' public numbers; without its token another one is."""
    first, *others = youtube.world.channels
    youtube.revoked.add(youtube.world.channels[first].refresh_token)
    report = house.load(youtube, youtube_api_key=None)
    assert {name.split()[0] for name in report.skipped} == {first}
    assert {key[1] for key in silver_days(house)} == set(others)
    wanted = {video.id for one in others for video in youtube.world.channels[one].videos if video.privacy != "deleted"}
    assert silver_videos(house).keys() >= wanted


def test_a_refused_page_of_videos_marks_none_of_them(house: House, youtube: YouTube) -> None:
    house.load(youtube)
    before = silver_videos(house)
    youtube.faults.refuse_pages_of["youtube.videos.list"] = Refusal(404, "videoNotFound", "not found")
    report = house.load(youtube, DAY + timedelta(days=1))
    assert report.gone == [] and report.skipped
    assert silver_videos(house) == before


def test_configuration_errors_say_what_to_do(house: House, youtube: YouTube) -> None:
    """Nothing is tried again."""
    with pytest.raises(ConfigError, match="not a key that Google knows"):
        house.load(youtube, youtube_api_key="wrong")
    assert len(youtube.calls) == 1
    with pytest.raises(ConfigError, match="there are no credentials"):
        house.load(youtube, youtube_api_key=None, youtube_credentials=None)
    youtube.faults.refuse_pages_of["youtube.channels.list"] = errors.forbidden("...", "accessNotConfigured")
    with pytest.raises(ConfigError, match="enable 'YouTube Data API v3'"):
        house.load(youtube)
    house.client.command("DROP TABLE gold.dim_channel")
    with pytest.raises(ConfigError, match="warehouse build"):
        house.load(youtube)


def test_a_restated_day_has_its_new_value_and_its_old_one(house: House, youtube: YouTube) -> None:
    """The next day's load asks again; history has both, the report says so, and only what changed was written."""
    house.load(youtube)
    channel = next(iter(youtube.world.channels.values()))
    day, video = DAY - timedelta(days=3), channel.videos[5]
    old = youtube.world.of_video(video.id, day)
    youtube.world.restate(video.id, day)
    new = youtube.world.of_video(video.id, day)
    before = house.count("silver.youtube_analytics_daily")
    report = house.load(youtube, DAY + timedelta(days=1))
    assert silver_days(house)[str(day), channel.id, video.id][0] == new.views
    history = house.rows(
        f"SELECT views FROM silver.youtube_analytics_daily WHERE youtube_video_id = '{video.id}' AND day = '{day}' ORDER BY fetched_at"
    )
    assert [row[0] for row in history] == [old.views, new.views]
    # The video's day, and its channel's for activity and for revenue.
    assert house.count("silver.youtube_analytics_daily") - before == 3
    assert report.restated == 3
    assert {(one.video_id, one.day) for one in report.restated_examples} == {(video.id, str(day)), ("", str(day))}
    assert report.alerts == []


def test_a_settled_day_that_changes_much_is_an_alert(clickhouse_url: str) -> None:
    """On a Sunday 35 days are asked for again: one of them is two weeks old, and other than it was."""
    sunday = DAY + timedelta(days=9)
    assert sunday.weekday() == 6
    with running(YouTube(World(channels=1, videos=20))) as youtube:
        house = House(clickhouse_url)
        house.clean(youtube)
        house.load(youtube)
        old_day = DAY - timedelta(days=5)
        for video in youtube.world.videos:
            youtube.world.restate(video, old_day)
        youtube.world.newest = sunday
        report = house.load(youtube, sunday)
    assert report.alerts
    assert all(str(old_day) in text and "restated" in text for text in report.alerts)
    warned = "SELECT count() FROM meta.quality_results WHERE check_name = 'youtube_restated' AND status = 'warned'"
    assert house.rows(warned) == [(1,)]


def test_deleted_and_private_videos_are_marked_and_only_then(house: House, youtube: YouTube) -> None:
    """Deleted: gone, with its last numbers. Private: seen by the owner. A page that fails marks nothing."""
    house.load(youtube)
    channel = next(iter(youtube.world.channels.values()))
    deleted, private = channel.videos[0], channel.videos[1]
    youtube.faults.refuse_pages_of["youtube.videos.list"] = errors.server_error()
    deleted.deleted, private.privacy = True, "private"
    failed = house.load(youtube, DAY + timedelta(days=1))
    assert not failed.complete
    assert {row[3] for row in silver_videos(house).values()} == {"public"}
    youtube.faults.refuse_pages_of.clear()
    report = house.load(youtube, DAY + timedelta(days=1))
    assert (report.complete, report.gone) == (True, [deleted.id])
    found = silver_videos(house)
    assert found[private.id][3] == "private"
    assert found[deleted.id][3:] == ("gone", *youtube.world.counts(deleted.id))
    # And once is enough.
    assert house.load(youtube, DAY + timedelta(days=2)).gone == []
