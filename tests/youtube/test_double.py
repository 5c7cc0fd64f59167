"""The double itself: it takes Google's client unchanged, refuses what Google refuses, and notices its own mistakes."""

from __future__ import annotations

import json
from typing import Any

import google_auth_httplib2
import httplib2
import pytest
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.support.youtube import errors
from tests.support.youtube.documents import Method
from tests.support.youtube.server import API_KEY, YouTube
from tests.support.youtube.world import numbers


def _service(youtube: YouTube, api: str = "youtube", channel: str = "", key: str | None = API_KEY) -> Any:
    version = {"youtube": "v3", "youtubeAnalytics": "v2"}[api]
    options = {"api_endpoint": youtube.url}
    if not channel:
        return build(
            api, version, developerKey=key, static_discovery=True, client_options=options, http=httplib2.Http()
        )
    given = youtube.credentials()
    credentials = Credentials(
        None, refresh_token=given["channels"][channel], token_uri=given["token_uri"], client_id="client",
        client_secret="secret",
    )  # fmt: skip
    http = google_auth_httplib2.AuthorizedHttp(credentials, http=httplib2.Http(), refresh_status_codes=())
    return build(api, version, http=http, static_discovery=True, client_options=options)


def _reason(error: pytest.ExceptionInfo[HttpError]) -> tuple[int, str]:
    return error.value.resp.status, json.loads(error.value.content)["error"]["errors"][0]["reason"]


def test_uploads_come_in_pages_and_videos_by_fifty(youtube: YouTube) -> None:
    """All 60 of a channel, in two pages, and each page costs a unit."""
    channel = next(iter(youtube.world.channels.values()))
    service, ids, token = _service(youtube), [], None
    while True:
        request = service.playlistItems().list(
            part="contentDetails", playlistId=channel.uploads, maxResults=50, pageToken=token
        )
        page = request.execute()
        ids += [item["contentDetails"]["videoId"] for item in page["items"]]
        token = page.get("nextPageToken")
        if token is None:
            break
    assert set(ids) == {video.id for video in channel.videos}
    assert len(service.videos().list(part="statistics", id=",".join(ids[:50])).execute()["items"]) == 50
    assert youtube.quota.total() == 3


def test_a_request_that_the_documents_do_not_know_is_refused_and_costs_a_unit(youtube: YouTube) -> None:
    """Unknown, ill-typed, out of bounds, missing, too many."""
    base = f"{youtube.url}youtube/v3/videos?key={API_KEY}"
    for query in (
        "&part=statistics&id=x&nonsense=1", "&part=statistics&id=x&maxResults=many", "&part=statistics&id=x&maxResults=51",
        "&id=x", "&part=statistics", "&part=colour&id=x", f"&part=statistics&id={','.join('x' * 51)}",
        "&part=statistics&chart=loudest",
    ):  # fmt: skip
        answer, body = httplib2.Http().request(base + query)
        assert (answer.status, b'"errors"' in body) == (400, True), query
    assert youtube.quota.total() == 8


def test_who_may_ask(youtube: YouTube) -> None:
    """No key, a wrong key, analytics without a user or of somebody else's channel, a token that is over or revoked."""
    first, second = list(youtube.world.channels)[:2]
    with pytest.raises(HttpError) as error:
        _service(youtube, key=None).videos().list(part="id", id="x").execute()
    assert _reason(error) == (403, "forbidden")
    with pytest.raises(HttpError) as error:
        _service(youtube, key="wrong").videos().list(part="id", id="x").execute()
    assert error.value.resp.status == 400
    asked = {"startDate": "2026-11-01", "endDate": "2026-11-02", "metrics": "views", "dimensions": "day"}
    with pytest.raises(HttpError) as error:
        _service(youtube, "youtubeAnalytics").reports().query(ids="channel==MINE", **asked).execute()
    assert _reason(error) == (401, "required")
    own = _service(youtube, "youtubeAnalytics", first)
    with pytest.raises(HttpError) as error:
        own.reports().query(ids=f"channel=={second}", **asked).execute()
    assert _reason(error) == (403, "forbidden")
    assert len(own.reports().query(ids="channel==MINE", **asked).execute()["rows"]) == 2
    youtube.expire_tokens()
    with pytest.raises(HttpError) as error:
        own.reports().query(ids="channel==MINE", **asked).execute()
    assert _reason(error) == (401, "authError")
    youtube.revoked.add(youtube.world.channels[first].refresh_token)
    with pytest.raises(RefreshError, match="invalid_grant"):
        _service(youtube, "youtubeAnalytics", first).reports().query(ids="channel==MINE", **asked).execute()


