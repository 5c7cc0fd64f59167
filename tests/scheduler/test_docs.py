"""The table of jobs in docs/scheduler.md is that of the code."""

from __future__ import annotations

from batch.scheduler.table import JOBS, Job
from tests.docs.pages import ROOT


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and (seconds / size).is_integer():
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def row(job: Job) -> str:
    """One line of the table."""
    name = f"`{job.id}`" + ("" if job.is_available else " (not available)")
    waits = ", ".join(f"`{each}`" for each in job.depends_on) or "–"
    times = " | ".join(_time(each) for each in (job.grace_s, job.timeout_s, job.late_s))
    return f"| {name} | `{job.schedule}` | {job.purpose} | {waits} | {times} | {job.retries + 1} |"


def test_every_job_has_its_line() -> None:
    """In the order of the table."""
    text = (ROOT / "docs/scheduler.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `") and line.endswith("| 3 |")]
    assert lines == [row(job) for job in JOBS]
