"""Changes in the archive: records to a batch for bronze and silver, and the dead letters that nobody else sends."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from schemas.outcomes import DeadReason
from schemas.personal import PERSONAL
from streamproc.agents.messages import dead_letter
from streamproc.agents.poison import POISON_ERROR, POISON_WORDS
from streamproc.agents.publisher import Message
from streamproc.agents.runtime import DeadLetter
from streamproc.config import Settings
from streamproc.decode.changes import Changes, decode_changes
from streamproc.failpoints import poisoned
from streamproc.personal import NOBODY
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.silver_changes import PlacedChange


def decode_change_records(topic: str, records: list[Any], poison: Set[int]) -> Changes:
    """`decode_changes` of records that have `offset`, `key` and `value`; poison is never looked at, and dead.

    Raises:
        KeyError: no topic of changes.
    """
    poisoned("decode", records, poison)
    keys = [record.key for record in records]
    # A null value carries no row, whatever it stands for.
    values = [None if record.offset in poison else record.value for record in records]
    found = decode_changes(topic, keys, values)
    aside = [
        (place, DeadReason.CRASHES_DECODER, POISON_WORDS)
        for place, record in enumerate(records)
        if record.offset in poison
    ]
    return Changes(found.rows, sorted([*found.dead, *aside])) if aside else found


def change_batch(
    topic: str, partition: int, log_id: str, records: list[Any], poison: Set[int], log_times: Sequence[int] = ()
) -> BronzeBatch:
    """Records of one partition of one log with their errors and the rows that they carry; `log_times` as in BronzeBatch.

    Raises:
        KeyError: no topic of changes.
    """
    decoded = decode_change_records(topic, records, poison)
    errors = [""] * len(records) if decoded.dead else []
    for place, reason, text in decoded.dead:
        errors[place] = f"{reason.value}: {text}"
    return BronzeBatch(
        topic,
        partition,
        log_id,
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.key or b"" for record in records],
        [record.value or b"" for record in records],
        errors,
        [
            PlacedChange(change, partition, log_id, records[place].offset, records[place].timestamp)
            for place, change in decoded.rows
        ],
        _owners(topic, len(records), decoded),
        log_times,
    )


def _owners(topic: str, count: int, decoded: Changes) -> list[int]:
    """Whose each of `count` records is: the user who is the row, 0 for records without a row."""
    if topic not in PERSONAL:
        return []
    owners = [NOBODY] * count
    for place, change in decoded.rows:
        owners[place] = change.id
    return owners


def letters_of(settings: Settings, batch: BronzeBatch, records: list[Any], lettered: int) -> list[Message]:
    """Dead letters of a batch (of these records), but for those up to the offset `lettered`, which were sent before.

    A record that turned out to be poison later is the exception: it was no dead letter when bronze took it.
    """
    source = (batch.topic, batch.partition, batch.log_id)
    return [
        dead_letter(settings, source, DeadLetter(record, *error.split(": ", 1)))
        for record, error in zip(records, batch.errors, strict=False)
        if error and (record.offset > lettered or error == POISON_ERROR)
    ]
