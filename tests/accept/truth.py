"""Items 2 and 3: a messy workload through the real stack, undisturbed and with workers killed, against the truth."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.accept.redis_truth import redis_differences
from tests.accept.result import Line, say, step, wait_until_right
from tests.support.compare import differences
from tests.support.stack import EVENT_TOPICS, Stack, Worker
from tests.support.truth import Record, Truth, compute
from tests.support.workload import Workload

_LIMIT_S = 240.0
_CHUNK = 1000
_ROLES = ("windows", "archive", "notify")


def truth_item(number: int, events: int, seed: int, chaos: bool) -> Line:
    """Produce `events` messages, and compare ClickHouse, Redis and dead letters with what SQL makes of the log."""
    what = "truth" + (" with kill -9 and a second worker" if chaos else " (ClickHouse, Redis, dead letters)")
    wanted = f"0 differences from SQL over the raw log, {events:,} events"
    with tempfile.TemporaryDirectory(prefix="streamproc-accept-") as folder, Stack(Path(folder) / "stack") as stack:
        stack.create_topics()
        workers = {role: stack.worker(role, wait=False) for role in _ROLES}
        for worker in workers.values():
            worker.wait_ready(90.0)
        done = _disturbed(stack, workers, events, seed) if chaos else _undisturbed(stack, events, seed)
        with step("reading the log back and computing the truth"):
            records = stack.log_records()
            truth = compute(records)
        say(f"  {_content(truth)}")
        with step("comparing until all is equal"):
            wrong = wait_until_right(lambda: all_differences(stack, records, truth), _LIMIT_S)
        for text in wrong[:10]:
            say(f"  WRONG {text[:300]}")
    compared = f"{len(truth.windows):,} windows and {len(truth.entities):,} entities in both stores"
    measured = (
        f"{len(wrong)} differences in {compared}; {len(records):,} records, {sum(truth.dead.values()):,} dead{done}"
    )
    return Line(number, what, wanted, measured, not wrong and len(records) >= events)


def _content(truth: Truth) -> str:
    late = sum(truth.late.values())
    return (
        f"dead {truth.dead}, duplicates {truth.duplicates}, repeated statuses {truth.repeats}, late {late} (all sizes)"
    )


def all_differences(stack: Stack, records: list[Record], truth: Truth) -> list[str]:
    """ClickHouse first, for it lags most; the rest is asked only once that is right."""
    wrong = differences(stack.windows(), truth.windows | truth.entities)
    if wrong:
        return [f"gold: {text}" for text in wrong]
    wrong = [f"redis: {text}" for text in redis_differences(stack.redis, truth.windows, truth.entities)]
    dead = dict(stack.query("SELECT reason, count() FROM meta.dead_letters FINAL GROUP BY reason"))
    if dead != truth.dead:
        wrong.append(f"dead letters {dead}, truth says {truth.dead}")
    for topic in EVENT_TOPICS:
        table = f"bronze.{topic.replace('-', '_')}"
        rows = stack.query(f"SELECT count(), uniqExact(partition, offset) FROM {table} FINAL")[0]
        sent = sum(1 for record in records if record.topic == topic)
        if rows != (sent, sent):
            wrong.append(f"{table} holds {rows} rows and offsets, the log {sent} records")
    return wrong


def _messages(events: int, seed: int) -> Iterator[tuple[str, bytes, bytes | None]]:
    for message in Workload(seed, events, int(time.time() * 1000)).messages():
        yield message.topic, message.key, message.value


def _undisturbed(stack: Stack, events: int, seed: int) -> str:
    with step(f"producing {events:,} messages"):
        stack.produce(_messages(events, seed))
    return ""


class _Sender(threading.Thread):
    """Produces at a pace that leaves time for faults; `sent` counts, `error` is what ended it early."""

    def __init__(self, stack: Stack, events: int, seed: int, rate: float) -> None:
        super().__init__(name="sender", daemon=True)
        self.sent = 0
        self.error: BaseException | None = None
        self._stack, self._messages, self._rate = stack, _messages(events, seed), rate

    def run(self) -> None:
        """Chunk by chunk."""
        begun = time.monotonic()
        try:
            while chunk := list(islice(self._messages, _CHUNK)):
                self.sent += self._stack.produce(chunk)
                time.sleep(max(0.0, begun + self.sent / self._rate - time.monotonic()))
        except BaseException as error:
            self.error = error
            raise


def _disturbed(stack: Stack, workers: dict[str, Worker], events: int, seed: int) -> str:
    """Kill windows and archive workers at random moments while messages flow; a second worker joins and leaves."""
    rng = random.Random(seed)
    sender = _Sender(stack, events, seed, rate=events / 75)
    kills, joined = 0, 0
    sender.start()
    second: Worker | None = None
    while sender.is_alive() or kills < 4 or not joined:
        time.sleep(rng.uniform(1.0, 7.0))
        draw = rng.random()
        if draw < 0.5 or not sender.is_alive():
            role = "archive" if rng.random() < 0.25 else "windows"
            workers[role].kill()
            kills += 1
            say(f"  {sender.sent:,} sent; {role} worker killed")
            workers[role] = stack.worker(role, wait=False)
        elif second is None:
            second = stack.worker("windows", wait=False)
            joined += 1
            say(f"  {sender.sent:,} sent; a second windows worker joins")
        else:
            code = second.stop(60.0)
            second = None
            say(f"  {sender.sent:,} sent; the second windows worker left (exit code {code})")
        if not joined and kills >= 4:
            second = stack.worker("windows", wait=False)
            joined += 1
    sender.join()
    if sender.error is not None:
        raise RuntimeError("producing failed") from sender.error
    if second is not None:
        second.stop(60.0)
    for worker in workers.values():
        worker.wait_ready(120.0)
    return f"; {kills} kills, a second worker joined {joined} times"
