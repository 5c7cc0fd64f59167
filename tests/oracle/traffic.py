"""Traffic from a seed: what users, videos and bills send, with all the trouble that the contracts speak of.

Everything random comes from one seeded generator, so that a seed and a clock give the same events.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from tests.oracle.breakers import broken, oversized

USER, VIDEO, COST, OPS = "user-events", "video-status", "cost-events", "ops-events"
TOPICS = (USER, VIDEO, COST)

_ACTIVITIES = ("view", "login", "search", "create", "edit", "share", "réglages", "пуск")
_NICHES = ("science", "cooking", "finance", "gaming", "voyage_été", "news")
_TYPES = ("short", "long", "live")
_COMPONENTS = ("script", "voice", "image", "processing", "other")
_AMOUNT = '"amount_usd":"'
_REMEMBERED = 8000
_LIVE_VIDEOS = 400


class Event(NamedTuple):
    """One record to produce. `other_partition`: not where its key belongs, but in another partition."""

    topic: str
    key: bytes
    value: bytes | None
    event_id: str
    other_partition: bool = False


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares (0 to 1) of each kind of trouble; the rest is valid and in time."""

    duplicates: float = 0.05
    late: float = 0.03
    malformed: float = 0.01
    hot_key: float = 0.1
    future: float = 0.003
    oversized: float = 0.00002
    video: float = 0.25
    cost: float = 0.2
    #: Of the videos: how many get dear enough to cross the alert thresholds.
    dear: float = 0.1
    #: Health of services; nothing is drawn for it while it is 0.
    health: float = 0.0


class _Clip:
    """A video on its way."""

    __slots__ = ("channel", "dear", "dims", "id", "step", "times", "user")

    def __init__(self, number: int, rng: random.Random, dear: float) -> None:
        self.id, self.channel, self.user = number, number % 97 + 1, rng.randrange(1, 5000)
        niche, kind = rng.choice(_NICHES), rng.choice(_TYPES)
        self.dims = f'"niche":"{niche}","video_type":"{kind}"'
        draw = rng.random()
        if draw < 0.08:
            self.dims = f'"niche":"{niche}"' if draw < 0.03 else '"niche":null,"video_type":null'
        self.step, self.dear = -1, rng.random() < dear
        self.times: list[tuple[str, int]] = []


