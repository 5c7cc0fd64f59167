"""A seeded mixed workload over the three topics as a file of messages in produce order: all that the rules speak of.

Out-of-order, late, future-dated, duplicate, repeated, malformed, of unknown version, oversized. Three hours of event time
lie in one file, however fast it is produced, so that every window size has content.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.support.events import COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS, rfc3339
from tests.support.workload_bad import malformed, oversized

SPAN_MS = 3 * 3_600_000
_ACTIVITIES = ("view_video", "login", "create_video", "edit_script", "publish", "open_dashboard", "réglages")
_NICHES = ("science", "history", "cooking", "finance", "travel", "gaming", "health", "mode_été")
_TYPES = ("short", "long", "tutorial")
_COMPONENTS = ("script", "voice", "image", "processing", "other")


class Message(NamedTuple):
    """One message to produce. `timestamp_ms` is simulated log time, for brokers that keep the producer's timestamp."""

    topic: str
    key: bytes
    value: bytes | None
    timestamp_ms: int


class _Video:
    """A video on its way: what its next status needs to know."""

    __slots__ = ("channel", "dims", "id", "spent", "status", "times", "user")

    def __init__(self, number: int, rng: random.Random, at_ms: int) -> None:
        self.id, self.channel, self.user = number, number % 300 + 1, int(20_000 * rng.random() ** 2) + 1
        niche, kind = rng.choice(_NICHES), rng.choice(_TYPES)
        self.dims = f'"niche":"{niche}","video_type":"{kind}"'
        if rng.random() < 0.05:
            self.dims = rng.choice((f'"niche":null,"video_type":"{kind}"', f'"niche":"{niche}"', '"title":"no dims"'))
        self.status = "requested"
        self.times = {"requested_at": at_ms}
        self.spent: list[str] = []


