"""Targets that go wrong on purpose: what the tests of the fuzzer itself must find."""

from __future__ import annotations

import os
import random
import time

from tests.fuzz.target import Target, Wrong, each

BAD = b"bad"


def _make(rng: random.Random) -> bytes:
    return b"xx" + BAD + b"yy" if rng.random() < 0.01 else rng.randbytes(4).hex().encode()


def _wrong(value: bytes) -> None:
    if BAD in value:
        raise Wrong("planted")


def _crash(value: bytes) -> None:
    if BAD in value:
        os._exit(77)


def _slow(value: bytes) -> None:
    until = time.process_time() + (1.2 if BAD in value else 0.0)
    while time.process_time() < until:
        pass


def _endless(value: bytes) -> None:
    while BAD in value:
        pass


PLANTED: dict[str, Target] = {
    name: Target(name, "goes wrong on purpose", _make, each(check), 100, cheap=False)
    for name, check in (
        ("planted-wrong", _wrong),
        ("planted-crash", _crash),
        ("planted-slow", _slow),
        ("planted-endless", _endless),
    )
}
