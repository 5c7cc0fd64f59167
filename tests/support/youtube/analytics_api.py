"""The Analytics API's one method, for the reports of a channel: by day, and top videos."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from tests.support.youtube.errors import bad_request, forbidden
from tests.support.youtube.world import Channel, Numbers, World

_READ: dict[str, tuple[str, Callable[[Numbers], Any]]] = {
    "views": ("INTEGER", lambda n: n.views),
    "engagedViews": ("INTEGER", lambda n: n.engaged),
    "estimatedMinutesWatched": ("INTEGER", lambda n: n.minutes),
    "averageViewPercentage": ("FLOAT", lambda n: n.percentage),
    "likes": ("INTEGER", lambda n: n.likes),
    "comments": ("INTEGER", lambda n: n.comments),
    "shares": ("INTEGER", lambda n: n.shares),
    "subscribersGained": ("INTEGER", lambda n: n.gained),
    "subscribersLost": ("INTEGER", lambda n: n.lost),
    "estimatedRevenue": ("FLOAT", lambda n: n.revenue_e4 / 10_000),
}
_MONEY = {"estimatedRevenue"}


def reports_query(world: World, query: dict[str, list[str]], user: Channel, money_allowed: bool) -> dict[str, Any]:
    """Rows up to the last day of which all metrics asked for are there."""
    one = {name: values[0] for name, values in query.items()}
    if one["ids"] not in ("channel==MINE", f"channel=={user.id}"):
        raise forbidden("Forbidden")
    metrics = one["metrics"].split(",")
    for metric in metrics:
        if metric not in _READ:
            raise bad_request(f"Unknown identifier ({metric}) given in field parameters.metrics.")
    if not money_allowed and _MONEY & set(metrics):
        raise forbidden("Insufficient permission to access this report.", "insufficientPermissions")
    begin, end = date.fromisoformat(one["startDate"]), date.fromisoformat(one["endDate"])
    if end < begin:
        raise bad_request("The end date must not be before the start date.")
    last = world.newest - timedelta(days=world.revenue_lag if _MONEY & set(metrics) else 0)
    days = [begin + timedelta(days=n) for n in range((min(end, last) - begin).days + 1)]
    dimension = one.get("dimensions", "")
    if dimension == "day" and "filters" not in one:
        rows = [[day.isoformat(), *_values(world.of_channel(user.id, day), metrics)] for day in days]
    elif dimension == "video":
        rows = _top_videos(world, one, user, days, metrics)
    else:
        raise bad_request("The query is not supported. Check the documentation for supported queries.")
    headers = [{"name": dimension, "columnType": "DIMENSION", "dataType": "STRING"}]
    headers += [{"name": name, "columnType": "METRIC", "dataType": _READ[name][0]} for name in metrics]
    answer: dict[str, Any] = {"kind": "youtubeAnalytics#resultTable", "columnHeaders": headers}
    # Without data there are no rows at all, says the document.
    return answer | ({"rows": rows} if rows else {})


def _values(of: Numbers, metrics: list[str]) -> list[Any]:
    return [_READ[name][1](of) for name in metrics]


def _top_videos(
    world: World, one: dict[str, str], user: Channel, days: list[date], metrics: list[str]
) -> list[list[Any]]:
    """The report needs a descending order and at most 200 rows; here it is of one day."""
    sort, most = one.get("sort", ""), int(one.get("maxResults", "0"))
    if not sort.startswith("-") or sort[1:] not in metrics or not 0 < most <= 200:
        raise bad_request("The query is not supported. Check the documentation for supported queries.")
    if one["startDate"] != one["endDate"]:
        raise NotImplementedError("the double has no top videos of several days: percentages are no sums")
    field, _, ids = one.get("filters", "video==").partition("==")
    if field != "video" or len(ids.split(",")) > 500:
        raise bad_request(f"Invalid value '{one['filters'][:40]}' for parameter filters.")
    wanted = set(filter(None, ids.split(",")))
    own = [video for video in user.videos if not wanted or video.id in wanted]
    rows = [[video.id, *_values(world.of_video(video.id, day), metrics)] for video in own for day in days]
    place = 1 + metrics.index(sort[1:])
    rows = [row for row in rows if row[1 + metrics.index("views")]] if "views" in metrics else rows
    return sorted(rows, key=lambda row: (-row[place], row[0]))[:most]
