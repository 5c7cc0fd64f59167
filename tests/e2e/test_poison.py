"""A record that ends every process that reads it: found after repeated deaths, set aside, everything else is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.checks import archive_differences, check_windows, messages, settle
from tests.support.events import USER_EVENTS, encode, user_event
from tests.support.stack import Stack, Worker, wait_for
from tests.support.truth import Record, compute

POISON = "0badc0de-dead-4bee-8bad-0badc0debad0"
DEATHS = 12


@contextmanager
def supervised(stack: Stack, *roles: str, **settings: str) -> Iterator[dict[str, list[Worker]]]:
    """Workers that are started again whenever they end; the lists hold every process there was, by role."""
    lives = {f"{role}{number}": [stack.worker(role, wait=False, **settings)] for number, role in enumerate(roles)}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for processes in lives.values():
                if processes[-1].process.poll() is not None and len(processes) <= DEATHS:
                    processes.append(stack.worker(processes[-1].role, wait=False, **settings))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lives
    finally:
        ended.set()
        thread.join()


def poison_at(place: int, events: list[tuple[str, bytes, bytes | None]]) -> None:
    """Put the poison record among the events, with another poison-free event of the same user behind it."""
    now = int(time.time() * 1000)
    events.insert(place, (USER_EVENTS, b"7", encode(user_event(now, event_id=POISON, user_id=7))))
    events.insert(place + 1, (USER_EVENTS, b"7", encode(user_event(now, user_id=7, activity_type="behind"))))


def without(records: list[Record]) -> list[Record]:
    """The log for whoever does not know the poison record: an empty record in its place."""
    return [r._replace(value=None) if POISON.encode() in (r.value or b"") else r for r in records]


def poison_place(records: list[Record]) -> tuple[str, int, int]:
    return next((r.topic, r.partition, r.offset) for r in records if POISON.encode() in (r.value or b""))


def check_all(stack: Stack) -> None:
    """Windows, bronze, silver and dead letters equal the truth without the record, and one dead letter is its."""
    log = stack.log_records()
    truth = compute(without(log))
    check_windows(stack, truth, timeout_s=120)
    letters = (
        "SELECT topic, partition, offset, length(payload) FROM meta.dead_letters FINAL WHERE reason = 'crashes_decoder'"
    )
    wait_for("its dead letter", lambda: stack.query(letters), 60)
    assert [row[:3] for row in stack.query(letters)] == [poison_place(log)]

    def differences() -> list[str]:
        marked = stack.query(
            "SELECT topic, partition, offset FROM bronze.user_events FINAL WHERE error LIKE 'crashes_decoder%'"
        )
        wrong = [] if marked == [poison_place(log)] else [f"marked in bronze: {marked}"]
        if stack.query(f"SELECT count() FROM silver.user_activity WHERE event_id = '{POISON}'") != [(0,)]:
            wrong.append("silver has it")
        others = archive_differences(stack, log, truth)
        return wrong + [text for text in others if "dead_letters" not in text and "errors in bronze" not in text]

    settle(differences, 60)


@pytest.mark.timeout(300)
def test_a_record_that_crashes_the_decoder_is_set_aside(running: Stack) -> None:
    """Windows and archive die of it; both go on without it, nothing else is missing, and nobody looks at it again."""
    stack, events = running, messages(31, 6000)
    poison_at(3000, events)
    stack.produce(events[:2000])
    with supervised(stack, "windows", "archive", poison_at=f"{POISON}:segfault") as lives:
        for processes in lives.values():
            processes[0].wait_ready()
        stack.produce(events[2000:])
        check_all(stack)
        deaths = {name: len(processes) - 1 for name, processes in lives.items()}
        # The third start at the same place is careful; a snapshot between two deaths makes it another place. The
        # archive may learn of it from the windows after its first death.
        assert 2 <= deaths["windows0"] < DEATHS, deaths
        assert 1 <= deaths["archive1"] < DEATHS, deaths
        alerts = "SELECT count() FROM gold.alerts FINAL WHERE rule = 'poison_record'"
        stack.worker("notify")
        wait_for("people are told", lambda: stack.query(alerts)[0][0] >= 2)
        # Others read the log again, and know of it from window-progress alone.
        before = {name: len(processes) for name, processes in lives.items()}
        for processes in lives.values():
            processes[-1].kill()
        wait_for("others", lambda: all(len(lives[name]) > count for name, count in before.items()))
        for processes in lives.values():
            processes[-1].wait_ready()
        check_all(stack)
        assert all(len(lives[name]) == count + 1 for name, count in before.items())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["exit", "recursion", "memory", "hang"])
def test_a_record_that_ends_the_fold_is_set_aside(running: Stack, how: str) -> None:
    """Two windows workers die of it, the archive does not and has it as valid: it is taken out of silver again."""
    stack, events = running, messages(32, 6000)
    poison_at(3000, events)
    at = f"{POISON}:{how}:fold"
    with supervised(stack, "windows", "windows", "archive", poison_at=at, stuck_after_s="5") as lives:
        lives["windows0"][0].wait_ready()
        stack.produce(events)
        check_all(stack)
        assert len(lives["archive2"]) == 1
