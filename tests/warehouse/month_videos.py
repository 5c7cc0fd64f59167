"""Status events of videos: straight ways, failures, second tries, repeats of a status, ties and disorder."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.warehouse.month_company import Channel, Company
from tests.warehouse.month_stream import Stream
from tests.warehouse.month_write import DAY, HOUR, MINUTE, SECOND, Census, Deck, Log, spelled, text

TOPIC = "video-status"
_WEEK = 7 * DAY
_TYPES = ("short", "long", "tutorial", "série")
_STORIES = {
    "published": 14,
    "failed": 2,
    "failed before it started": 1,
    "failed and retried with the first request's time": 1,
    "failed and retried with a new request": 1,
    "completed and never published": 2,
    "only started": 1,
    "only requested": 1,
    "repeats of statuses within 7 days": 2,
    "all again after more than 7 days": 1,
    "completed again after exactly 7 days of log time": 1,
    "completed again a millisecond after 7 days of log time": 1,
    "completed and published in one millisecond": 1,
    "started and failed in one millisecond": 1,
    "two completions in one millisecond": 1,
    "statuses out of order in the file": 2,
    "statuses days late": 2,
    "channel changes": 1,
    "first heard of when started": 1,
}
_FIELDS = {
    "all fields": 8,
    "no niche": 1,
    "niche null and no video_type": 1,
    "title only at first": 2,
    "title empty at last": 1,
    "unknown extra fields": 1,
}
_STEPS = ("requested", "started", "completed", "published")
_SLOW = ("all again", "completed again")


@dataclass
class Video:
    """A video as the other makers need it; times are those of its first try."""

    id: int
    channel: Channel
    requested_ms: int
    story: str
    form: str
    kind: str
    times: dict[str, int] = field(default_factory=dict)


class Statuses:
    """Sends the stories of all videos of a plan."""

    def __init__(self, company: Company, census: Census) -> None:
        self.company = company
        self.stream = Stream(company.plan, TOPIC, census, 4 * company.plan.videos)
        self.rng = self.stream.rng
        stories = Deck(self.rng, census, TOPIC, _STORIES)
        forms = Deck(self.rng, census, TOPIC, _FIELDS)
        by_user: dict[int, list[Channel]] = {}
        for channel in company.channels:
            by_user.setdefault(channel.user, []).append(channel)
        visits = company.visits(company.plan.rng("requests"))
        self.videos: list[Video] = []
        for number in range(1, company.plan.videos + 1):
            user, at = next(visits)
            story = stories.deal()
            if story.startswith(_SLOW):
                # It must have its second round before the month ends.
                at = company.plan.begin_ms + at % ((company.plan.days - 10) * DAY)
            video = Video(number, self.rng.choice(by_user[user.id]), at, story, forms.deal(), self.rng.choice(_TYPES))
            self.videos.append(video)
            self._tell(video)

    @property
    def log(self) -> Log:
        return self.stream.log

    def _tell(self, video: Video) -> None:
        story, times = video.story, self._times(video.requested_ms)
        video.times = times
        if story.startswith(("failed", "started and failed")):
            self._failing(video, times)
        elif story.startswith("only") or story == "completed and never published":
            for status in _STEPS[: {"only requested": 1, "only started": 2}.get(story, 3)]:
                self._send(video, status, times)
        elif story == "completed and published in one millisecond":
            times["published"] = times["completed"]
            self._all(video, times)
        elif story == "two completions in one millisecond":
            self._all(video, times, until=3)
            self._send(video, "completed", times | {"started": times["started"] + SECOND})
        elif story == "statuses out of order in the file":
            late = max(times.values()) + HOUR
            for turn, status in enumerate(_STEPS):
                self._send(video, status, times, ts=late - turn * MINUTE)
        elif story == "statuses days late":
            self._all(video, times, ts=times["published"] + self.rng.randrange(DAY, 5 * DAY))
        elif story == "channel changes":
            self._all(video, times, until=3)
            own = video.channel
            video.channel = self.rng.choice(self.company.channels)
            self._send(video, "published", times)
            video.channel = own
        elif story == "first heard of when started":
            for status in _STEPS[1:]:
                self._send(video, status, times)
        else:
            self._repeating(video, times)

    def _repeating(self, video: Video, times: dict[str, int]) -> None:
        self._all(video, times)
        story, rng = video.story, self.rng
        if story == "repeats of statuses within 7 days":
            for status in _STEPS[rng.randrange(3) :]:
                later = {name: at + rng.randrange(MINUTE, 6 * DAY) for name, at in times.items()}
                self._send(video, status, _in_order(later))
        elif story == "all again after more than 7 days":
            self._all(video, self._times(video.requested_ms + 8 * DAY + rng.randrange(DAY)))
        elif story.startswith("completed again"):
            # A third try at known distances of log time from a first that stands alone.
            base = times["published"] + HOUR
            again = {name: at + 30 * MINUTE for name, at in times.items()}
            other = Video(self.company.plan.videos + video.id, *_rest(video))
            self._send(other, "completed", times, ts=base)
            self._send(other, "completed", again, ts=base + _WEEK + (1 if "a millisecond" in story else 0))

    def _failing(self, video: Video, times: dict[str, int]) -> None:
        story = video.story
        self._send(video, "requested", times)
        if story == "failed before it started":
            self._send(video, "failed", {"requested": times["requested"], "failed": times["started"]})
            return
        self._send(video, "started", times)
        failed = times["started"] if story == "started and failed in one millisecond" else times["completed"]
        self._send(video, "failed", {"requested": times["requested"], "started": times["started"], "failed": failed})
        if "retried" not in story:
            return
        again = self._times(failed + self.rng.randrange(MINUTE, 2 * DAY))
        if story.endswith("first request's time"):
            again["requested"] = times["requested"]
            self._all(video, again, since=1)
        else:
            self._all(video, again)
        video.times = again

    def _all(self, video: Video, times: dict[str, int], since: int = 0, until: int = 4, ts: int | None = None) -> None:
        for status in _STEPS[since:until]:
            self._send(video, status, times, ts)

    def _times(self, requested: int) -> dict[str, int]:
        rng = self.rng
        started = requested + int(rng.expovariate(1 / (40 * SECOND)))
        completed = started + 20 * SECOND + int(rng.lognormvariate(5.2, 0.6) * SECOND)
        published = completed + int(rng.expovariate(1 / (5 * HOUR)))
        return {"requested": requested, "started": started, "completed": completed, "published": published}

    def _send(self, video: Video, status: str, times: dict[str, int], ts: int | None = None) -> None:
        at = times[status]
        if at < self.company.plan.end_ms:
            self.stream.send(at, str(video.id), _body(self.rng, video, status, times), ts)


def _rest(video: Video) -> tuple[Channel, int, str, str, str]:
    return video.channel, video.requested_ms, video.story, video.form, video.kind


def _in_order(times: dict[str, int]) -> dict[str, int]:
    return dict(zip(times, sorted(times.values()), strict=True))


def _body(rng: random.Random, video: Video, status: str, times: dict[str, int]) -> str:
    parts = [
        f',"video_id":{video.id},"channel_id":{video.channel.id},"user_id":{video.channel.user},"status":"{status}"'
    ]
    reached = _STEPS[: _STEPS.index(status) + 1] if status != "failed" else _STEPS[:2]
    parts += [f'"{name}_at":"{spelled(rng, times[name])}"' for name in reached if name in times]
    form = video.form
    if form not in ("no niche", "niche null and no video_type"):
        parts.append(f'"niche":{text(video.channel.niche)}')
    if form == "niche null and no video_type":
        parts.append('"niche":null,"completed_note":null')
    else:
        parts.append(f'"video_type":{text(video.kind)}')
    if form != "title only at first" or status == "requested":
        empty = form == "title empty at last" and status in ("failed", "published")
        parts.append('"title":""' if empty else f'"title":{text(f"Vidéo № {video.id} — {video.channel.name}")}')
    if status in ("completed", "published"):
        parts.append(f'"duration_seconds":{30 + rng.randrange(900)}')
    if status == "completed":
        parts.append(f'"quality_score":{rng.choice(("0", "1", "0.5", "0.87", "0.7", "1.0", f"{rng.random():.2f}"))}')
    if status == "published":
        parts.append(f'"youtube_video_id":"yt_{video.id:08d}"')
    if status == "failed":
        parts.append('"error":"voice provider timed out — délai"')
    if form == "unknown extra fields":
        parts.append('"render_node":{"gpu":[0,1],"née":null}')
    return ",".join(parts) + "}"
