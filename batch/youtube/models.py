"""What YouTube's answers must hold for silver: unknown fields are let through, a missing one is an error with its path."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

Count = Annotated[int, Field(ge=0, lt=2**63)]
_DURATION: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def _seconds(value: Any) -> Any:
    """ISO 8601's duration as seconds; a live stream that is yet to come has 'P0D'."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) > 1 else None
    if found is None:
        raise ValueError("no ISO 8601 duration")
    weeks, days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


class _ChannelSnippet(_Part):
    title: str


class _ChannelStatistics(_Part):
    view_count: Count
    video_count: Count
    hidden_subscriber_count: bool = False
    subscriber_count: Count | None = None

    @model_validator(mode="after")
    def _shown(self) -> _ChannelStatistics:
        if self.subscriber_count is None and not self.hidden_subscriber_count:
            raise ValueError("subscriberCount is missing and hiddenSubscriberCount does not say so")
        return self


class _Playlists(_Part):
    uploads: str


class _ChannelDetails(_Part):
    related_playlists: _Playlists


class ChannelItem(_Part):
    """An item of channels.list."""

    id: str
    snippet: _ChannelSnippet
    statistics: _ChannelStatistics
    content_details: _ChannelDetails


class _VideoSnippet(_Part):
    title: str
    channel_id: str
    published_at: AwareDatetime


class _VideoDetails(_Part):
    duration: Annotated[Annotated[int, Field(ge=0, lt=2**32)], BeforeValidator(_seconds)]


class _VideoStatistics(_Part):
    view_count: Count
    like_count: Count | None = None
    comment_count: Count | None = None


class _VideoStatus(_Part):
    privacy_status: Annotated[str, Field(pattern="^(public|unlisted|private)$")]


class VideoItem(_Part):
    """An item of videos.list."""

    id: str
    snippet: _VideoSnippet
    content_details: _VideoDetails
    statistics: _VideoStatistics
    status: _VideoStatus

    @property
    def published_at(self) -> datetime:
        """When it was published, with its offset."""
        return self.snippet.published_at


class _UploadDetails(_Part):
    video_id: str


class UploadItem(_Part):
    """An item of playlistItems.list."""

    content_details: _UploadDetails


class DayRow(_Part):
    """A row of an Analytics report of user activity."""

    views: Count
    engaged_views: Count
    estimated_minutes_watched: Count
    average_view_percentage: Annotated[float, Field(ge=0)]
    likes: Annotated[int, Field(ge=-(2**31))]
    comments: Annotated[int, Field(ge=-(2**31))]
    shares: Count
    subscribers_gained: Count
    subscribers_lost: Count


class RevenueRow(_Part):
    """A row of an Analytics report of revenue, USD."""

    estimated_revenue: float


Model = TypeVar("Model", bound=_Part)


def parsed(model: type[Model], item: Any) -> Model | str:
    """The item, or what is wrong with it: the path of each field and why."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'item'}: {one['msg']}" for one in error.errors())
