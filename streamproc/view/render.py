"""Draws a snapshot: a rich renderable for terminals, and one plain line for everything else."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streamproc.embedded.durations import format_duration
from streamproc.view.snapshot import WINDOWS, Snapshot, shown_bytes, shown_number

_SIDE_BY_SIDE = 124
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] ")
_STATE_STYLE = {"ready": "green", "starting": "yellow", "waiting": "red", "stopped": "dim"}
_HEADINGS = {"1m": "1m now", "5m": "5m now", "1h": "1h now", "1d": "UTC day"}


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}/s"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _uptime(shot: Snapshot) -> str:
    text = format_duration(shot.uptime_s)
    return f"{text} of {format_duration(shot.for_s)}" if shot.for_s else text


def status_line(shot: Snapshot) -> str:
    """One line with the figures that say whether it works."""
    alerts = ", ".join(f"{row.rule} ({row.severity})" for row in shot.alerts[:3])
    figures = [
        f"in {_rate(shot.events_per_s)}",
        f"out {_rate(shot.published_per_s)}",
        f"lag {_count(shot.lag)}",
        f"events {shot.events:,}",
        f"windows {_count(shot.window_rows)}",
        f"dau {shown_number(shot.value('active_users', '1d'))}",
        f"videos {shown_number(shot.value('videos_completed', '1d'))}",
        f"cost today {shown_number(shot.value('total_cost_usd', '1d'))} USD",
        f"p95 {shown_number(shot.value('api_response_time_p95_ms', '1m'))} ms",
        f"alerts {len(shot.alerts)}{' ' + alerts if alerts else ''}",
        f"dead letters {shot.dead_letters:,}",
        f"memory {shown_bytes(shot.memory_bytes)}",
    ]
    return f"{_uptime(shot)}: " + "  ".join([*figures, *(trouble.upper() for trouble in shot.troubles)])


def render(shot: Snapshot, width: int, height: int, links: str = "") -> RenderableType:
    """The live view for a terminal of that size; fits 80 x 24, and shows more where there is room."""
    header = [_header(shot), _alerts(shot)]
    used = 7 + len(shot.troubles[:1]) + max(1, len(shot.alerts[:4])) + len(shot.live)
    if width >= _SIDE_BY_SIDE:
        grid = Table.grid(padding=(0, 3))
        grid.add_row(_metrics(shot), _processes(shot))
        parts: list[RenderableType] = [*header, grid]
    elif height - used >= len(shot.processes) + 3:
        parts = [*header, _metrics(shot), _processes(shot)]
        used += len(shot.processes) + 1
    else:
        parts = [*header, _metrics(shot), _processes_short(shot)]
        used += 2
    room = height - used - 4
    if room > 0 and shot.messages:
        parts.append(_messages(shot, min(room, 6), width))
    if links:
        parts.append(Text(links, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _header(shot: Snapshot) -> RenderableType:
    text = Text.assemble(
        (f"in {_rate(shot.events_per_s)}", "bold green"),
        f"  out {_rate(shot.published_per_s)}",
        (f"  lag {_count(shot.lag)}", "yellow" if shot.lag else ""),
        f"  events {shot.events:,}  duplicates {shot.duplicates:,}  late {shot.late:,}",
        (f"  dead letters {shot.dead_letters:,}", "yellow" if shot.dead_letters else ""),
        (f"  sink errors {shot.sink_errors:,}" if shot.sink_errors else "", "red"),
        f"  memory {shown_bytes(shot.memory_bytes)}",
        (f"\n{'; '.join(shot.troubles)}" if shot.troubles else "", "bold red"),
    )
    return Panel(text, title=f"streamproc  {_uptime(shot)}", title_align="left")


def _metrics(shot: Snapshot) -> RenderableType:
    starts = [row.closed_start_s for row in shot.live if row.closed_start_s]
    closed = f"{datetime.fromtimestamp(max(starts), UTC):%H:%M} closed" if starts else "1m closed"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("live values (Redis)" if shot.redis_up else "Redis is away", style="cyan", no_wrap=True)
    table.add_column(closed, justify="right", no_wrap=True)
    for window in WINDOWS:
        table.add_column(_HEADINGS[window], justify="right", no_wrap=True, min_width=7)
    for row in shot.live:
        values = (shown_number(row.values.get(window, "")) for window in WINDOWS)
        table.add_row(row.metric.name, shown_number(row.closed), *values)
    return table


def _processes(shot: Snapshot) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("process", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("pid", "memory", "restarts"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shot.processes:
        table.add_row(
            row.name,
            Text(row.state, style=_STATE_STYLE.get(row.state, "")),
            str(row.pid or "–"),
            shown_bytes(row.rss_bytes) if row.rss_bytes else "–",
            Text(str(row.restarts), style="red" if row.restarts else "dim"),
        )
    return table


def _processes_short(shot: Snapshot) -> RenderableType:
    shown = [
        Text.assemble(
            (row.name, _STATE_STYLE.get(row.state, "")),
            f" {shown_bytes(row.rss_bytes)}" if row.state == "ready" else f" {row.state}",
            f" ({row.restarts} restarts)" if row.restarts else "",
        )
        for row in shot.processes
    ]
    return Text("  ").join(shown)


def _alerts(shot: Snapshot) -> RenderableType:
    if not shot.clickhouse_up:
        count = "unknown number of" if shot.firing is None else str(shot.firing)
        return Text(f"{count} alerts firing; what they are is known again when ClickHouse is back", style="yellow")
    lines = [Text(f"gold.windows: {_count(shot.window_rows)} rows, {_count(shot.final_rows)} final or corrected")]
    if not shot.alerts:
        lines.append(Text("no alert is firing", style="green"))
    for alert in shot.alerts[:4]:
        style = "bold red" if alert.severity == "critical" else "bold yellow"
        lines.append(Text(f"{alert.severity.upper()} {alert.rule} since {alert.since}: {alert.summary}", style=style))
    if len(shot.alerts) > 4:
        lines.append(Text(f"and {len(shot.alerts) - 4} more", style="dim"))
    return Group(*lines)


def _messages(shot: Snapshot, lines: int, width: int) -> RenderableType:
    """The newest lines without their time and level, which would take half of the width."""
    body = Text("\n").join(
        Text.assemble((f"{name:>12} | ", "dim"), _STAMP.sub("", text)[: max(20, width - 22)])
        for name, text in shot.messages[-lines:]
    )
    return Panel(body, title="newest log lines", title_align="left", border_style="dim")
