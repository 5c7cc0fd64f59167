"""Checked structs of ops-events and billing-events to columns; a field that a kind requires must be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.events import (
    BILLING_KINDS,
    OPS_KINDS,
    REQUIRED_BY_BILLING_KIND,
    REQUIRED_BY_OPS_KIND,
    BillingEvent,
    OpsEvent,
)
from streamproc.decode.columns import UNKNOWN, Columns, bad_versions, event_ids, ints
from streamproc.decode.money import parse_amounts
from streamproc.decode.times import parse_times

_OPS_CODES: Final[dict[str, int]] = {kind: code for code, kind in enumerate(OPS_KINDS)}
_BILLING_CODES: Final[dict[str, int]] = {kind: code for code, kind in enumerate(BILLING_KINDS)}
_QUEUE, _API_REQUEST = _OPS_CODES["queue"], _OPS_CODES["api_request"]
_NULL: Final = b"null"


def is_absent(raw: msgspec.Raw) -> bool:
    """Whether an optional amount is not there (or null)."""
    return bytes(raw) == _NULL


def missing_field(event: OpsEvent | BillingEvent) -> str:
    """The first field that the event's kind requires and that is not there; '' if all are."""
    required: Sequence[str]
    if isinstance(event, OpsEvent):
        required = REQUIRED_BY_OPS_KIND[event.kind]
        return next((name for name in required if getattr(event, name) is None), "")
    required = REQUIRED_BY_BILLING_KIND[event.kind]
    return next((name for name in required if is_absent(getattr(event, name))), "")


def ops_event_columns(events: list[OpsEvent]) -> tuple[Columns, set[int]]:
    """Columns of all events, and the positions of those that are not valid (their values are meaningless)."""
    columns, bad = _begun(events, _OPS_CODES)
    queued, bad_queued = _optional_times([event.queued_at for event in events])
    begun, bad_begun = _optional_times([event.processing_start for event in events])
    bad.update(bad_queued, bad_begun)
    columns["service"] = [event.service for event in events]
    columns["ok"] = np.array([event.ok is True for event in events], dtype=np.bool_)
    times = ints([-1 if event.response_time_ms is None else event.response_time_ms for event in events])
    columns["response_time_ms"] = np.where(columns["kind"] == _API_REQUEST, times, -1)
    columns["latency_ms"] = ints([-1 if event.latency_ms is None else event.latency_ms for event in events])
    columns["queue"] = [UNKNOWN if event.queue is None else event.queue for event in events]
    columns["provider"] = [UNKNOWN if event.provider is None else event.provider for event in events]
    columns["queue_e4"] = np.where(columns["kind"] == _QUEUE, (begun - queued) * 10, 0)
    return columns, bad


def billing_event_columns(events: list[BillingEvent]) -> tuple[Columns, set[int]]:
    """Columns of all events, and the positions of those that are not valid (their values are meaningless)."""
    columns, bad = _begun(events, _BILLING_CODES)
    _, bad_times = parse_times([event.started_at for event in events])
    bad.update(bad_times)
    columns["user_id"] = ints([event.user_id for event in events])
    columns["subscription_id"] = [event.subscription_id for event in events]
    columns["mrr_e4"], bad_mrr = _optional_amounts([event.mrr_usd for event in events])
    columns["amount_e4"], bad_amounts = _optional_amounts([event.amount_usd for event in events])
    bad.update(bad_mrr, bad_amounts)
    return columns, bad


def _begun(events: Sequence[Any], codes: Mapping[str, int]) -> tuple[Columns, set[int]]:
    """What both have: ids, times of occurrence, kinds; and the positions where one of them, or a required field, is wrong."""
    columns: Columns = {}
    bad = set(bad_versions([event.schema_version for event in events]))
    bad.update(event_ids([event.event_id for event in events], [], columns))
    columns["occurred_at_ms"], bad_times = parse_times([event.occurred_at for event in events])
    bad.update(bad_times)
    columns["kind"] = np.array([codes[event.kind] for event in events], dtype=np.int8)
    bad.update(position for position, event in enumerate(events) if missing_field(event))
    return columns, bad


def _optional_times(texts: list[str | None]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Epoch ms of each text that is there (0 elsewhere), and the positions of the bad ones."""
    present = [position for position, text in enumerate(texts) if text is not None]
    ms, bad = parse_times([text for text in texts if text is not None])
    whole = np.zeros(len(texts), dtype=np.int64)
    whole[present] = ms
    return whole, [present[position] for position in bad]


def _optional_amounts(raws: list[msgspec.Raw]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """1/10000 USD of each amount that is there (0 elsewhere), and the positions of the bad ones."""
    present = [position for position, raw in enumerate(raws) if not is_absent(raw)]
    amounts, bad = parse_amounts([raws[position] for position in present])
    whole = np.zeros(len(raws), dtype=np.int64)
    whole[present] = amounts
    return whole, [present[position] for position in bad]
