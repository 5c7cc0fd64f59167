"""Work in a copy of the process: survived or not, this process goes on as it was."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import time
from collections.abc import Callable

import pytest

from streamproc.agents.sandbox import survives


def _raise() -> None:
    raise RecursionError


def _segfault() -> None:
    # The test runner's handler would print a trace that looks like a failure of the whole run.
    faulthandler.disable()
    ctypes.string_at(0)


def _spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    "work",
    [
        lambda: os._exit(3),
        _segfault,
        _raise,
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: bytearray(8 << 30),
        _spin,
    ],
    ids=["exit", "segfault", "exception", "killed", "memory", "hang"],
)
def test_a_copy_that_ends_is_noticed(work: Callable[[], object]) -> None:
    assert not asyncio.run(survives(work, limit_s=1.0))


def test_what_a_copy_changes_is_gone_with_it() -> None:
    values = [1]

    def work() -> None:
        values.append(2)

    assert asyncio.run(survives(work))
    assert values == [1]


def test_the_loop_goes_on_while_a_copy_works() -> None:
    async def run() -> tuple[bool, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        counting = asyncio.create_task(count())
        good = await survives(lambda: time.sleep(0.4))
        counting.cancel()
        return good, turns

    good, turns = asyncio.run(run())
    assert good
    assert turns >= 5
