"""Items 1, 2, 5 and 6: what commands of their own measure, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.accept.result import Line, say

CHAOS_MINUTES, FAULTS = 30.0, 150
FUZZ_RUNS, HISTORIES = 1_000_000, 50_000
CI_MINUTES = 45.0
_ROOT = Path(__file__).resolve().parents[2]


def _run(*command: str, limit_s: float) -> tuple[int, str, float]:
    """Exit code, what was printed (shown too), seconds."""
    say("  " + " ".join(command))
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        print("    " + line, end="", flush=True)
        if time.monotonic() - begun > limit_s:
            process.kill()
    return process.wait(), "".join(lines), time.monotonic() - begun


def chaos_item(minutes: float, seeds: list[int]) -> Line:
    """The fault run with each seed, one after the other, on three brokers with three workers."""
    measured, held = [], minutes >= CHAOS_MINUTES and len(seeds) >= 3
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="streamproc-chaos-") as folder:
            report = Path(folder) / "report.md"
            command = [sys.executable, "-m", "tests.chaos", "--minutes", f"{minutes:g}", "--seed", str(seed)]
            code, _, _ = _run(*command, "--report", str(report), limit_s=minutes * 60 + 1800)
            text = report.read_text() if report.exists() else ""
        found = re.search(r"(\d+) kills and pauses", text)
        faults = int(found.group(1)) if found else 0
        held = held and code == 0 and faults >= FAULTS
        measured.append(f"seed {seed}: exit code {code}, {faults} kills and pauses")
    wanted = f"{CHAOS_MINUTES:g} min, at least {FAULTS} kills and pauses, nothing wrong, three seeds in a row"
    return Line(1, "the fault run", wanted, "; ".join(measured), held)


def simulator_item() -> Line:
    """50,000 histories, then the planted mistakes."""
    code, text, seconds = _run(
        sys.executable, "-m", "tests.simulation", "--count", str(HISTORIES), "--seed", "1", limit_s=3600
    )
    planted, said, _ = _run(sys.executable, "-m", "pytest", "-q", "tests/simulation", "-k", "plant", limit_s=1800)
    last = said.strip().splitlines()[-1] if said.strip() else ""
    measured = f"exit code {code} after {HISTORIES:,} in {seconds:.0f} s; planted mistakes: {last}"
    wanted = f"{HISTORIES:,} interleavings without a failure; each planted mistake is found"
    return Line(2, "the simulator", wanted, measured, code == 0 and planted == 0 and bool(text))


def fuzz_item(runs: int) -> Line:
    """Every target."""
    code, text, seconds = _run(
        sys.executable, "-m", "tests.fuzz", "--target", "all", "--runs", str(runs), "--seed", "1", limit_s=6 * 3600
    )
    last = text.strip().splitlines()[-1] if text.strip() else ""
    measured = f"exit code {code} after {runs:,} inputs a target, {seconds:.0f} s; {last}"
    wanted = f"{FUZZ_RUNS:,} inputs a target, no crash, no hang over 1 s"
    return Line(5, "fuzzing", wanted, measured, code == 0 and runs >= FUZZ_RUNS)


def ci_item() -> Line:
    """What CI runs, with its fault run and its interleavings."""
    script = (_ROOT / ".ci" / "run").read_text()
    code, text, seconds = _run("bash", ".ci/run", limit_s=CI_MINUTES * 60 + 60)
    has_both = "chaos" in script and "simulate" in script
    summaries = [line for line in text.splitlines() if re.search(r"\d+ passed", line)]
    measured = f"exit code {code} after {seconds / 60:.1f} min; {'; '.join(line.strip('= ') for line in summaries)}"
    wanted = f"a seeded 2-minute fault run and {HISTORIES:,} interleavings within {CI_MINUTES:g} min"
    return Line(6, "CI", wanted, measured, code == 0 and has_both and seconds < CI_MINUTES * 60)
