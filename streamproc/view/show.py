"""Runs the view until cancelled: redrawn each second in a terminal, else a status line every five seconds."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.live import Live

from streamproc.embedded.journal import Journal
from streamproc.embedded.stack import StackOptions
from streamproc.view.collector import Collector
from streamproc.view.hints import hints, links
from streamproc.view.render import render, status_line

REDRAW_S = 1.0
STATUS_EVERY_S = 5.0


def print_hints(options: StackOptions) -> None:
    """Print the commands to paste, unwrapped and without frames, so that they survive copying."""
    print("\nWhere to look next (in another terminal):")
    for what, command in hints(options):
        print(f"\n  # {what}\n  {command}")
    print(f"\n  {links(options)}\n", flush=True)


async def show_live(collector: Collector, options: StackOptions) -> None:
    """Redraw the view until cancelled."""
    console = Console()
    where = links(options)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            shot = await collector.snapshot()
            live.update(render(shot, console.width, console.height - 1, where), refresh=True)
            await asyncio.sleep(REDRAW_S)


async def show_lines(collector: Collector, journal: Journal) -> None:
    """Say a status line every few seconds until cancelled; the readings between keep the rates current."""
    while True:
        for _ in range(int(STATUS_EVERY_S / REDRAW_S)):
            shot = await collector.snapshot()
            await asyncio.sleep(REDRAW_S)
        journal.say(status_line(shot))
