"""Records that break one written rule each, made from the text of a valid event; only such that contracts leave no doubt."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

#: Takes the JSON text of a valid event, gives the value to send (None: a tombstone).
Breaker = Callable[[str], bytes | None]

MIB = 1 << 20


def _with(more: str) -> Breaker:
    """The event with one more member, in the bytes given as text."""
    return lambda text: f"{text[:-1]},{more}}}".encode()


def _put(name: str, value: str) -> Breaker:
    """The event with this value (JSON text) in the place of a member's own."""
    own = re.compile(rf'"{name}":("[^"]*"|[^,}}]+)')
    return lambda text: own.sub(lambda _: f'"{name}":{value}', text, count=1).encode()


def _drop(name: str) -> Breaker:
    own = re.compile(rf'"{name}":("[^"]*"|[^,}}]+),?')
    return lambda text: own.sub("", text, count=1).replace(",}", "}").encode()


def _nested(text: str) -> bytes:
    return f'{text[:-1]},"deep":{"[" * 10_000}{"]" * 10_000}}}'.encode()


ANY: tuple[Breaker, ...] = (
    lambda _: None,
    lambda _: b"",
    lambda _: b" ",
    lambda _: b"null",
    lambda _: b"canary-0 is no JSON",
    lambda _: b"\x00\x01\x02\xff",
    lambda text: text.encode()[:-1],
    lambda text: text.encode()[: len(text) // 3],
    lambda text: text.encode() + b"}",
    lambda text: text.encode() + text.encode(),
    lambda text: b"[" + text.encode() + b"]",
    lambda text: text.encode().replace(b":", b"=", 1),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode()[:-1] + b',"note":"\xc3\x28"}',
    lambda text: text.encode()[:-1] + b',"note":"\xed\xa0\x80"}',
    lambda text: text.encode()[:-1] + b',"note":"tab\there"}',
    _nested,
    _with('"x":NaN'),
    _with('"x":Infinity'),
    _with('"x":+1'),
    _with('"x":01'),
    _with('"x":.5'),
    _with("x:1"),
    _with('"x":1,'),
    _with('"x":"\\q"'),
    _with('"x":// note\n1'),
    _drop("event_id"),
    _drop("occurred_at"),
    _drop("schema_version"),
    _put("event_id", "null"),
    _put("event_id", '"canary-id"'),
    _put("event_id", '"{00000000-0000-4000-8000-000000000000}"'),
    _put("event_id", "12"),
    _put("schema_version", "1"),
    _put("schema_version", '"1.0"'),
    _put("schema_version", '"one"'),
    _put("occurred_at", "1772359200"),
    _put("occurred_at", '"yesterday"'),
    _put("occurred_at", '"2026-13-01T00:00:00Z"'),
    _put("occurred_at", '"2026-02-29T00:00:00Z"'),
    _put("occurred_at", '"2026-01-01T00:00:00"'),
    _put("occurred_at", '"2026-01-01 00:00:00Z"'),
    _put("occurred_at", '"2026-01-01T00:00:00.1234567891Z"'),
    _put("occurred_at", '"2026-01-01T00:00:00+0100"'),
)

BY_TOPIC: dict[str, tuple[Breaker, ...]] = {
    "user-events": (
        _put("user_id", '"7"'),
        _put("user_id", '"canary-user@example.com"'),
        _put("user_id", "true"),
        _put("user_id", "1.5"),
        _put("user_id", "9223372036854775808"),
        _put("user_id", f"1{'0' * 400}"),
        _put("user_id", "[1]"),
        _drop("user_id"),
        _put("activity_type", "null"),
        _put("activity_type", "5"),
        _with('"resource_id":"x"'),
        _with('"session_id":"not-a-uuid"'),
    ),
    "video-status": (
        _put("status", '"rendered"'),
        _put("status", "null"),
        _put("video_id", '"12"'),
        _put("video_id", "-9223372036854775809"),
        _drop("channel_id"),
        _drop("requested_at"),
        _put("requested_at", '"soon"'),
        _put("user_id", "false"),
        _with('"quality_score":1.01'),
        _with('"quality_score":"0.5"'),
        _with('"duration_seconds":12.5'),
    ),
    "cost-events": (
        _put("component", '"travel"'),
        _put("component", "null"),
        _drop("amount_usd"),
        _put("amount_usd", '"canary-amount"'),
        _put("amount_usd", '"1,50"'),
        _put("amount_usd", '"$1"'),
        _put("amount_usd", "true"),
        _put("amount_usd", "null"),
        _put("amount_usd", '"Infinity"'),
        _with('"corrects":"me"'),
    ),
    "ops-events": (
        _put("service", "null"),
        _put("service", "7"),
        _put("kind", '"heartbeat"'),
        _put("ok", "1"),
        _put("ok", '"true"'),
        _drop("ok"),
        _drop("interval_s"),
        _put("interval_s", "-1"),
        _put("interval_s", "1.5"),
        _with('"queued_at":"soon"'),
        _with('"latency_ms":-1'),
        _with('"provider":5'),
    ),
}


def broken(rng: random.Random, topic: str, text: str) -> bytes | None:
    """A valid event's text broken in one way."""
    ways = BY_TOPIC[topic] if rng.random() < 0.4 else ANY
    return rng.choice(ways)(text)


def oversized(text: str) -> bytes:
    """A well-formed event of just over 1 MiB."""
    return f'{text[:-1]},"padding":"{"p" * MIB}"}}'.encode()
