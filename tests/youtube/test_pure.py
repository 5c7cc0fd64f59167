"""Parts of a load that need no server: the plan, Google's errors, models, days of Pacific time."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from batch.youtube.errors import Act, sort_answer
from batch.youtube.models import ChannelItem, VideoItem, parsed
from batch.youtube.pacific import next_midnight_ms, pacific_day
from batch.youtube.plan import Known, activity_days, planned_units, revenue_days
from batch.youtube.values import usd_e4
from tests.support.youtube import errors


def test_the_plan_of_forty_channels_and_twelve_thousand_videos() -> None:
    """481 units: far from 600. Analytics: 2 queries a channel, and 3 a day for its 300 videos."""
    channels = {f"UC{n}": Known(300, True) for n in range(40)}
    day = date(2026, 11, 20)
    assert planned_units(channels, {}, day, activity_days(day)) == {
        "youtube": 1 + 40 * 6 + 40 * 6, "youtubeAnalytics": 40 * (2 + 7 * 3)
    }  # fmt: skip


def test_which_days_are_asked_for_again() -> None:
    """7, on Sundays 35, and on the 10th the whole month before for revenue."""
    assert activity_days(date(2026, 11, 20)) == [date(2026, 11, day) for day in range(14, 21)]
    assert len(activity_days(date(2026, 11, 22))) == 35
    closing = revenue_days(date(2026, 11, 10))
    assert (closing[0], closing[-1], len(closing)) == (date(2026, 10, 1), date(2026, 11, 10), 41)
    assert len(activity_days(date(2026, 11, 10))) == 7


def test_midnight_in_california_on_days_of_23_and_25_hours() -> None:
    """The clock goes forward on 8 March 2026, and back on 1 November."""
    for noon, hours in ((datetime(2026, 3, 8, 9, tzinfo=UTC), 22), (datetime(2026, 11, 1, 8, tzinfo=UTC), 24)):
        at = int(noon.timestamp() * 1000)
        assert (next_midnight_ms(at) - at) / 3_600_000 == hours
        assert pacific_day(next_midnight_ms(at)) != pacific_day(next_midnight_ms(at) - 1)


@pytest.mark.parametrize(
    ("refusal", "act"),
    [
        (errors.quota_exceeded(), Act.WAIT_FOR_QUOTA), (errors.daily_limit(), Act.WAIT_FOR_QUOTA),
        (errors.rate_limited(429), Act.BACK_OFF), (errors.rate_limited(403), Act.BACK_OFF),
        (errors.server_error(500), Act.BACK_OFF), (errors.server_error(503), Act.BACK_OFF),
        (errors.token_invalid(), Act.REFRESH), (errors.key_invalid(), Act.STOP), (errors.bad_request("no"), Act.STOP),
        (errors.forbidden("no", "accessNotConfigured"), Act.STOP), (errors.forbidden("no"), Act.SKIP_CHANNEL),
        (errors.bad_request("no", "invalidPageToken"), Act.RESTART),
        (errors.Refusal(404, "playlistNotFound", "no"), Act.NOT_THERE),
    ],
)  # fmt: skip
def test_errors_are_sorted_by_reason(refusal: errors.Refusal, act: Act) -> None:
    """403 alone means four different things."""
    assert sort_answer(refusal.code, json.dumps(refusal.body).encode()).act is act


def test_answers_that_are_no_errors_of_googles_form() -> None:
    """A proxy's page, an empty body, a limit by day under a rate limit's reason."""
    assert sort_answer(502, b"<html>").act is Act.BACK_OFF
    assert sort_answer(429, b"", "7").retry_after_s == 7.0
    assert sort_answer(404, b"[]").act is Act.STOP
    by_day = errors.rate_limited().body
    by_day["error"]["details"][0]["metadata"] = {"quota_limit": "defaultPerDayPerProject"}
    assert sort_answer(429, json.dumps(by_day).encode()).act is Act.WAIT_FOR_QUOTA


def _video(**changed: object) -> dict[str, object]:
    return {
        "id": "abc", "snippet": {"title": "t", "channelId": "UC1", "publishedAt": "2026-01-01T00:00:00Z"},
        "contentDetails": {"duration": "PT1H2M3S"}, "statistics": {"viewCount": "7"},
        "status": {"privacyStatus": "public"}, **changed,
    }  # fmt: skip


def test_items_with_all_that_is_needed_and_items_without() -> None:
    """Hidden counts are none; what is missing or impossible is named by its path."""
    found = parsed(VideoItem, _video(new={"field": 1}))
    assert not isinstance(found, str)
    assert (found.content_details.duration, found.statistics.view_count, found.statistics.like_count) == (3723, 7, None)
    for changed, words in (
        ({"statistics": {}}, "statistics.viewCount: Field required"),
        ({"statistics": {"viewCount": "-1"}}, "statistics.viewCount: Input should be greater than or equal to 0"),
        ({"contentDetails": {"duration": "an hour"}}, "contentDetails.duration: Value error, no ISO 8601 duration"),
        ({"status": {"privacyStatus": "secret"}}, "status.privacyStatus: String should match pattern"),
        ({"snippet": {"title": "t", "channelId": "U", "publishedAt": "2026-01-01T00:00:00"}}, "snippet.publishedAt: "),
    ):
        said = parsed(VideoItem, _video(**changed))
        assert isinstance(said, str)
        assert said.startswith(words), said
    assert isinstance(parsed(VideoItem, 5), str)
    counts = {"viewCount": "1", "videoCount": "2", "hiddenSubscriberCount": True}
    channel = {
        "id": "UC1", "snippet": {"title": "t"}, "contentDetails": {"relatedPlaylists": {"uploads": "UU1"}},
        "statistics": counts,
    }  # fmt: skip
    assert not isinstance(parsed(ChannelItem, channel), str)
    counts["hiddenSubscriberCount"] = False
    assert "subscriberCount is missing" in str(parsed(ChannelItem, channel))


def test_revenue_to_integers() -> None:
    """From the shortest decimal text of the double, half to even."""
    assert [usd_e4(one) for one in (0.0, 1.2345, 0.00005, 0.00015, -0.1, 1234567.8901, 1e-7)] == [
        0, 12345, 0, 2, -1000, 12345678901, 0
    ]  # fmt: skip
