"""Which record of a repeated event_id counts, in words of its own: nothing of streamproc is used here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

MINUTE: Final = 60_000


class Sent(NamedTuple):
    """A record in the log: which id and amount it has (`key`, `amount`), and when Kafka took it in (epoch ms)."""

    partition: int
    log_id: str
    offset: int
    kafka_ms: int
    key: str
    amount: int


def log_id(born_ms: int, number: int) -> str:
    """As log_identity makes them."""
    return f"{born_ms:012x}{number:08x}"


def first_of(records: Sequence[Sent]) -> dict[str, Sent]:
    """Of each id the record that counts, by the words of docs/reliability.md and nothing of streamproc."""
    highest: dict[tuple[int, str], int] = {}
    first: dict[str, tuple[tuple[int, str, str, int], Sent]] = {}
    for each in sorted(records, key=lambda one: one.offset):
        log = each.partition, each.log_id
        highest[log] = max(each.kafka_ms, highest.get(log, 0))
        place = highest[log] // MINUTE, str(each.partition), each.log_id, each.offset
        if each.key not in first or place < first[each.key][0]:
            first[each.key] = place, each
    return {key: record for key, (_, record) in first.items()}
