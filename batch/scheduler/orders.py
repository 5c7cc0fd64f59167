"""What a job's process is told, and what it answers: one JSON line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


class Order(msgspec.Struct, frozen=True):
    """One attempt for a process: `body` is `module:function`; lease and fence that it must see before every step.

    `valid_ms` is for how long the lease was surely held when the order was given.
    """

    job: str
    body: str
    day: str
    scheduled_ms: int
    lease_key: str
    lease_value: str
    valid_ms: int


class Said(msgspec.Struct, omit_defaults=True):
    """A line of the process: a step of its progress, or (`ended`) its result; an `error` is '' when all went well.

    `is_final`: another attempt would fail as well.
    """

    step: str = ""
    done: int | None = None
    total: int | None = None
    ended: bool = False
    rows: int = 0
    quota_units: int = 0
    error: str = ""
    is_final: bool = False
    details: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a body returns: rows written, units of a quota spent, and figures of its own for the books."""

    rows: int = 0
    quota_units: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
