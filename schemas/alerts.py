"""Alert transitions as they travel on the `alerts` topic and lie in `gold.alerts`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

#: What tables and texts can hold, asked of what is read: one record beyond it stopped all that came after it.
_Ms = Annotated[int, Meta(ge=0, le=10_413_791_999_999)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Hex = Annotated[str, Meta(pattern="^[0-9a-f]{1,64}$")]


class AlertState(StrEnum):
    """Life of an alert instance: inactive, then pending (`for`), firing, and resolved."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class AlertTransition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state of one alert instance; `transition_id` is deterministic, so a repeat has the same id.

    `fingerprint` = hash of rule and labels (never the value). `seq` counts the instance's transitions from 1.
    Times are epoch ms: `event_time_ms` says when by the data, `recorded_at_ms` when by the wall clock.
    `kind` is 'transition', or 'delivery' for the notifier's record that this transition reached its receiver
    (`delivered_at_ms`, `delivery`: 'slack' | 'log' | 'inhibited' | 'failed: reason').
    """

    transition_id: str
    fingerprint: _Hex
    seq: _Count
    rule: str
    severity: str
    state: AlertState
    labels: dict[str, str]
    metric: str
    window: str
    window_start_ms: _Ms
    window_end_ms: _Ms
    value: float | None
    threshold: float
    operator: str
    unit: str
    summary: str
    event_time_ms: _Ms
    recorded_at_ms: _Ms
    version: _Count = 0
    started_at_ms: _Ms = 0
    inhibited_by: str = ""
    kind: str = "transition"
    delivered_at_ms: _Ms = 0
    delivery: str = ""
