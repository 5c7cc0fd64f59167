"""Draws a snapshot: a rich renderable for terminals, and one plain line for everything else."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streamproc.embedded.durations import format_duration
from streamproc.view.snapshot import WINDOWS, Snapshot, shown_bytes, shown_number

_SIDE_BY_SIDE = 118
_STATE_STYLE = {"ready": "green", "starting": "yellow", "waiting": "red", "stopped": "dim"}
_HEADINGS = {"1m": "this minute", "5m": "5 minutes", "1h": "this hour", "1d": "today (UTC)"}


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
    """The live view for a terminal of that size; messages are left out first where the height is short."""
    processes = _processes(shot)
    if width >= _SIDE_BY_SIDE:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(_metrics(shot), processes)
        top: RenderableType = grid
        used = len(shot.live) + 10
    else:
        top = Group(_metrics(shot), processes)
        used = len(shot.live) + len(shot.processes) + 14
    parts: list[RenderableType] = [_header(shot), top, _alerts(shot)]
    room = height - used - max(1, len(shot.alerts[:4])) - 3
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
    closed = f"{datetime.fromtimestamp(max(starts), UTC):%H:%M} closed" if starts else "last minute"
    table = Table(title="Live values (Redis)" if shot.redis_up else "Redis is away", title_justify="left", expand=False)
    table.add_column("metric", style="cyan", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    table.add_column(closed, justify="right", no_wrap=True)
    for window in WINDOWS:
        table.add_column(_HEADINGS[window], justify="right", no_wrap=True)
    for row in shot.live:
        table.add_row(
            row.metric.name,
            row.metric.unit,
            shown_number(row.closed),
            *(shown_number(row.values.get(window, "")) for window in WINDOWS),
        )
    return table


def _processes(shot: Snapshot) -> RenderableType:
    table = Table(title="Processes", title_justify="left")
    for name, justify in (
        ("part", "left"),
        ("state", "left"),
        ("pid", "right"),
        ("memory", "right"),
        ("restarts", "right"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for row in shot.processes:
        table.add_row(
            row.name,
            Text(row.state, style=_STATE_STYLE.get(row.state, "")),
            str(row.pid or "–"),
            shown_bytes(row.rss_bytes) if row.rss_bytes else "–",
            Text(str(row.restarts), style="red" if row.restarts else "dim"),
        )
    return table


def _alerts(shot: Snapshot) -> RenderableType:
    windows = f"gold.windows: {_count(shot.window_rows)} rows, {_count(shot.final_rows)} final or corrected"
    lines = [Text(windows if shot.clickhouse_up else "ClickHouse is away", style="" if shot.clickhouse_up else "red")]
    if not shot.alerts:
        lines.append(Text("no alert is firing", style="green"))
    for alert in shot.alerts[:4]:
        style = "bold red" if alert.severity == "critical" else "bold yellow"
        lines.append(Text(f"{alert.severity.upper()} {alert.rule} since {alert.since}: {alert.summary}", style=style))
    if len(shot.alerts) > 4:
        lines.append(Text(f"and {len(shot.alerts) - 4} more", style="dim"))
    return Group(*lines)


def _messages(shot: Snapshot, lines: int, width: int) -> RenderableType:
    body = Text("\n").join(
        Text.assemble((f"{name:>12} | ", "dim"), text[: max(20, width - 22)]) for name, text in shot.messages[-lines:]
    )
    return Panel(body, title="newest log lines", title_align="left", border_style="dim")
