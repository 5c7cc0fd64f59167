"""What demo services say of themselves, and what demo customers pay: fields of ops-events and billing-events."""

from __future__ import annotations

import random
from typing import Any

Event = dict[str, Any]

_SERVICES = ("api", "render", "script-writer", "voice", "uploader")
_MODELS = (("example-ai", "writer-3", 7.4), ("example-voice", "speaker-2", 6.6), ("example-image", "painter-5", 8.0))
_ENDPOINTS = ("/videos", "/videos/{id}", "/channels", "/analytics", "/login")
_PLANS = (("basic", "19.00"), ("pro", "49.00"), ("studio", "199.00"))
#: Of AI calls and requests those that fail.
_FAILED = 0.02
#: Each service says so often that it is well, by the clock, whatever the rate of the other traffic.
HEALTH_INTERVAL_MS = 30_000


def health_fields(at_ms: float) -> list[Event]:
    """What each service says of its health at that time (epoch ms): one is down for a minute of each half hour."""
    minute = int(at_ms // 60_000)
    return [
        {
            "service": service,
            "kind": "health",
            "ok": not (service == "uploader" and minute % 30 == 17),
            "interval_s": HEALTH_INTERVAL_MS // 1000,
        }
        for service in _SERVICES
    ]


def ops_fields(rng: random.Random, begun: str, queued: str) -> Event:
    """One ops event other than health; `begun` is now and `queued` some seconds before (RFC 3339)."""
    draw, service = rng.random(), rng.choice(_SERVICES)
    if draw < 0.5:
        queue = rng.choice(("script", "voice", "image", "upload"))
        return {"service": service, "kind": "queue", "queue": queue, "queued_at": queued, "processing_start": begun}
    if draw < 0.8:
        status = 500 if rng.random() < _FAILED else 200
        took = int(rng.lognormvariate(4.2, 0.6))
        endpoint = rng.choice(_ENDPOINTS)
        return {
            "service": "api",
            "kind": "api_request",
            "endpoint": endpoint,
            "http_status": status,
            "response_time_ms": took,
        }
    provider, model, size = rng.choice(_MODELS)
    took = int(rng.lognormvariate(size, 0.5))
    return {
        "service": "script-writer", "kind": "ai_call", "provider": provider, "model": model,
        "latency_ms": took, "ok": rng.random() >= _FAILED,
    }  # fmt: skip


def billing_fields(rng: random.Random, user_id: int, now: str) -> Event:
    """One billing event of a user: mostly payments, some begin, change or cancel."""
    plan, price = rng.choice(_PLANS)
    base: Event = {"user_id": user_id, "subscription_id": f"sub_{user_id:06d}", "started_at": now, "plan": plan}
    draw = rng.random()
    if draw < 0.6:
        return base | {"kind": "payment", "amount_usd": price}
    if draw < 0.63:
        return base | {"kind": "refund", "amount_usd": price}
    kind = (
        "subscription_started" if draw < 0.85 else "subscription_changed" if draw < 0.95 else "subscription_cancelled"
    )
    return base | {"kind": kind, "mrr_usd": price}
