"""Speed of decode_batch by topic and batch size: `python -m tests.decode.bench_decode` prints events/s, best of several."""

from __future__ import annotations

import random
import time
import uuid

from streamproc.decode import decode_batch
from tests.support.events import cost_event, encode, user_event, video_event

AT = 1_772_359_200_000
COUNT = 8000
STATUSES = ("requested", "started", "completed", "failed", "published")


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def workload() -> dict[str, list[bytes | None]]:
    """Valid events of each topic, seeded; user events have all 11 fields."""
    rng = random.Random(7)
    users, videos, costs = [], [], []
    for _ in range(COUNT):
        at = AT + rng.randrange(7_200_000)
        more = {"resource_type": "video", "resource_id": rng.randrange(10**6), "session_id": _uuid(rng)}
        more |= {"ip_address": "192.0.2.17", "user_agent": "ExampleBrowser/1.0", "response_time_ms": rng.randrange(500)}
        kind = rng.choice(["login", "view_dashboard", "create_video", "edit", "logout"])
        users.append(user_event(at, event_id=_uuid(rng), user_id=rng.randrange(50_000), activity_type=kind, **more))
        videos.append(video_event(at, rng.choice(STATUSES), event_id=_uuid(rng), video_id=rng.randrange(10**6)))
        costs.append(cost_event(at, f"{rng.random():.4f}", event_id=_uuid(rng), video_id=rng.randrange(10**6)))
    made = {"user-events": users, "video-status": videos, "cost-events": costs}
    return {topic: [encode(event) for event in events] for topic, events in made.items()}


def seconds_per_batch(topic: str, values: list[bytes | None], rounds: int = 15) -> float:
    """Best time of one call."""
    repeat = max(1, 2000 // len(values))
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(repeat):
            decode_batch(topic, values)
        best = min(best, (time.perf_counter() - started) / repeat)
    return best


def main() -> None:
    """Print the table."""
    print(f"{'topic':14} {'batch':>6} {'us a batch':>11} {'events/s':>12}")
    for topic, values in workload().items():
        mixed = list(values)
        for at in range(0, COUNT, 200):
            mixed[at] = b'{"event_id":1}'
        for size, some in [*((size, values[:size]) for size in (5, 16, 50, 500, 2000, 8000)), (COUNT, mixed)]:
            took = seconds_per_batch(topic, some)
            note = "  0.5 % malformed" if some is mixed else ""
            print(f"{topic:14} {size:6} {took * 1e6:11.1f} {size / took:12,.0f}{note}")


if __name__ == "__main__":
    main()
