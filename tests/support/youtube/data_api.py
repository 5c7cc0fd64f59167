"""The Data API's three list methods."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tests.support.youtube.errors import Refusal, bad_request
from tests.support.youtube.world import Channel, Video, World

Answer = dict[str, Any]
_PARTS = {
    "channels": {"id", "snippet", "contentDetails", "statistics", "status"},
    "playlistItems": {"id", "snippet", "contentDetails", "status"},
    "videos": {"id", "snippet", "contentDetails", "statistics", "status"},
}


def etag(value: object) -> str:
    """As Google's: changes with the content."""
    return base64.urlsafe_b64encode(hashlib.sha1(json.dumps(value, sort_keys=True).encode()).digest()).decode()[:27]


def _parts(resource: str, given: Sequence[str]) -> set[str]:
    wanted = {part for text in given for part in text.split(",")}
    for part in sorted(wanted - _PARTS[resource]):
        raise bad_request(f"'{part}'", "unknownPart")
    return wanted


def _ids(given: Sequence[str]) -> list[str]:
    found = [one for text in given for one in text.split(",") if one]
    if len(found) > 50:
        raise bad_request("The request specifies an invalid filter parameter.", "invalidFilters")
    return found


def _thing(kind: str, id: str, wanted: set[str], parts: dict[str, Any]) -> Answer:
    thing = {"kind": f"youtube#{kind}", "id": id, **{name: value for name, value in parts.items() if name in wanted}}
    return {**thing, "etag": etag(thing)}


def _listed(kind: str, items: list[Answer], **more: Any) -> Answer:
    page = {"totalResults": more.pop("total", len(items)), "resultsPerPage": more.pop("size", len(items))}
    answer = {"kind": f"youtube#{kind}ListResponse", "pageInfo": page, **more}
    # Google leaves an empty list of channels out altogether.
    if items or kind != "channel":
        answer["items"] = items
    return {**answer, "etag": etag(answer)}


def channels_list(world: World, query: dict[str, list[str]], user: Channel | None) -> Answer:
    """By id, or the user's own."""
    wanted = _parts("channels", query["part"])
    if "id" in query:
        ids = [one for one in dict.fromkeys(_ids(query["id"])) if one in world.channels]
    elif query.get("mine") == ["true"] and user:
        ids = [user.id]
    else:
        raise bad_request("No filter selected. Expected one of: forUsername, id, mine", "missingRequiredParameter")
    items = []
    for one in ids:
        channel, (views, subscribers, shown) = world.channels[one], world.channel_counts(one)
        parts = {
            "snippet": {"title": channel.title, "description": "", "publishedAt": "2020-01-01T00:00:00Z"},
            "contentDetails": {"relatedPlaylists": {"likes": "", "uploads": channel.uploads}},
            "statistics": {
                "viewCount": str(views), "subscriberCount": str(subscribers), "hiddenSubscriberCount": False,
                "videoCount": str(shown),
            },
        }  # fmt: skip
        items.append(_thing("channel", one, wanted, parts))
    return _listed("channel", items, size=5)


def _visible(video: Video, user: Channel | None, in_list: bool) -> bool:
    if video.deleted:
        return False
    own = user is not None and user.id == video.channel_id
    return own or video.privacy == "public" or (video.privacy == "unlisted" and not in_list)


def playlist_items_list(world: World, query: dict[str, list[str]], user: Channel | None) -> Answer:
    """A page of a channel's uploads, newest first."""
    wanted = _parts("playlistItems", query["part"])
    playlist = (query.get("playlistId") or [""])[0]
    channel = world.channels.get("UC" + playlist[2:])
    if channel is None or not playlist.startswith("UU"):
        message = "The playlist identified with the request's playlistId parameter cannot be found."
        raise Refusal(404, "playlistNotFound", message, "youtube.playlistItem")
    videos = [one for one in channel.videos if _visible(one, user, in_list=True)]
    videos.sort(key=lambda one: (one.published_at, one.id), reverse=True)
    size = int((query.get("maxResults") or ["5"])[0])
    begin = _begin((query.get("pageToken") or [""])[0], playlist)
    items = []
    for position, video in enumerate(videos[begin : begin + size], start=begin):
        published = f"{video.published_at:%Y-%m-%dT%H:%M:%SZ}"
        parts = {
            "snippet": {
                "publishedAt": published, "channelId": channel.id, "title": video.title, "playlistId": playlist,
                "position": position, "resourceId": {"kind": "youtube#video", "videoId": video.id},
            },
            "contentDetails": {"videoId": video.id, "videoPublishedAt": published},
            "status": {"privacyStatus": video.privacy},
        }  # fmt: skip
        items.append(
            _thing("playlistItem", base64.b64encode(f"{playlist}.{video.id}".encode()).decode(), wanted, parts)
        )
    more = {"nextPageToken": _token(playlist, begin + size)} if begin + size < len(videos) else {}
    return _listed("playlistItem", items, total=len(videos), size=size, **more)


def _token(playlist: str, begin: int) -> str:
    return base64.urlsafe_b64encode(f"EAAa:{playlist}:{begin}".encode()).decode()


def _begin(token: str, playlist: str) -> int:
    if not token:
        return 0
    try:
        mark, name, begin = base64.urlsafe_b64decode(token).decode().split(":")
    except ValueError:
        mark, name, begin = "", "", "0"
    if mark != "EAAa" or name != playlist:
        raise Refusal(400, "invalidPageToken", "The request specifies an invalid page token.", "youtube.parameter")
    return int(begin)


def _iso_duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{left}S" if left else "")


def videos_list(world: World, query: dict[str, list[str]], user: Channel | None) -> Answer:
    """By id; what one may not see, or what is gone, is left out without a word."""
    wanted = _parts("videos", query["part"])
    if "id" not in query:
        raise bad_request("No filter selected. Expected one of: chart, id, myRating", "missingRequiredParameter")
    items = []
    for one in dict.fromkeys(_ids(query["id"])):
        video = world.videos.get(one)
        if video is None or not _visible(video, user, in_list=False):
            continue
        views, likes, comments = world.counts(one)
        parts = {
            "snippet": {
                "publishedAt": f"{video.published_at:%Y-%m-%dT%H:%M:%SZ}", "channelId": video.channel_id,
                "title": video.title, "categoryId": "27",
            },
            "contentDetails": {"duration": _iso_duration(video.duration_s), "definition": "hd"},
            "statistics": {
                "viewCount": str(views), "likeCount": str(likes), "favoriteCount": "0", "commentCount": str(comments)
            },
            "status": {"uploadStatus": "processed", "privacyStatus": video.privacy},
        }  # fmt: skip
        items.append(_thing("video", one, wanted, parts))
    return _listed("video", items)
