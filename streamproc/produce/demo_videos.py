"""The life of a demo video: statuses and costs in order, with the waits between them.

Delays are shorter than real ones, so that within a minute of `make run` some videos are published and every metric has a
value; a part takes minutes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_NICHES = ("science", "history", "cooking", "finance", "travel", "gaming", "health", "music")
_TYPES = ("short", "long", "tutorial")
_PROVIDERS = {"script": "textgen", "voice": "speechly", "image": "pictor", "processing": "render", "other": "storage"}
#: Component and its part of a video's cost.
_PARTS = (("script", 0.12), ("voice", 0.24), ("image", 0.36), ("processing", 0.28))
#: Places in a run of videos that are dear, and fail, for certain: so that the first minute shows an alert and a failure.
_DEAR_VIDEO, _DEARER_VIDEO, _FAILING_VIDEO = 1, 3, 2


class Step(NamedTuple):
    """One event of a life, `wait_ms` after the one before: a status, or a cost of a component (1/10000 USD)."""

    wait_ms: float
    status: str = ""
    component: str = ""
    amount_e4: int = 0


@dataclass(slots=True)
class Video:
    """A video on its way."""

    video_id: int
    user_id: int
    channel_id: int
    niche: str | None
    video_type: str
    duration_seconds: int
    quality_score: float
    times: dict[str, str] = field(default_factory=dict)
    last_cost_id: str = ""

    def status_fields(self, status: str, now: str) -> dict[str, Any]:
        """Fields of a video-status event; the times of earlier statuses are kept."""
        if status != "failed":
            self.times[f"{status}_at"] = now
        fields: dict[str, Any] = {
            "video_id": self.video_id,
            "channel_id": self.channel_id,
            "user_id": self.user_id,
            "status": status,
            **self.times,
            "video_type": self.video_type,
        }
        if self.niche is not None:
            fields["niche"] = self.niche
        if status in ("completed", "published"):
            fields |= {"duration_seconds": self.duration_seconds, "quality_score": self.quality_score}
        if status == "published":
            fields |= {"youtube_video_id": f"demo{self.video_id:x}", "title": f"Demo video {self.video_id}"}
        if status == "failed":
            fields["error"] = "the image provider gave no answer"
        return fields

    def cost_fields(self, step: Step) -> dict[str, Any]:
        """Fields of a cost event; a negative amount corrects the last cost."""
        fields: dict[str, Any] = {
            "video_id": self.video_id,
            "channel_id": self.channel_id,
            "user_id": self.user_id,
            "component": step.component,
            "amount_usd": f"{step.amount_e4 / 10_000:.4f}",
            "provider": _PROVIDERS[step.component],
        }
        if step.amount_e4 < 0 and self.last_cost_id:
            fields["corrects"] = self.last_cost_id
        return fields


def life_of(rng: random.Random, video_id: int, place: int) -> tuple[Video, list[Step]]:
    """A video and the steps of its life; `place` counts the videos of a run from 0."""
    channel = rng.randrange(1, 400)
    video = Video(
        video_id=video_id,
        user_id=channel * 3 % 1_000 + 1,
        channel_id=channel,
        niche=None if rng.random() < 0.02 else _NICHES[channel % len(_NICHES)],
        video_type=rng.choices(_TYPES, (6, 3, 1))[0],
        duration_seconds=rng.randrange(20, 900),
        quality_score=round(rng.betavariate(8, 2), 3),
    )
    total_e4 = _total_cost(rng, place)
    quick = place <= _DEARER_VIDEO
    queue_ms = rng.uniform(1_000, 4_000) if quick else min(180_000.0, 6_000 * rng.lognormvariate(0, 0.9))
    slow = not quick and rng.random() < 0.35
    work_ms = rng.uniform(60_000, 240_000) if slow else rng.uniform(10_000, 30_000)
    fails = place == _FAILING_VIDEO or (not quick and rng.random() < 0.07)
    steps = [Step(0, "requested"), Step(queue_ms, "started"), *_costs(rng, total_e4, work_ms, fails)]
    if fails:
        return video, [*steps, Step(work_ms * 0.1, "failed")]
    steps.append(Step(work_ms * 0.2, "completed"))
    if rng.random() < 0.4:
        steps.append(Step(rng.uniform(200, 2_000), component="other", amount_e4=rng.randrange(20, 400)))
    if rng.random() < 0.96:
        steps.append(Step(rng.uniform(2_000, 9_000), "published"))
    if not quick and rng.random() < (0.5 if total_e4 > 25_000 else 0.01):
        # The provider takes a part back: a dear video comes below its threshold again, and its alert resolves.
        steps.append(Step(rng.uniform(5_000, 30_000), component="image", amount_e4=-int(total_e4 * 0.3)))
    return video, steps


def _total_cost(rng: random.Random, place: int) -> int:
    """Cost of a video in 1/10000 USD: mostly below 2.50 USD, one in 80 above it, one in 300 above 3.00 USD."""
    draw = rng.random()
    if place == _DEARER_VIDEO or draw < 1 / 300:
        return rng.randrange(31_000, 42_000)
    if place == _DEAR_VIDEO or draw < 1 / 80:
        return rng.randrange(25_600, 29_500)
    return min(24_000, int(12_500 * rng.lognormvariate(0, 0.3)))


def _costs(rng: random.Random, total_e4: int, work_ms: float, fails: bool) -> list[Step]:
    """The components' costs, spread over the work; they add up to the total (a failing video stops half-way)."""
    parts = [(component, share * rng.uniform(0.8, 1.2)) for component, share in _PARTS]
    whole = sum(share for _, share in parts)
    amounts = [int(total_e4 * share / whole) for _, share in parts]
    amounts[-1] += total_e4 - sum(amounts)
    steps = [
        Step(work_ms * 0.2, component=component, amount_e4=amount)
        for (component, _), amount in zip(parts, amounts, strict=True)
    ]
    return steps[:2] if fails else steps
