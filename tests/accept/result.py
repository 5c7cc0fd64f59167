"""What an acceptance item says, and how progress is shown."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

_begun = time.monotonic()


@dataclass(frozen=True)
class Line:
    """One measured promise."""

    number: int
    what: str
    wanted: str
    measured: str
    ok: bool

    def __str__(self) -> str:
        return f"{self.number}  {self.what}  |  wanted: {self.wanted}  |  measured: {self.measured}  |  {'ok' if self.ok else 'short'}"


def say(text: str) -> None:
    """Progress, with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - _begun), 60)
    print(f"[{minutes:02d}:{seconds:02d}] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    say(f"{text} ...")
    begun = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - begun:.1f} s")


def wait_until_right(check: Callable[[], list[str]], limit_s: float, pause_s: float = 1.0) -> list[str]:
    """Ask until nothing is wrong any more, or the time is over; what is wrong then ([] = all right)."""
    deadline = time.monotonic() + limit_s
    said = time.monotonic()
    while wrong := check():
        if time.monotonic() > deadline:
            return wrong
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"  not yet: {len(wrong)} differences, e.g. {wrong[0][:200]}")
        time.sleep(pause_s)
    return []


def measure(items: Mapping[int, Callable[[], Line]], only: str) -> int:
    """Measure the chosen items one after the other and print their lines; 0 only if all hold, 2 for an unknown item."""
    chosen = [int(number) for number in only.split(",")]
    if unknown := [number for number in chosen if number not in items]:
        print(f"--only {only}: there is no item {unknown[0]}; items are 1 to {max(items)}", file=sys.stderr)
        return 2
    lines = []
    for number in chosen:
        say(f"item {number}")
        try:
            lines.append(items[number]())
        except Exception as error:
            # One item that breaks must not hide what the others measure.
            traceback.print_exc()
            lines.append(
                Line(number, "could not be measured", "a figure", f"{type(error).__name__}: {error}"[:300], False)
            )
        say(str(lines[-1]))
    print("\n" + "\n".join(str(line) for line in lines), flush=True)
    return 0 if all(line.ok for line in lines) else 1