class Workload:
    """Draws messages; the same seed, number and base time give the same messages."""

    def __init__(self, seed: int, events: int, base_ms: int, ops_share: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.ops_share = ops_share
        self.events = events
        self.start_ms = base_ms - SPAN_MS
        self.base_ms = base_ms
        self.videos: list[_Video] = []
        self.next_video = 1
        self.recent: list[Message] = []

    def messages(self) -> Iterator[Message]:
        """`events` messages in produce order."""
        rng = self.rng
        for number in range(self.events):
            now = self.start_ms + SPAN_MS * (number + 1) // self.events
            message = self._one(number, now)
            if len(self.recent) < 20_000:
                self.recent.append(message)
            else:
                self.recent[rng.randrange(20_000)] = message
            yield message

    def _one(self, number: int, now: int) -> Message:
        rng = self.rng
        draw = rng.random()
        if draw < 0.02 and self.recent:
            return self._again(now)
        if draw < 0.03:
            topic = rng.choice((USER_EVENTS, VIDEO_STATUS, COST_EVENTS))
            base = self._valid(topic, now)
            return base._replace(value=malformed(rng, topic, base.value or b""))
        if number % 50_000 == 777:
            return self._valid(USER_EVENTS, now)._replace(value=oversized(self._head(now)))
        if self.ops_share and rng.random() < self.ops_share:
            return self._valid(OPS_EVENTS, now)
        kind = rng.random()
        return self._valid(USER_EVENTS if kind < 0.6 else VIDEO_STATUS if kind < 0.85 else COST_EVENTS, now)

    def _again(self, now: int) -> Message:
        """An earlier message once more: the same bytes, its id in the other case, or its id on other content."""
        rng = self.rng
        old = rng.choice(self.recent)
        value, way = old.value, rng.random()
        if value and way < 0.1 and value.startswith(b'{"event_id":"'):
            value = value[:13] + value[13:49].upper() + value[49:]
        elif value and way < 0.15:
            value = value.replace(b'"response_time_ms":', b'"response_time_ms":9')
        return old._replace(value=value, timestamp_ms=now)

    def _valid(self, topic: str, now: int) -> Message:
        at = self._event_time(now)
        make = {USER_EVENTS: self._user, VIDEO_STATUS: self._video, COST_EVENTS: self._cost, OPS_EVENTS: self._ops}[
            topic
        ]
        key, body = make(at)
        return Message(topic, key, f"{self._head(at)},{body}}}".encode(), now)

    def _event_time(self, now: int) -> int:
        """Mostly seconds ago; some minutes, some hours ago; a few ahead of the log."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.92:
            return now - int(rng.expovariate(1 / 8_000))
        if draw < 0.97:
            return now - rng.randrange(600_000)
        if draw < 0.994:
            return max(self.start_ms, now - rng.randrange(600_000, 9_000_000))
        if draw < 0.997:
            return now + rng.randrange(200_000)
        return self.base_ms + rng.randrange(900_000, 7_200_000)

    def _uuid(self) -> str:
        text = f"{self.rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _time(self, epoch_ms: int) -> str:
        """The same instant in the spellings that RFC 3339 allows."""
        draw = self.rng.random()
        if draw < 0.8:
            return rfc3339(epoch_ms)
        if draw < 0.9:
            return rfc3339(epoch_ms)[:-1] + "987654Z"
        if draw < 0.95:
            return rfc3339(epoch_ms + 19_800_000)[:-1] + "+05:30"
        return rfc3339(epoch_ms - 28_800_000)[:-1] + "-08:00"

    def _head(self, at: int) -> str:
        draw = self.rng.random()
        version = "1.0.0" if draw < 0.95 else "1.4.2" if draw < 0.999 else "2.0.0"
        return f'{{"event_id":"{self._uuid()}","schema_version":"{version}","occurred_at":"{self._time(at)}"'

    def _user(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        user = int(20_000 * rng.random() ** 2) + 1
        parts = [f'"user_id":{user},"activity_type":"{_ACTIVITIES[int(len(_ACTIVITIES) * rng.random() ** 1.5)]}"']
        draw = rng.random()
        if draw < 0.9:
            parts.append(f'"response_time_ms":{int(rng.lognormvariate(4.4, 0.7))}')
        elif draw < 0.91:
            parts.append(f'"response_time_ms":{rng.choice((0, 1, 30_000, 3_600_000))}')
        elif draw < 0.95:
            parts.append('"response_time_ms":null')
        if rng.random() < 0.5:
            parts.append(f'"session_id":"{self._uuid()}","ip_address":"192.0.2.7","user_agent":"Mozilla/5.0 \\u00e9"')
        if rng.random() < 0.1:
            parts.append('"added_later":{"nested":[1,2.5,null,true]}')
        return str(user).encode(), ",".join(parts)

    def _video(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        if len(self.videos) < 200 or rng.random() < 0.28:
            video = _Video(self.next_video, rng, at)
            self.next_video += 1
            self.videos.append(video)
        else:
            place = rng.randrange(len(self.videos))
            video = self.videos[place]
            if rng.random() > 0.04:
                self._advance(video, at)
            if video.status in ("failed", "published") and rng.random() < 0.97:
                self.videos[place] = self.videos[-1]
                self.videos.pop()
        fields = [f'"video_id":{video.id},"channel_id":{video.channel},"user_id":{video.user}']
        fields.append(f'"status":"{video.status}",{video.dims}')
        fields.extend(f'"{name}":"{self._time(value)}"' for name, value in video.times.items())
        if video.status == "published":
            fields.append(f'"youtube_video_id":"yt{video.id:09d}","quality_score":{rng.random():.3f}')
        return str(video.id).encode(), ",".join(fields)

    def _advance(self, video: _Video, at: int) -> None:
        last = max(video.times.values())
        at = max(at, last)
        if video.status == "requested":
            video.status, video.times["started_at"] = "started", at
        elif video.status == "started":
            if self.rng.random() < 0.1:
                video.status = "failed"
            else:
                video.status, video.times["completed_at"] = "completed", at
        elif video.status == "completed":
            video.status, video.times["published_at"] = "published", at

    def _cost(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        component = f'"component":"{rng.choice(_COMPONENTS)}","provider":"p{rng.randrange(4)}"'
        if not self.videos or rng.random() < 0.05:
            return b"overhead", f'{component},"video_id":null,"amount_usd":"{rng.random() * 9:.4f}"'
        video = self.videos[rng.randrange(len(self.videos))]
        draw, units = rng.random(), rng.randrange(1, 9_000)
        if draw < 0.7:
            amount = f'"{units / 10_000:.4f}"'
        elif draw < 0.8:
            amount = f"{units / 10_000:.4f}"
        elif draw < 0.88:
            amount = f'"{units / 10_000:.4f}5"'
        elif draw < 0.95:
            amount = f"{units / 10_000:.4f}{rng.choice(('5', '50001', '49'))}"
        else:
            amount = f'"-{units / 20_000:.4f}","corrects":"{self._uuid()}"'
        return str(video.id).encode(), f'"video_id":{video.id},{component},"amount_usd":{amount}'

    def _ops(self, at: int) -> tuple[bytes, str]:
        """Mostly what the kind needs; sometimes fields of other kinds too, which must not count."""
        rng = self.rng
        service = f"service-{rng.randrange(5)}"
        kind = rng.choice(("health", "queue", "api_request", "ai_call"))
        fields = {
            "health": f'"ok":{rng.choice(("true", "true", "true", "false"))},"interval_s":30',
            "queue": f'"queue":"q{rng.randrange(3)}","queued_at":"{self._time(at - rng.randrange(90_000))}",'
            f'"processing_start":"{self._time(at)}"',
            "api_request": f'"endpoint":"/v{rng.randrange(4)}","http_status":{rng.choice((200, 404, 503))},'
            f'"response_time_ms":{int(rng.lognormvariate(4.4, 0.7))}',
            "ai_call": f'"provider":"ai{rng.randrange(3)}","model":"m{rng.randrange(2)}",'
            f'"latency_ms":{int(rng.lognormvariate(7, 1))},"ok":{rng.choice(("true", "true", "false"))}',
        }
        parts = [f'"service":"{service}","kind":"{kind}"', fields[kind]]
        if kind == "health" and rng.random() < 0.2:
            parts.append(f'"response_time_ms":{rng.randrange(500)},"latency_ms":7,"queue":"q9","provider":"none"')
        return service.encode(), ",".join(parts)


_HEADER = struct.Struct(">I")


def write_workload(path: Path, *, seed: int = 1, events: int = 200_000, base_ms: int, ops_share: float = 0.0) -> int:
    """Write the workload to a file and return its number of messages; event times end about at `base_ms`."""
    encoder = msgspec.msgpack.Encoder()
    count = 0
    with path.open("wb") as out:
        for message in Workload(seed, events, base_ms, ops_share).messages():
            packed = encoder.encode(message)
            out.write(_HEADER.pack(len(packed)) + packed)
            count += 1
    return count


def read_workload(path: Path) -> Iterator[Message]:
    """The messages of a file in produce order."""
    decoder = msgspec.msgpack.Decoder(Message)
    with path.open("rb", buffering=1 << 20) as source:
        while header := source.read(_HEADER.size):
            yield decoder.decode(source.read(_HEADER.unpack(header)[0]))
