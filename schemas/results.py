"""What the merge agent hands to sinks and to the alert engine: cells as stored, and values as published."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

#: Window names and their sizes in milliseconds, smallest first; `all` (entity totals) has no size.
SIZES_MS: Final[dict[str, int]] = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
ALL: Final = "all"
#: Size of a daily metric of the warehouse, in rules and alerts.
DAY: Final = "day"
DAY_MS: Final = SIZES_MS["1d"]

OPEN: Final = "open"
FINAL: Final = "final"
CORRECTED: Final = "corrected"
STATUS_RANK: Final[dict[str, int]] = {OPEN: 0, FINAL: 1, CORRECTED: 2}


#: What a column DateTime64(3) holds: 1900 to 2299. A record that says otherwise is not readable, instead of refused later.
EpochMs = Annotated[int, msgspec.Meta(ge=-2_208_988_800_000, le=10_413_791_999_999)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """One absolute value of one window as seen from one source; per (measure .. source) the higher version wins.

    `size` is '1m' | '5m' | '1h' | '1d' | 'all'; `start_ms` is epoch ms (for 'all': the log day that the part covers).
    `source` is 'topic/partition/log_id'; `version` is the last source offset that the cell includes.
    `data` is the accumulator as bytes (streamproc/windows/accumulators).
    """

    measure: str
    dimension: str
    dimension_value: str
    size: str
    start_ms: EpochMs
    source: str
    version: Offset
    data: bytes


class MetricValue(msgspec.Struct, frozen=True):
    """One published value of one metric: a window (size 1m .. 1d) or an entity total (size 'all').

    `value` is in the metric's unit (money in USD), None for null; `sum_e4` is the underlying sum in 1/10000 of the
    unit, exact. `window_start_ms`/`window_end_ms` are epoch ms (0 for entity totals). `version` grows with what is
    known (design.md section 3). `late` counts events taken in after the window's end. `complete` is False while
    stored cells could not be read yet (ClickHouse away): such a value never resolves an alert.
    """

    metric: str
    size: str
    dimension: str
    dimension_value: str
    window_start_ms: int
    window_end_ms: int
    value: float | None
    count: int
    sum_e4: int
    status: str
    late: int
    version: int
    updated_at_ms: int
    complete: bool = True
