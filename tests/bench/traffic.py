"""A producer process: mixed events of the three streams at a steady rate, and probes whose send times it writes down.

    python -m tests.bench.traffic --broker 127.0.0.1:9092 --partitions 8 --rate 2000 --seconds 40 --probes 25 --out sent.json

Window probes are user events of activity type `probe` of one user, so all lie in one partition, in order: the k-th is
counted exactly when the live count of that type is k or more. Entity probes are the first cost of a new video each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaProducer

from tests.support.events import COST_EVENTS, USER_EVENTS, VIDEO_STATUS, rfc3339

PROBE_TYPE = "probe"
PROBE_USER = 7
FIRST_PROBE_VIDEO = 9_000_000
_STEP_S = 0.01
_TYPES = ("view_video", "login", "create_video", "edit_script", "publish")
_NICHES = ("science", "history", "cooking", "finance", "travel")
_COMPONENTS = ("script", "voice", "image", "processing", "other")

Message = tuple[str, bytes, bytes]


class Mixed:
    """Draws events: 60 % user events (333 bytes), 25 % statuses of videos on their way, 15 % costs."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._videos: list[tuple[int, int, str]] = []
        self._next_video = 1

    def one(self, now_ms: int) -> Message:
        """The next event; it occurred up to 3 s before `now_ms`."""
        at, draw = now_ms - int(3000 * self.rng.random()), self.rng.random()
        if draw < 0.6:
            kind = _TYPES[int(len(_TYPES) * self.rng.random() ** 1.5)]
            return self.user_event(at, self.rng.randrange(1, 20_001), kind)
        if draw < 0.85 or not self._videos:
            return self._status(at)
        return self.cost_event(at, self.rng.choice(self._videos)[0])

    def _head(self, at_ms: int) -> str:
        text = f"{self.rng.getrandbits(128):032x}"
        identity = f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
        return f'{{"event_id":"{identity}","schema_version":"1.0.0","occurred_at":"{rfc3339(at_ms)}",'

    def user_event(self, at_ms: int, user: int, kind: str) -> Message:
        """A user event."""
        head = (
            f'{self._head(at_ms)}"user_id":{user},"activity_type":"{kind}",'
            f'"response_time_ms":{int(self.rng.lognormvariate(4.4, 0.7))},"ip_address":"192.0.2.7","user_agent":"'
        )
        return USER_EVENTS, b"%d" % user, f'{head}{"x" * (331 - len(head))}"}}'.encode()

    def cost_event(self, at_ms: int, video: int) -> Message:
        """A cost of a few cents."""
        body = (
            f'"video_id":{video},"component":"{self.rng.choice(_COMPONENTS)}",'
            f'"amount_usd":"{self.rng.randrange(1, 900) / 10_000:.4f}"}}'
        )
        return COST_EVENTS, b"%d" % video, (self._head(at_ms) + body).encode()

    def _status(self, at_ms: int) -> Message:
        """The next status of some video; it leaves the pool with its last."""
        if len(self._videos) < 500:
            self._videos.append((self._next_video, 0, rfc3339(at_ms - 60_000)))
            self._next_video += 1
        place = self.rng.randrange(len(self._videos))
        video, step, requested = self._videos[place]
        status = ("requested", "started", "completed", "published")[step]
        then = rfc3339(at_ms)
        times = "".join(f',"{name}_at":"{then}"' for name in ("started", "completed", "published")[:step])
        youtube = f',"youtube_video_id":"yt{video:09d}"' if status == "published" else ""
        if step == 3:
            self._videos[place] = self._videos[-1]
            self._videos.pop()
        else:
            self._videos[place] = (video, step + 1, requested)
        body = (
            f'"video_id":{video},"channel_id":{video % 300 + 1},"user_id":{video % 20_000 + 1},"status":"{status}",'
            f'"requested_at":"{requested}"{times}{youtube},"video_type":"short","niche":"{_NICHES[video % 5]}"}}'
        )
        return VIDEO_STATUS, b"%d" % video, (self._head(at_ms) + body).encode()


class Probes:
    """Probes due by now, and when each was given to the producer (monotonic seconds, one clock for all processes)."""

    def __init__(self, traffic: Mixed, per_s: float) -> None:
        self.windows: list[float] = []
        self.entities: list[float] = []
        self._traffic = traffic
        self._per_s = per_s

    def due(self, elapsed_s: float, now_ms: int) -> Iterator[tuple[list[float], Message]]:
        """(list for the send time, message): window probes at the full rate, entity probes at half of it."""
        while self._per_s and len(self.windows) < elapsed_s * self._per_s:
            yield self.windows, self._traffic.user_event(now_ms, PROBE_USER, PROBE_TYPE)
        while self._per_s and len(self.entities) < elapsed_s * self._per_s / 2:
            yield self.entities, self._traffic.cost_event(now_ms, FIRST_PROBE_VIDEO + len(self.entities))


async def run(broker: str, rate: float, seconds: float, probes_per_s: float, seed: int) -> dict[str, object]:
    """Send for that long; what was sent, and how far behind its timetable the producer ever was (seconds)."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    traffic = Mixed(seed)
    probes = Probes(traffic, probes_per_s)
    sent, behind_s, begun = 0, 0.0, time.monotonic()
    last: asyncio.Future[object] | None = None
    try:
        while (elapsed := time.monotonic() - begun) < seconds:
            behind_s = max(behind_s, elapsed - sent / rate - _STEP_S) if sent else behind_s
            now_ms = int(time.time() * 1000)
            for times, (topic, key, value) in probes.due(elapsed, now_ms):
                times.append(time.monotonic())
                last = await producer.send(topic, key=key, value=value)
                sent += 1
            while sent < elapsed * rate:
                topic, key, value = traffic.one(now_ms)
                last = await producer.send(topic, key=key, value=value)
                sent += 1
            await asyncio.sleep(_STEP_S)
        if last is not None:
            await last
    finally:
        await producer.stop()
    return {
        "sent": sent,
        "seconds": round(time.monotonic() - begun, 3),
        "behind_s": round(behind_s, 3),
        "begun": begun,
        "windows": probes.windows,
        "entities": probes.entities,
    }


def main() -> None:
    """Run and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--probes", type=float, default=0.0, help="window probes a second; half as many entity probes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    done = asyncio.run(run(arguments.broker, arguments.rate, arguments.seconds, arguments.probes, arguments.seed))
    arguments.out.write_text(json.dumps(done))


if __name__ == "__main__":
    main()
