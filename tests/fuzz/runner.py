"""Watches over a target's worker process: starts it again after a crash or hang, and finds the input that did it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from tests.fuzz.findings import Finding
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import Note, run_batches, run_singly

#: Seconds without a sign of life after which a worker counts as hung (wall time, generous: the machine may be busy).
HUNG_S: Final = 60.0
_CRASHES_TAKEN: Final = 10


@dataclass(slots=True)
class Report:
    """What a run of one target gave."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    findings: list[tuple[Finding, int]] = field(default_factory=list)


def _batches(name: str, seed: int, first: int, last: int, note: str, queue: Any) -> None:
    run_batches(
        TARGETS[name], seed, first, last, Note(Path(note)), lambda finding, number: queue.put((finding, number))
    )


def _singly(name: str, seed: int, number: int, note: str) -> None:
    run_singly(TARGETS[name], seed, number, Note(Path(note)))


def fuzz(target: Target, seed: int, runs: int, on_progress: Callable[[Report], None] = lambda _report: None) -> Report:
    """At least `runs` inputs of a target."""
    context = multiprocessing.get_context("spawn")
    report = Report(target.name)
    began = time.monotonic()
    last = -(-runs // target.batch)
    first = 0
    with tempfile.TemporaryDirectory(prefix="streamproc-fuzz-") as folder:
        path = Path(folder) / "note"
        while first < last:
            note = Note.create(path)
            note.write(first, -1, 0)
            queue = context.SimpleQueue()
            process = context.Process(target=_batches, args=(target.name, seed, first, last, str(path), queue))
            process.start()
            hung = _watch(process, note, queue, first * target.batch, report, began, on_progress)
            at, _, _, _ = note.read()
            if process.exitcode == 0:
                break
            report.findings.append((_culprit(context, target, seed, at, path, hung, process.exitcode), at))
            first = at + 1
            if len(report.findings) >= _CRASHES_TAKEN:
                break
    report.seconds = time.monotonic() - began
    return report


def _watch(
    process: BaseProcess,
    note: Note,
    queue: Any,
    before: int,
    report: Report,
    began: float,
    on_progress: Callable[[Report], None],
) -> bool:
    """Until the process ends, or is killed because it hangs (then true)."""
    while True:
        process.join(0.2)
        while not queue.empty():
            report.findings.append(queue.get())
        _, _, done, at_s = note.read()
        report.runs, report.seconds = before + done, time.monotonic() - began
        on_progress(report)
        if process.exitcode is not None:
            return False
        if time.monotonic() - at_s > HUNG_S:
            _end(process)
            return True


def _end(process: BaseProcess) -> None:
    """End a process that hangs; it prints first where (faulthandler)."""
    if process.pid is not None:
        os.kill(process.pid, signal.SIGABRT)
    process.join(5.0)
    process.kill()
    process.join()


def _culprit(context: Any, target: Target, seed: int, number: int, path: Path, hung: bool, code: int | None) -> Finding:
    """Which input of a batch kills the process or never ends; an empty one if only the whole batch does."""
    what = "hangs" if hung else f"ends the process (exit code {code})"
    note = Note.create(path)
    note.write(number, -1, 0)
    process = context.Process(target=_singly, args=(target.name, seed, number, str(path)))
    process.start()
    while process.exitcode is None and time.monotonic() - note.read()[3] <= HUNG_S:
        process.join(0.2)
    if process.exitcode is None:
        _end(process)
    if process.exitcode == 0:
        return Finding(target.name, what, f"batch {number} {what}; not one input alone", b"")
    return Finding(target.name, what, what, target.inputs(seed, number)[max(0, note.read()[1])])