def test_quota_is_counted_by_day_and_refused_beyond(youtube: YouTube) -> None:
    """The day is California's."""
    midnight = 1_795_420_800_000  # 2026-11-23T08:00:00Z
    youtube.now_ms = lambda: midnight - 1
    youtube.quota.limits["youtube"] = 2
    service = _service(youtube)
    for _ in range(2):
        service.videos().list(part="id", id="x").execute()
    with pytest.raises(HttpError) as error:
        service.videos().list(part="id", id="x").execute()
    assert _reason(error) == (403, "quotaExceeded")
    youtube.now_ms = lambda: midnight
    service.videos().list(part="id", id="x").execute()
    assert youtube.quota.spent == {("youtube", "2026-11-22"): 2, ("youtube", "2026-11-23"): 1}


def test_private_and_deleted_videos(youtube: YouTube) -> None:
    """The owner sees a private one, nobody sees a deleted one."""
    channel = next(iter(youtube.world.channels.values()))
    private, deleted, shown = channel.videos[:3]
    private.privacy, deleted.deleted = "private", True
    ids = f"{private.id},{deleted.id},{shown.id}"
    for service, wanted in (
        (_service(youtube), {shown.id}),
        (_service(youtube, channel=channel.id), {private.id, shown.id}),
    ):
        items = service.videos().list(part="status", id=ids).execute()["items"]
        assert {item["id"] for item in items} == wanted


def test_faults(youtube: YouTube) -> None:
    """Every second request: rate limits and server errors in turn."""
    youtube.faults.every_nth = 2
    youtube.faults.refusals = [errors.rate_limited(), errors.server_error(503)]
    service, seen = _service(youtube), []
    for _ in range(4):
        try:
            service.videos().list(part="id", id="x").execute()
            seen.append(200)
        except HttpError as error:
            seen.append(error.resp.status)
    assert seen == [200, 503, 200, 429]


def test_an_answer_against_the_document_is_noticed(youtube: YouTube) -> None:
    """The double fails, not the one who asked."""
    method = Method("youtube", "videos", "list")
    assert method.mistakes({"kind": 5, "items": [{"statistics": {"viewCount": 3}, "colour": "red"}]}) == [
        "answer.kind: no string", "answer.items[0].statistics.viewCount: no string", "answer.items[0].colour: not in the schema",
    ]  # fmt: skip
    youtube.faults.break_schema = True
    with pytest.raises(HttpError) as error:
        _service(youtube).videos().list(part="id", id="x").execute()
    assert error.value.resp.status == 500


def test_reports_that_google_does_not_have(youtube: YouTube) -> None:
    """Top videos need a descending order and at most 200 rows; unknown metrics are named."""
    channel = next(iter(youtube.world.channels.values()))
    reports = _service(youtube, "youtubeAnalytics", channel.id).reports()
    day = {"ids": "channel==MINE", "startDate": "2026-11-02", "endDate": "2026-11-02"}
    for wrong in (
        {"metrics": "views", "dimensions": "video"},
        {"metrics": "views", "dimensions": "video", "sort": "-views", "maxResults": 201},
        {"metrics": "beauty", "dimensions": "day"},
        {"metrics": "views", "dimensions": "day,video"},
    ):
        with pytest.raises(HttpError) as error:
            reports.query(**day, **wrong).execute()
        assert error.value.resp.status == 400, wrong
    found = reports.query(**day, metrics="views,likes", dimensions="video", sort="-views", maxResults=200).execute()
    assert {row[0]: row[1] for row in found["rows"]} == {
        video.id: views
        for video in channel.videos
        if (views := numbers(1, video.id, youtube.world.newest.replace(day=2), 0).views)
    }
    assert (
        "rows"
        not in reports.query(
            **{**day, "startDate": "2030-01-01", "endDate": "2030-01-01"}, metrics="views", dimensions="day"
        ).execute()
    )
