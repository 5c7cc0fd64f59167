"""Poison records: one that ends every process that reads it is found and set aside, so that its stream goes on.

Each restore notes on `window-progress` where it begins. A source that was begun several times at the same place has ended
its workers, so the next ones are *careful*: every slice is first worked through by a forked copy of the process
(`agents/sandbox.py`), and one that does not survive is halved until a single record is left. That record's offset is
recorded on `window-progress` before anything after it is folded, and every reading of the log from then on, by whichever
worker or role, takes it for a dead letter: the state after an offset still follows from the log and this record alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from schemas import internal, topics
from schemas.internal import Progress, source_name
from schemas.outcomes import DeadReason
from streamproc.agents.alerting import alert_message
from streamproc.agents.notices import poison_record
from streamproc.agents.progress_log import Known
from streamproc.agents.publisher import Message, Publisher
from streamproc.agents.sandbox import survives
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.decode import Decoded, decode_batch
from streamproc.failpoints import poisoned
from streamproc.logs import get_logger
from streamproc.telemetry import POISON

log = get_logger("poison")

#: Restores at the same place, after which the next worker is careful (so it is after the third death there).
TRIES: Final = 2
#: After as many, also what some worker has recorded as folded is looked at: it may be only this machine that fails.
TRIES_ANYWHERE: Final = 5
#: A source is read carefully until this long after it has passed the place. Each slice is then worked through twice.
CAREFUL_S: Final = 10.0
#: A record alone must end so many copies, while a copy that does nothing lives.
_PROOFS: Final = 3

POISON_WORDS: Final = "ends the process that reads it; set aside after repeated deaths"
#: The same as bronze has it.
POISON_ERROR: Final = f"{DeadReason.CRASHES_DECODER}: {POISON_WORDS}"


@dataclass(slots=True)
class Care:
    """How a partition is to be read: which offsets are poison, and whether it has ended workers (`suspect`).

    `proven` is the last offset that some worker has surely got over.
    """

    poison: set[int] = field(default_factory=set)
    suspect: bool = False
    proven: int = -1
    until_s: float = float("inf")

    def is_due(self, last_offset: int) -> bool:
        """Whether a slice that ends there is to be tried by a copy first."""
        if not self.suspect or last_offset <= self.proven:
            return False
        if self.until_s == float("inf"):
            self.until_s = monotonic() + CAREFUL_S
            log.warning("begun again and again without progress: records are tried by a copy of the process first")
        self.suspect = monotonic() < self.until_s
        return self.suspect


class PoisonGuard:
    """Notes where a role begins to read, finds the records that end its processes, and tells people of them."""

    def __init__(self, settings: Settings, role: str, publisher: Publisher) -> None:
        self.settings = settings
        self._role = role
        self._publisher = publisher
        self._begun: list[Message] = []

    def begin(self, topic: str, partition: int, log_id: str, known: Iterable[Known], offset: int | None = None) -> Care:
        """A source is about to be read on; `offset` is the last one safe, by default what progress records say."""
        of_log = next((each for each in known if each.log_id == log_id), Known(log_id))
        place = of_log.offset if offset is None else offset
        tries = of_log.begun[self._role, place]
        care = Care(set(of_log.poison), tries >= TRIES, place if tries < TRIES_ANYWHERE else -1)
        self._begun.append(self._message("begun", topic, partition, log_id, place))
        return care

    async def record_begun(self) -> None:
        """Have all that was begun acknowledged; before anything is read."""
        begun, self._begun = self._begun, []
        await self._publisher.send_all(begun)

    async def vetted(
        self,
        place: tuple[str, int, str],
        care: Care,
        records: list[Any],
        work: Callable[[list[Any]], object],
        is_ours: Callable[[], bool],
    ) -> list[Any]:
        """The longest beginning of `records` (halved as often as needed) that a copy of this process survives.

        `place` is topic, partition and log. A single record that no copy survives is added to `care.poison`, and
        recorded, so that it can be taken then; `is_ours` says whether the partition still is.
        """
        while care.is_due(records[-1].offset) and is_ours():
            if await survives(partial(work, records)):
                break
            if len(records) > 1:
                records = records[: len(records) // 2]
                continue
            proofs = [await survives(partial(work, records)) for _ in range(_PROOFS - 1)]
            if any(proofs) or not await survives(lambda: None):
                log.error(
                    "a copy of the process ended for no fault of the record's", topic=place[0], partition=place[1]
                )
                break
            if is_ours():
                await self._set_aside(place, care, records[0])
        return records

    async def _set_aside(self, place: tuple[str, int, str], care: Care, record: Any) -> None:
        topic, partition, log_id = place
        await self._publisher.send_all(
            [self._message("poison", topic, partition, log_id, record.offset, [record.offset])]
        )
        # The windows' worker and the archive's may both have found it: the same transitions, by their ids.
        told = poison_record(topic, partition, record.offset)
        await self._publisher.send_all([alert_message(self.settings, item) for item in told])
        care.poison.add(record.offset)
        POISON.labels(topic).inc()
        log.error("a poison record is set aside", topic=topic, partition=partition, offset=record.offset)

    def _message(
        self, kind: str, topic: str, partition: int, log_id: str, offset: int, poison: Sequence[int] = ()
    ) -> Message:
        source = source_name(topic, partition, log_id)
        record = Progress(
            kind=kind,
            source=source,
            topic=internal.BESIDE + topic,
            partition=partition,
            log_id=log_id,
            offset=offset,
            wall_ms=now_ms(),
            role=self._role,
            poison=list(poison),
        )
        place = internal.partition_of_source(topic, partition, self.settings.partitions)
        return Message(self.settings.topic(topics.WINDOW_PROGRESS), place, source.encode(), internal.encode(record))


def decode_records(topic: str, records: Sequence[Any], poison: set[int]) -> Decoded:
    """`decode_batch` of records that have `offset` and `value`; poison is never looked at, and dead.

    Raises:
        KeyError: no such event stream.
    """
    poisoned("decode", records, poison)
    values = [record.value for record in records]
    if not poison or poison.isdisjoint(record.offset for record in records):
        return decode_batch(topic, values)
    aside = {place for place, record in enumerate(records) if record.offset in poison}
    decoded = decode_batch(topic, [None if place in aside else value for place, value in enumerate(values)])
    dead = [
        (at, DeadReason.CRASHES_DECODER, POISON_WORDS) if at in aside else (at, why, text)
        for at, why, text in decoded.dead
    ]
    return Decoded(decoded.ok, dead, decoded.columns)
