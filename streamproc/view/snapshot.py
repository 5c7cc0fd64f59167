"""One look at the running stack: plain values, made by the collector and shown by the renderers."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamproc.catalogue import METRICS, Metric

#: Metrics of the view: all with windows, in the catalogue's order.
SHOWN: tuple[Metric, ...] = tuple(metric for metric in METRICS if not metric.entity)
WINDOWS = ("1m", "5m", "1h", "1d")


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A part: `rss_bytes` is 0 when unknown, `pid` is 0 when it does not run."""

    name: str
    state: str
    pid: int
    rss_bytes: int
    restarts: int


@dataclass(frozen=True, slots=True)
class LiveRow:
    """Values of a metric as Redis holds them, by window; '' is null. `closed` is the last complete minute."""

    metric: Metric
    values: dict[str, str]
    closed: str = ""
    closed_start_s: int = 0


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A firing alert."""

    rule: str
    severity: str
    summary: str
    since: str


@dataclass(slots=True)
class Snapshot:
    """What was seen. Rates are per second over the last seconds; None means that nobody could say."""

    uptime_s: float = 0.0
    for_s: float | None = None
    processes: list[ProcessRow] = field(default_factory=list)
    events_per_s: float | None = None
    published_per_s: float | None = None
    events: int = 0
    lag: float | None = None
    dead_letters: int = 0
    duplicates: int = 0
    late: int = 0
    sink_errors: int = 0
    down: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    redis_up: bool = False
    clickhouse_up: bool = False
    live: list[LiveRow] = field(default_factory=list)
    window_rows: int | None = None
    final_rows: int | None = None
    alerts: list[AlertRow] = field(default_factory=list)
    firing: int | None = None
    messages: list[tuple[str, str]] = field(default_factory=list)
    recycles: int = 0

    @property
    def memory_bytes(self) -> int:
        """Resident memory of all parts."""
        return sum(row.rss_bytes for row in self.processes)

    @property
    def troubles(self) -> list[str]:
        """What does not work just now, in words."""
        away = [
            f"{name} is away" for name, up in (("Redis", self.redis_up), ("ClickHouse", self.clickhouse_up)) if not up
        ]
        return [
            *away,
            *(f"{name} takes no writes" for name in self.down),
            *(f"{name} is paused" for name in self.paused),
        ]

    def value(self, metric: str, window: str) -> str:
        """The value of a metric as Redis holds it; '' if null or unknown."""
        return next((row.values.get(window, "") for row in self.live if row.metric.name == metric), "")


def shown_number(text: str) -> str:
    """A value as a person reads it: thousands separated, at most two decimals, a dash for null."""
    if text == "":
        return "–"
    try:
        number = float(text)
    except ValueError:
        return text
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:,.2f}"


def shown_bytes(count: int) -> str:
    """Bytes as whole megabytes."""
    return f"{count / 1_000_000:,.0f} MB"
