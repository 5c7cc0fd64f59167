"""`python -m tests.chaos --minutes 30 --seed 1`: the fault run; exit code 1 on any violation."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
import time

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.options import Options, parse
from tests.chaos.result import Result, as_json, markdown
from tests.chaos.run import Run


async def _run(options: Options, console: Console) -> Result:
    """The run under a progress bar; Ctrl-C and SIGTERM take everything down in order."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=60 * options.minutes)
        began = time.monotonic()

        def say(text: str) -> None:
            progress.update(bar, description=text, completed=time.monotonic() - began)
            if not console.is_terminal:
                print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

        return await Run(options, say).go()


def main() -> int:
    """0: all promises held; 1: violations; 130: interrupted."""
    options = parse()
    # Brokers that are away are part of the game: aiokafka tells of each several times a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    try:
        result = asyncio.run(_run(options, console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print(f"interrupted; data and logs: {options.directory}", file=sys.stderr)
        return 130
    report = markdown(result)
    for place in (options.report, options.directory / "report.md"):
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(report, encoding="utf-8")
            place.with_suffix(".json").write_text(json.dumps(as_json(result), indent=1), encoding="utf-8")
    out = Console()
    out.print(Markdown(report)) if out.is_terminal else print(report)
    if result.violations:
        print(f"data and logs: {options.directory}\nreplay: {options.replay}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(options.directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
