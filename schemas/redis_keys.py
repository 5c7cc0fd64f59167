"""Redis key patterns (prefix `sp:`): who reads them is in contracts; only the merge agent's sink writes live values."""

from __future__ import annotations

ALIASES: dict[tuple[str, str], str] = {
    ("active_users", "1d"): "dau",
    ("total_cost_usd", "1d"): "daily_burn_rate_usd",
}

#: How many windows a series keeps, by window.
SERIES_LENGTH: dict[str, int] = {"1m": 120, "5m": 288, "1h": 168, "1d": 35}

ENTITY_TTL_S = 48 * 3600


def _dim(dimension: str, value: str) -> str:
    return f":{dimension}={value}" if dimension else ""


def live(prefix: str, metric: str, window: str, dimension: str = "", value: str = "") -> str:
    """Hash with the newest window of a metric."""
    return f"{prefix}live:{metric}:{window}{_dim(dimension, value)}"


def series(prefix: str, metric: str, window: str, dimension: str = "", value: str = "") -> str:
    """Hash window_start (epoch s) -> value."""
    return f"{prefix}series:{metric}:{window}{_dim(dimension, value)}"


def series_versions(prefix: str, metric: str, window: str, dimension: str = "", value: str = "") -> str:
    """Hash window_start -> version, beside the series, so that an older value never replaces a newer one."""
    return f"{prefix}series-version:{metric}:{window}{_dim(dimension, value)}"


def entity(prefix: str, metric: str, value: str) -> str:
    """Hash with the running total of one entity."""
    return f"{prefix}entity:{metric}:{value}"


def alert(prefix: str, fingerprint: str) -> str:
    """Hash with the state of an alert instance."""
    return f"{prefix}alert:{fingerprint}"


def instance(prefix: str) -> str:
    """Marker with a random value: if it is gone, so is everything else that was written."""
    return f"{prefix}meta:instance"


def updates(prefix: str) -> str:
    """Pub/sub channel: one JSON message a changed live value."""
    return f"{prefix}updates"


def daily(prefix: str, metric: str) -> str:
    """Hash with the newest day's value of a daily metric."""
    return f"{prefix}daily:{metric}"


def job_lease(prefix: str, job: str) -> str:
    """Who runs a job now: `owner/fence`, gone when the lease is over."""
    return f"{prefix}job:lease:{job}"


def job_fence(prefix: str, job: str) -> str:
    """The highest fence that was ever given out for a job."""
    return f"{prefix}job:fence:{job}"
