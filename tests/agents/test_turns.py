"""Long work on the event loop takes turns, larger ones while others take long."""

from __future__ import annotations

import asyncio

import pytest

from streamproc.agents import turns
from streamproc.agents.turns import Turns


class _Clock:
    """Seconds that pass only when somebody works."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _others_turns(monkeypatch: pytest.MonkeyPatch, work_s: float, others_s: float) -> int:
    """How often others go on amid work of so many seconds, when each of their turns takes `others_s`."""
    clock = _Clock()
    monkeypatch.setattr(turns, "monotonic", clock)
    gone_on = 0

    async def others() -> None:
        nonlocal gone_on
        while True:
            await asyncio.sleep(0)
            gone_on += 1
            clock.now_s += others_s

    async def act() -> int:
        other = asyncio.create_task(others())
        await asyncio.sleep(0)
        ours = Turns()
        for _ in range(round(work_s / 0.0005)):
            clock.now_s += 0.0005
            await ours.take()
        other.cancel()
        return gone_on

    return asyncio.run(act())


def test_short_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _others_turns(monkeypatch, 0.004, 0.1) == 0


def test_long_work_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 18 <= _others_turns(monkeypatch, 0.1, 0.001) <= 20


def test_beside_a_busy_loop_turns_are_larger_but_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 6 <= _others_turns(monkeypatch, 0.18, 0.06) <= 9
    assert 5 <= _others_turns(monkeypatch, 0.18, 10.0) <= 7
