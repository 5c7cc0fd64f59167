"""What all makers of the month share: census, decks of kinds, spellings of times and ids, the log of a topic."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Value = str | bytes | None


class Census(Counter[str]):
    """How often each kind of content was made; a kind that was declared and never made stands at 0."""

    def declare(self, topic: str, kinds: Sequence[str]) -> None:
        for kind in kinds:
            self[f"{topic}: {kind}"] += 0

    def note(self, topic: str, kind: str) -> None:
        self[f"{topic}: {kind}"] += 1


class Deck:
    """Deals kinds shuffled round by round: however small the month, a kind cannot be missing by bad luck."""

    def __init__(self, rng: random.Random, census: Census, topic: str, cards: dict[str, int]) -> None:
        self._rng, self._census, self._topic, self._cards = rng, census, topic, cards
        self._left: list[str] = []
        census.declare(topic, list(cards))

    def deal(self) -> str:
        """The next kind, noted in the census."""
        if not self._left:
            # One of each comes first, then as many as their weight says.
            rest = [kind for kind, number in self._cards.items() for _ in range(number - 1)]
            first = list(self._cards)
            self._rng.shuffle(rest)
            self._rng.shuffle(first)
            self._left = rest + first
        kind = self._left.pop()
        self._census.note(self._topic, kind)
        return kind


def iso(epoch_ms: int) -> str:
    """Epoch ms as YYYY-MM-DDTHH:MM:SS.mmm, without an offset."""
    seconds, millis = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{millis:03d}"


def spelled(rng: random.Random, epoch_ms: int) -> str:
    """The same instant (cut to ms) in one of the spellings that RFC 3339 allows."""
    draw = rng.random()
    if draw < 0.85:
        return f"{iso(epoch_ms)}Z"
    if draw < 0.90:
        return f"{iso(epoch_ms)}{rng.randrange(1000):03d}Z"
    if draw < 0.93:
        return f"{iso(epoch_ms)}999999Z"
    if draw < 0.96:
        return f"{iso(epoch_ms + 19_800_000)}+05:30"
    if draw < 0.99:
        return f"{iso(epoch_ms - 8 * HOUR)}-08:00"
    return f"{iso(epoch_ms)}+00:00"


def new_uuid(rng: random.Random) -> str:
    """Random, lower case."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def text(value: object) -> str:
    """A value as JSON text."""
    return orjson.dumps(value).decode()


class Log:
    """The records of one topic; they are written in order of time, and as they were added where times are equal."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._lines: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, ts: int, key: str | None, value: Value) -> None:
        """One record; bytes are values that are no UTF-8."""
        if isinstance(value, bytes):
            record: dict[str, object] = {"ts": ts, "key": key, "value_b64": base64.b64encode(value).decode()}
        else:
            record = {"ts": ts, "key": key, "value": value}
        self._lines.append((ts, orjson.dumps(record)))

    def write(self, directory: Path) -> Path:
        """TOPIC.ndjson in the directory."""
        self._lines.sort(key=lambda line: line[0])
        path = directory / f"{self.topic}.ndjson"
        with path.open("wb", buffering=1 << 20) as out:
            for _, line in self._lines:
                out.write(line + b"\n")
        return path


def spread(rng: random.Random, total: float, parts: int) -> Iterator[int]:
    """Whole numbers, one a part, that add up to about `total`."""
    for _ in range(parts):
        share = total / max(parts, 1)
        yield int(share) + (rng.random() < share % 1)
