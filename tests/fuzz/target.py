"""What a fuzz target is: where inputs come from, what must hold for each, and what a finding is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class Wrong(AssertionError):
    """A property that must hold for every input does not; `positions` are places in the batch, as far as known."""

    def __init__(self, text: str, *positions: int) -> None:
        super().__init__(text)
        self.positions = list(positions)


class Check(Protocol):
    """Holds inputs against a target's properties; any exception is a finding."""

    def __call__(self, inputs: list[bytes], /) -> None:
        """Check inputs, which may be looked at together; nothing is kept from one call to the next."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is fuzzed.

    `make(rng)` gives one input. `open()` is a context manager that gives the check; servers live as long as it.
    `batch` inputs are checked together. `cheap` targets run in the tests of every change.
    """

    name: str
    says: str
    make: Callable[[random.Random], bytes]
    open: Callable[[], Any]
    batch: int = 500
    cheap: bool = True

    def inputs(self, seed: int, number: int) -> list[bytes]:
        """The inputs of one batch: the same for the same seed and number."""
        rng = random.Random(f"{self.name}/{seed}/{number}")
        return [self.make(rng) for _ in range(self.batch)]


def plain(check: Check) -> Callable[[], Any]:
    """`Target.open` of a check that needs no servers."""

    @contextmanager
    def opened() -> Iterator[Check]:
        yield check

    return opened


def each(check_one: Callable[[bytes], None]) -> Callable[[], Any]:
    """`Target.open` of a check that looks at one input at a time."""

    def check(inputs: list[bytes]) -> None:
        for position, value in enumerate(inputs):
            try:
                check_one(value)
            except Wrong as wrong:
                wrong.positions = [position]
                raise
            except Exception as error:
                raise Wrong(f"{type(error).__name__}: {error}", position) from error

    return plain(check)
