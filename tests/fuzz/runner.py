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
from tests.fuzz.targets import find
from tests.fuzz.worker import Note, run_batches, run_singly

#: CPU seconds without a sign of life after which a worker counts as hung; a busy machine may give it none for minutes.
HUNG_CPU_S: Final = 20.0
#: Wall seconds after which a worker counts as hung that takes no CPU: it waits for what never comes.
HUNG_S: Final = 900.0
_CRASHES_TAKEN: Final = 10


@dataclass(slots=True)
class Report:
    """What a run of one target gave."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    findings: list[tuple[Finding, int]] = field(default_factory=list)


def _batches(name: str, seed: int, first: int, last: int, note: str, queue: Any) -> None:
    run_batches(find(name), seed, first, last, Note(Path(note)), lambda finding, number: queue.put((finding, number)))


def _singly(name: str, seed: int, number: int, note: str) -> None:
    run_singly(find(name), seed, number, Note(Path(note)))


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
    hung = _Hung(process, note)
    while True:
        process.join(0.2)
        while not queue.empty():
            report.findings.append(queue.get())
        _, _, done, _ = note.read()
        report.runs, report.seconds = before + done, time.monotonic() - began
        on_progress(report)
        if process.exitcode is not None:
            return False
        if hung.now():
            _end(process)
            return True


class _Hung:
    """Whether a process has taken too long since its last sign of life."""

    def __init__(self, process: BaseProcess, note: Note) -> None:
        self._stat = Path(f"/proc/{process.pid}/stat")
        self._note = note
        self._sign = -1.0
        self._cpu_s = 0.0

    def now(self) -> bool:
        """Its CPU time is read first: who looks may itself be kept waiting between the two, on a busy machine."""
        cpu_s = self._taken_s()
        sign_s = self._note.read()[3]
        if sign_s != self._sign:
            self._sign, self._cpu_s = sign_s, cpu_s
        return cpu_s - self._cpu_s > HUNG_CPU_S or time.monotonic() - sign_s > HUNG_S

    def _taken_s(self) -> float:
        """CPU seconds of the process; 0 where there is no /proc, or no process any more."""
        try:
            fields = self._stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    still = _Hung(process, note)
    while process.exitcode is None and not still.now():
        process.join(0.2)
    if process.exitcode is None:
        _end(process)
    if process.exitcode == 0:
        return Finding(target.name, what, f"batch {number} {what}; not one input alone", b"")
    return Finding(target.name, what, what, target.inputs(seed, number)[max(0, note.read()[1])])
