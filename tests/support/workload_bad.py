"""Ways to break a valid message, each against one written rule; only such that the contracts leave no doubt about."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.support.events import COST_EVENTS, USER_EVENTS, VIDEO_STATUS

Breaker = Callable[[bytes], bytes | None]

MIB = 1024 * 1024


def _sub(pattern: str, replacement: str) -> Breaker:
    compiled = re.compile(pattern.encode())
    text = replacement.encode()
    return lambda value: compiled.sub(lambda _: text, value, count=1)


_ANY: dict[str, Breaker] = {
    "nothing": lambda _: b"",
    "tombstone": lambda _: None,
    "cut off": lambda value: value[: len(value) // 2],
    "trailing text": lambda value: value + b" x",
    "two documents": lambda value: value + b"{}",
    "an array": lambda value: b"[" + value + b"]",
    "a word": lambda _: b"hello",
    "single quotes": lambda value: value.replace(b'"', b"'"),
    "no UTF-8": lambda value: value[:-1] + b',"note":"\xff\xfe"}',
    "raw newline in text": lambda value: value[:-1] + b',"note":"a\nb"}',
    "NaN": lambda value: value[:-1] + b',"extra":NaN}',
    "Infinity": lambda value: value[:-1] + b',"extra":-Infinity}',
    "trailing comma": lambda value: value[:-1] + b",}",
    "no event_id": _sub(r'"event_id":"[^"]*",', ""),
    "event_id without hyphens": _sub(r'"event_id":"[^"]*"', '"event_id":"0123456789abcdef0123456789abcdef"'),
    "event_id is a number": _sub(r'"event_id":"[^"]*"', '"event_id":7'),
    "no schema_version": _sub(r'"schema_version":"[^"]*",', ""),
    "schema_version is no semver": _sub(r'"schema_version":"[^"]*"', '"schema_version":"latest"'),
    "occurred_at without offset": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":"2026-03-01T10:00:00"'),
    "occurred_at with a space": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":"2026-03-01 10:00:00Z"'),
    "occurred_at is no day": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":"2026-02-30T10:00:00Z"'),
    "occurred_at has ten decimals": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":"2026-03-01T10:00:00.1234567890Z"'),
    "occurred_at is a number": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":1772359200000'),
    "occurred_at is null": _sub(r'"occurred_at":"[^"]*"', '"occurred_at":null'),
}

_OF_TOPIC: dict[str, dict[str, Breaker]] = {
    USER_EVENTS: {
        "user_id as text": _sub(r'"user_id":\d+', '"user_id":"12"'),
        "user_id is a boolean": _sub(r'"user_id":\d+', '"user_id":true'),
        "user_id above 64 bits": _sub(r'"user_id":\d+', '"user_id":36893488147419103232'),
        "user_id with decimals": _sub(r'"user_id":\d+', '"user_id":1.5'),
        "no activity_type": _sub(r'"activity_type":"[^"]*"', '"activity":"x"'),
        "negative response time": lambda value: (
            value[:-1].replace(b'"response_time_ms"', b'"rt"') + b',"response_time_ms":-1}'
        ),
        "session_id is no UUID": lambda value: value[:-1].replace(b'"session_id"', b'"s"') + b',"session_id":"abc"}',
        "user_agent is a number": lambda value: value[:-1].replace(b'"user_agent"', b'"u"') + b',"user_agent":5}',
    },
    VIDEO_STATUS: {
        "unknown status": _sub(r'"status":"[^"]*"', '"status":"rendering"'),
        "no video_id": _sub(r'"video_id":\d+,', ""),
        "started without its time": _sub(r'"status":.*', '"status":"started","requested_at":"2026-03-01T10:00:00Z"}'),
        "published without its id": _sub(
            r'"status":.*',
            '"status":"published","requested_at":"2026-03-01T10:00:00Z","started_at":"2026-03-01T10:00:01Z",'
            '"completed_at":"2026-03-01T10:01:00Z","published_at":"2026-03-01T10:02:00Z"}',
        ),
        "quality_score above 1": lambda value: (
            value[:-1].replace(b'"quality_score"', b'"q"') + b',"quality_score":1.5}'
        ),
    },
    COST_EVENTS: {
        "unknown component": _sub(r'"component":"[^"]*"', '"component":"coffee"'),
        "amount is a word": _sub(r'"amount_usd":("[^"]*"|[\d.]+)', '"amount_usd":"much"'),
        "amount is NaN as text": _sub(r'"amount_usd":("[^"]*"|[\d.]+)', '"amount_usd":"NaN"'),
        "amount is null": _sub(r'"amount_usd":("[^"]*"|[\d.]+)', '"amount_usd":null'),
        "amount is a boolean": _sub(r'"amount_usd":("[^"]*"|[\d.]+)', '"amount_usd":true'),
    },
}


def ways(topic: str) -> dict[str, Breaker]:
    """Every way to break a message of a topic, by its name."""
    return _ANY | _OF_TOPIC.get(topic, {})


def malformed(rng: random.Random, topic: str, value: bytes) -> bytes | None:
    """A valid value broken in one way."""
    return rng.choice(list(ways(topic).values()))(value)


def oversized(head: str) -> bytes:
    """A well-formed user event of just above 1 MiB; `head` is an open JSON object."""
    return f'{head},"user_id":1,"activity_type":"view_video","padding":"{"x" * MIB}"}}'.encode()
