"""Loads that end in the middle: no page that was stored is asked for again, and in the end everything is there."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from streamproc import failpoints
from tests.support.youtube.server import YouTube
from tests.youtube.house import DAY, House, silver_days, silver_videos, truth_days, truth_videos, week

POINTS = ("youtube_spent", "youtube_answered", "youtube_stored", "youtube_derived")


def _end_at(house: House, youtube: YouTube, point: str) -> None:
    """An error that nobody expects leaves what a kill leaves: nothing of the loader writes on its way out."""
    failpoints.arm({"STREAMPROC_RAISE_AT": point})
    try:
        with pytest.raises(RuntimeError, match="failpoint"):
            house.load(youtube)
    finally:
        failpoints.arm({})


def _is_all_there(house: House, youtube: YouTube) -> None:
    assert silver_videos(house) == truth_videos(youtube.world)
    assert silver_days(house) == truth_days(youtube.world, week(), DAY - timedelta(days=1))


@pytest.mark.parametrize("point", POINTS)
def test_ended_between_any_two_steps_of_a_page(house: House, youtube: YouTube, point: str) -> None:
    """A run ends at its 1st, 8th and 20th page, then one goes to the end. Only an answer that was lost is asked for again."""
    for passing in (1, 8, 20):
        _end_at(house, youtube, f"{point}:{passing}")
    assert house.load(youtube).complete
    _is_all_there(house, youtube)
    asked = Counter(call.page for call in youtube.calls if call.status == 200)
    assert sum(count - 1 for count in asked.values()) == (3 if point == "youtube_answered" else 0)
    # Written down before it is sent: never less than what Google counted.
    spent = house.rows("SELECT sum(units) FROM meta.youtube_quota FINAL WHERE kind = 'spent'")[0][0]
    sent = youtube.quota.total() + youtube.quota.total("youtubeAnalytics")
    assert spent == sent + (3 if point == "youtube_spent" else 0)


def test_killed_at_any_moment(house: House, youtube: YouTube) -> None:
    """SIGKILL after so many requests, whatever the process is doing then."""
    youtube.faults.delay_s = 0.005
    for after in (3, 14, 25):
        process = house.start(youtube)
        while process.poll() is None and len(youtube.calls) < after:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    assert house.load(youtube).complete
    _is_all_there(house, youtube)
    asked = Counter(call.page for call in youtube.calls if call.status == 200)
    # Each kill may lose the answer that was under way, and no other.
    assert sum(count - 1 for count in asked.values()) <= 3


@pytest.mark.parametrize("ours", [True, False])
def test_quota_that_ends_goes_on_after_midnight_in_california(house: House, youtube: YouTube, ours: bool) -> None:
    """By our ledger, or because Google says so (others use the same project): the load ends at once, cleanly."""
    clock = [int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)]
    youtube.now_ms = lambda: clock[0]
    limits = {"youtube_daily_units": 5, "youtube_daily_queries": 12} if ours else {}
    if not ours:
        youtube.quota.limits.update(youtube=5, youtubeAnalytics=12)
    days = 0
    while True:
        report = house.load(youtube, now=youtube.now_ms, **limits)
        if report.complete:
            break
        assert report.left == {"youtube": 0, "youtubeAnalytics": 0} or days
        # Nothing is asked for as long as nothing is left.
        calls = len(youtube.calls)
        assert house.load(youtube, now=youtube.now_ms, **limits).pages == 0
        assert len(youtube.calls) == calls
        assert datetime.fromtimestamp(report.resume_at_ms / 1000, UTC).hour == 8
        clock[0] = report.resume_at_ms
        days += 1
        assert days < 6
    assert days == 2
    _is_all_there(house, youtube)
    asked = Counter(call.page for call in youtube.calls if call.status == 200)
    assert max(asked.values()) == 1
    assert max(youtube.quota.spent.values()) <= 12


def test_a_list_whose_page_token_is_void_begins_again(house: House, youtube: YouTube) -> None:
    """The token of yesterday's page is not taken: the list is read from its beginning, and nothing is missing."""
    _end_at(house, youtube, "youtube_derived:2")
    house.client.command(
        'INSERT INTO bronze.youtube SELECT * REPLACE (replaceRegexpOne(payload, \'"nextPageToken":"[^"]*\', \'"nextPageToken":"void\') AS payload)'
        " FROM bronze.youtube FINAL WHERE item = 0 AND method = 'youtube.playlistItems.list'"
    )
    house.client.command("OPTIMIZE TABLE bronze.youtube FINAL")
    assert house.load(youtube).complete
    assert any(call.status == 400 for call in youtube.calls)
    _is_all_there(house, youtube)
    again = "SELECT count() FROM bronze.youtube FINAL WHERE unit LIKE 'playlist/%/again' AND item = 0"
    assert house.rows(again) == [(2,)]
