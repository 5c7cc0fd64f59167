"""What there is on this YouTube: channels, videos, and numbers that are a pure function of (seed, video, day, revision)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest(), "big")


def _name(length: int, *parts: object) -> str:
    bits = int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=32).digest(), "big")
    return "".join(_LETTERS[(bits >> (6 * n)) & 63] for n in range(length))


@dataclass
class Video:
    """One video; `privacy` is public, unlisted or private, and a deleted one is in no answer."""

    id: str
    channel_id: str
    title: str
    published_at: datetime
    duration_s: int
    privacy: str = "public"
    deleted: bool = False


@dataclass
class Channel:
    """One channel and who owns it: `refresh_token` is what the owner gave to the company."""

    id: str
    title: str
    refresh_token: str
    videos: list[Video] = field(default_factory=list)

    @property
    def uploads(self) -> str:
        """The playlist of all its videos."""
        return "UU" + self.id[2:]


@dataclass(frozen=True)
class Numbers:
    """Analytics of one video and day of Pacific time; revenue in 1/10000 USD."""

    views: int
    engaged: int
    minutes: int
    percentage: float
    likes: int
    comments: int
    shares: int
    gained: int
    lost: int
    revenue_e4: int


def numbers(seed: int, video_id: str, day: date, revision: int) -> Numbers:
    """The truth: nothing else is looked at."""
    dice = _hash(seed, video_id, day, revision)

    def roll(sides: int) -> int:
        nonlocal dice
        dice, found = divmod(dice, sides)
        return found

    views = roll(900)
    return Numbers(
        views, views * (50 + roll(50)) // 100, views * (1 + roll(4)), (100 + roll(8900)) / 100, roll(40), roll(15),
        roll(9), roll(6), roll(3), roll(60_000),
    )  # fmt: skip


class World:
    """Made from a seed; a test changes it as YouTube would."""

    def __init__(self, seed: int = 1, channels: int = 3, videos: int = 60, newest: date = date(2026, 11, 20)) -> None:
        self.seed = seed
        self.newest = newest
        """The newest day of which all numbers but revenue are there; `revenue_lag` days before it those too."""
        self.revenue_lag = 1
        self.statistics_revision = 0
        self.revisions: dict[tuple[str, date], int] = {}
        self.channels: dict[str, Channel] = {}
        self.videos: dict[str, Video] = {}
        for nth in range(channels):
            channel_id = "UC" + _name(22, seed, "channel", nth)
            channel = Channel(channel_id, f"Channel {nth}", f"refresh-{nth}")
            self.channels[channel_id] = channel
            for number in range(videos):
                self._add(channel, nth, number)

    def _add(self, channel: Channel, nth: int, number: int) -> None:
        begin = datetime(self.newest.year, self.newest.month, self.newest.day, 12, tzinfo=UTC)
        made = begin - timedelta(days=60 + number % 200, minutes=number)
        video_id = _name(11, self.seed, "video", nth, number)
        video = Video(video_id, channel.id, f"Video {nth}.{number}", made, 60 + number % 3000)
        channel.videos.append(video)
        self.videos[video_id] = video

    def revision(self, video_id: str, day: date) -> int:
        """How often YouTube has restated a video's day."""
        return self.revisions.get((video_id, day), 0)

    def restate(self, video_id: str, day: date) -> None:
        """From now on this day of this video has other numbers."""
        self.revisions[video_id, day] = self.revision(video_id, day) + 1

    def of_video(self, video_id: str, day: date) -> Numbers:
        """Its numbers as they are now."""
        return numbers(self.seed, video_id, day, self.revision(video_id, day))

    def of_channel(self, channel_id: str, day: date) -> Numbers:
        """Sums over its videos, deleted ones too; the percentage is the mean weighted by views."""
        every = [self.of_video(video.id, day) for video in self.channels[channel_id].videos]
        views = sum(one.views for one in every)
        weighted = sum(one.views * one.percentage for one in every)
        return Numbers(
            views, sum(one.engaged for one in every), sum(one.minutes for one in every),
            round(weighted / views, 4) if views else 0.0, sum(one.likes for one in every),
            sum(one.comments for one in every), sum(one.shares for one in every), sum(one.gained for one in every),
            sum(one.lost for one in every), sum(one.revenue_e4 for one in every),
        )  # fmt: skip

    def counts(self, video_id: str) -> tuple[int, int, int]:
        """Views, likes and comments that the Data API gives of a video."""
        dice = _hash(self.seed, video_id, "counts", self.statistics_revision)
        return dice % 1_000_003, dice % 10_007, dice % 1_009

    def channel_counts(self, channel_id: str) -> tuple[int, int, int]:
        """Views, subscribers and public videos of a channel."""
        dice = _hash(self.seed, channel_id, "counts", self.statistics_revision)
        shown = sum(1 for video in self.channels[channel_id].videos if video.privacy == "public" and not video.deleted)
        return dice % 100_000_007, dice % 1_000_003, shown
