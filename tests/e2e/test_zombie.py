"""A worker that is paused beyond its session goes on beside its successor: what it writes is harmless."""

from __future__ import annotations

import signal

from tests.e2e.checks import check_live, check_windows, messages
from tests.support.stack import Stack, wait_for


def test_a_worker_that_wakes_up_beside_its_successor_changes_nothing(running: Stack) -> None:
    """SIGSTOP longer than the session, a second worker takes over, SIGCONT under load: every value equal."""
    stack, events = running, messages(5, 6000)
    first = stack.worker("windows")
    stack.produce(events[:2000])
    wait_for("some work done", lambda: first.metric("streamproc_events_total") > 500)
    first.process.send_signal(signal.SIGSTOP)
    second = stack.worker("windows", wait=False)
    stack.produce(events[2000:4000])
    second.wait_ready(60)
    wait_for("the successor has it all", lambda: second.metric("streamproc_events_total") > 2000)
    first.process.send_signal(signal.SIGCONT)
    stack.produce(events[4000:])
    truth = check_windows(stack)
    check_live(stack, truth)
    assert first.process.poll() is None
    assert second.process.poll() is None