class Traffic:
    """Draws events one by one: `next(now_ms)` for the moment at which it happens (epoch ms)."""

    def __init__(self, seed: int, mix: Mix) -> None:
        self.rng = random.Random(seed)
        self.mix = mix
        self._recent: list[Event] = []
        self._clips: list[_Clip] = []
        # Producers side by side do not share videos.
        self._next_clip = (seed % 1_000_000) * 1_000_000 + 1
        self._second = -1
        self._second_text = ""
        self._makers: dict[str, Callable[[int], tuple[bytes, str]]] = {
            USER: self._user,
            VIDEO: self._video,
            COST: self._cost,
            OPS: self._health,
        }

    def next(self, now_ms: int) -> Event:
        """The next event."""
        rng, mix = self.rng, self.mix
        draw = rng.random()
        if draw < mix.duplicates and self._recent:
            return self._again()
        topic = self._topic()
        at = self._event_time(now_ms)
        key, members = self._makers[topic](at)
        event_id = self._uuid()
        version = "1.0.0" if rng.random() < 0.97 else rng.choice(("1.9.3", "1.2.0-rc.1+b5", "1.0.0", "2.0.0", "0.9.0"))
        text = f'{{"event_id":"{event_id}","schema_version":"{version}","occurred_at":"{self._time(at)}",{members}}}'
        if draw > 1 - mix.malformed:
            return Event(topic, key, broken(rng, topic, text), event_id)
        if draw > 1 - mix.malformed - mix.oversized:
            return Event(topic, key, oversized(text), event_id)
        event = Event(topic, key, text.encode(), event_id)
        if len(self._recent) < _REMEMBERED:
            self._recent.append(event)
        elif draw < 0.3:
            self._recent[int(rng.random() * _REMEMBERED)] = event
        return event

    def _topic(self) -> str:
        if self.mix.health and self.rng.random() < self.mix.health:
            return OPS
        draw = self.rng.random()
        if draw < self.mix.video:
            return VIDEO
        return COST if draw < self.mix.video + self.mix.cost else USER

    def _event_time(self, now_ms: int) -> int:
        """Mostly a moment ago; out of order within the allowed lateness, beyond it, or in the future."""
        rng, late, future = self.rng, self.mix.late, self.mix.future
        draw = rng.random()
        if draw < late / 2:
            return now_ms - int(rng.random() * 600_000)
        if draw < late:
            return now_ms - 600_000 - int(rng.random() ** 2 * 26 * 3_600_000)
        if draw < late + future:
            return now_ms + int(
                rng.choice((200_000, 360_000, 3_600_000, 10 * 365 * 86_400_000)) * (1 + rng.random() / 9)
            )
        return now_ms - int(rng.random() ** 3 * 5000)

    def _again(self) -> Event:
        """A sent event once more: alike, its id in capitals, with other content, or to another partition."""
        rng = self.rng
        event = self._recent[int(rng.random() * len(self._recent))]
        draw = rng.random()
        if draw < 0.6 or event.value is None:
            return event
        if draw < 0.7:
            return event._replace(
                value=event.value.replace(event.event_id.encode(), event.event_id.upper().encode(), 1)
            )
        if draw < 0.8:
            old, new = (_AMOUNT, _AMOUNT + "9") if event.topic == COST else ('"user_id":', '"user_id":9')
            return event._replace(value=event.value.replace(old.encode(), new.encode(), 1))
        return event._replace(other_partition=True)

    def _uuid(self) -> str:
        text = f"{self.rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _time(self, ms: int) -> str:
        """An instant, now and then in one of the other spellings that RFC 3339 allows."""
        draw = self.rng.random()
        if draw < 0.95:
            return f"{self._seconds(ms // 1000)}.{ms % 1000:03d}Z"
        if draw < 0.97:
            return f"{self._seconds(ms // 1000 + 7200)}.{ms % 1000:03d}9999+02:00"
        if draw < 0.99:
            return f"{self._seconds(ms // 1000 - 12_600)}.{ms % 1000:03d}-03:30"
        return f"{self._seconds(ms // 1000)}+00:00"

    def _seconds(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._second_text

    def _user(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        user = 1 if rng.random() < self.mix.hot_key else 2 + int(rng.random() ** 2 * 30_000)
        text = f'"user_id":{user},"activity_type":"{_ACTIVITIES[int(rng.random() ** 1.3 * 8)]}"'
        draw = rng.random()
        if draw < 0.9:
            # Every third five minutes are slow ones: the alert on response times has something to say.
            slow = 400 if at // 300_000 % 3 == 0 else 60
            text += f',"response_time_ms":{int(rng.expovariate(1 / slow))}'
        elif draw < 0.92:
            text += ',"response_time_ms":null'
        if draw > 0.98:
            text += (
                f',"ip_address":"203.0.113.{rng.randrange(256)}","user_agent":"canary-{rng.randrange(1 << 32):08x}"'
                f',"email":"canary.{rng.randrange(1 << 20)}@example.com","more":{{"a":[1,2.5e3,null,true,"\\u00e9"]}}'
            )
        elif draw > 0.9:
            text += f',"session_id":"{self._uuid()}","resource_type":"video","resource_id":{rng.randrange(1 << 40)}'
        return str(user).encode(), text

    def _video(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        draw = rng.random()
        if len(self._clips) < 20 or draw < 0.25:
            clip = _Clip(self._next_clip, rng, self.mix.dear)
            self._next_clip += 1
            if len(self._clips) < _LIVE_VIDEOS:
                self._clips.append(clip)
            else:
                self._clips[int(rng.random() * _LIVE_VIDEOS)] = clip
        else:
            clip = self._clips[int(rng.random() * len(self._clips))]
        if draw < 0.9:
            # A status now and then jumps over the next one; one in ten only repeats.
            clip.step += 1 if draw < 0.85 else 2
        clip.step = max(0, min(clip.step, 3))
        clip.times = clip.times[: clip.step]
        names = ("requested_at", "started_at", "completed_at", "published_at")
        while len(clip.times) <= clip.step:
            before = clip.times[-1][1] if clip.times else 0
            clip.times.append((names[len(clip.times)], max(at - 1000 * (clip.step - len(clip.times)), before)))
        status = ("requested", "started", "completed", "published")[clip.step]
        if clip.step == 1 and rng.random() < 0.15:
            status = "failed"
        text = f'"video_id":{clip.id},"channel_id":{clip.channel},"user_id":{clip.user},"status":"{status}",{clip.dims}'
        text += "".join(f',"{name}":"{self._time(value)}"' for name, value in clip.times)
        if status == "published":
            text += f',"youtube_video_id":"yt{clip.id}","quality_score":{rng.random():.2f},"duration_seconds":{60 + clip.id % 900}'
        if rng.random() < 0.02:
            text += f',"title":"canary-{rng.randrange(1 << 32):08x} \\"quoted\\" \\ud83d\\ude00"'
        return str(clip.id).encode(), text

    def _health(self, at: int) -> tuple[bytes, str]:
        """One of three services, each down now and then for some minutes; now and then two events at one instant."""
        rng = self.rng
        service = ("api", "render", "réseau")[int(rng.random() * 3)]
        ok = "false" if at // 60_000 % 7 == len(service) % 7 or rng.random() < 0.2 else "true"
        return (
            service.encode(),
            f'"service":"{service}","kind":"health","ok":{ok},"interval_s":{int(rng.random() * 60)}',
        )

    def _cost(self, at: int) -> tuple[bytes, str]:
        rng = self.rng
        text = f'"component":"{_COMPONENTS[int(rng.random() * 5)]}","provider":"p{int(rng.random() * 3)}"'
        if not self._clips or rng.random() < 0.04:
            return b"overhead", f'{text},{_AMOUNT}{rng.random() * 5:.4f}"'
        clip = self._clips[int(rng.random() * len(self._clips))]
        draw = rng.random()
        dollars = rng.random() * (0.9 if clip.dear else 0.05)
        if draw < 0.75:
            amount = f'{_AMOUNT}{dollars:.4f}"'
        elif draw < 0.85:
            amount = f'"amount_usd":{dollars:.4f}'
        elif draw < 0.93:
            amount = f'"amount_usd":{dollars:.4f}{rng.choice(("5", "50000", "4999", "51"))}'
        elif draw < 0.96:
            amount = f'{_AMOUNT}{dollars:.4f}5"'
        elif draw < 0.97:
            amount = f'"amount_usd":{int(dollars * 10_000) + 1}e-4'
        else:
            amount = f'{_AMOUNT}-{dollars:.4f}","corrects":"{self._uuid()}"'
        return str(clip.id).encode(), f'"video_id":{clip.id},"user_id":{clip.user},{text},{amount}'
