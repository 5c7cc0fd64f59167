"""The process that runs a target: it may crash or hang, so it notes in shared memory what it is at."""

from __future__ import annotations

import faulthandler
import mmap
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz.findings import LIMIT_S, Finding, kind_of, problem, shorter, timed
from tests.fuzz.target import Check, Target, Wrong

_NOTE: Final = struct.Struct("<qqqd")
#: Inputs of one batch that are looked at alone.
_MOST_SUSPECTS: Final = 8


class Note:
    """What a worker is at: batch, place within it (-1: all together), inputs done, and when it wrote so (monotonic s)."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _NOTE.size)

    @staticmethod
    def create(path: Path) -> Note:
        """A new note, which says nothing yet."""
        path.write_bytes(bytes(_NOTE.size))
        return Note(path)

    def write(self, batch: int, position: int, done: int) -> None:
        """Note it with the time."""
        _NOTE.pack_into(self._map, 0, batch, position, done, time.monotonic())

    def read(self) -> tuple[int, int, int, float]:
        """(batch, position, done, monotonic s)."""
        found: tuple[int, int, int, float] = _NOTE.unpack_from(self._map)
        return found


def run_batches(
    target: Target, seed: int, first: int, last: int, note: Note, tell: Callable[[Finding, int], None]
) -> None:
    """Check batches `first` to `last` (exclusive); `tell` is given each finding and its batch."""
    faulthandler.enable()
    known: set[str] = set()
    with target.open() as check:
        for number in range(first, last):
            note.write(number, -1, (number - first) * target.batch)
            inputs = target.inputs(seed, number)
            try:
                took = timed(check, inputs)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                found = list(_isolated(target, check, inputs, number, first, note))
                for finding in found or [Finding(target.name, kind_of(error), f"only together: {error!r}", b"")]:
                    if finding.kind not in known:
                        known.add(finding.kind)
                        tell(finding, number)
            else:
                # One slow input among quick ones; a batch that is slow as a whole is none.
                if took > LIMIT_S:
                    for finding in _isolated(target, check, inputs, number, first, note):
                        tell(finding, number)
        note.write(last, -1, (last - first) * target.batch)


def _isolated(target: Target, check: Check, inputs: list[bytes], number: int, first: int, note: Note) -> list[Finding]:
    """The inputs that do it alone, one of a kind."""
    findings: dict[str, Finding] = {}
    for position in _suspects(check, inputs):
        note.write(number, position, (number - first) * target.batch)
        error = problem(check, inputs[position])
        if error is not None and (kind := kind_of(error)) not in findings:
            small = shorter(check, inputs[position], kind)
            findings[kind] = Finding(target.name, kind, f"{error!r}", small)
    return list(findings.values())


def _suspects(check: Check, inputs: list[bytes]) -> list[int]:
    """Places that are to be looked at alone: those that the check names, else found by halving."""
    try:
        if timed(check, inputs) <= LIMIT_S or len(inputs) == 1:
            return list(range(len(inputs))) if len(inputs) == 1 else []
    except Wrong as wrong:
        if wrong.positions:
            return wrong.positions[:_MOST_SUSPECTS]
    except Exception:  # raised again, and told, when the input is looked at alone
        if len(inputs) == 1:
            return [0]
    half = len(inputs) // 2
    found = _suspects(check, inputs[:half])
    if len(found) < _MOST_SUSPECTS:
        found += [half + position for position in _suspects(check, inputs[half:])]
    return found


def run_singly(target: Target, seed: int, number: int, note: Note) -> None:
    """Check the inputs of one batch one by one, noting each before: whoever watches sees at which one this dies."""
    faulthandler.enable()
    with target.open() as check:
        for position, value in enumerate(target.inputs(seed, number)):
            note.write(number, position, 0)
            problem(check, value)
    note.write(number, len(target.inputs(seed, number)), 0)
