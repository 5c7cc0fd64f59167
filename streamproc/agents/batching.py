"""The batch scheduler for Faust: each agent iteration is all that one fetch brought of one topic.

`App(ConsumerScheduler=...)` is a public setting of Faust. A Faust message then carries the records of all partitions of
its topic as its value, so that flow control and rebalancing go on as they are. One message per partition would do as
well, but each costs several turns of the event loop: at 2,000 events/s over 32 partitions a fetch took 200 ms to hand
over, in which everything else waited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from faust.transport.utils import DefaultSchedulingStrategy


class Fetched(dict[Any, list[Any]]):
    """What one fetch brought, by partition; `number` is that of the last seek before it."""

    __slots__ = ("number",)

    def __init__(self, records: Mapping[Any, list[Any]], number: int) -> None:
        super().__init__(records)
        self.number = number


class Brought(list[list[Any]]):
    """One topic's records of one fetch: those of one partition each, in offset order; `number` as the fetch's. Whoever is
    done with it clears it."""

    __slots__ = ("__weakref__", "number")
    __hash__ = object.__hash__  # type: ignore[assignment]  # lists have none; by identity

    def __init__(self, partitions: list[list[Any]], number: int) -> None:
        super().__init__(partitions)
        self.number = number


class Batch:
    """One topic's records of one fetch, shaped as the record that Faust's transport expects.

    `value` is a `Brought`: the records of one partition each. Offset and partition are those of
    the last record of the first list: Faust's own bookkeeping sees no more, and our progress is the authority.
    """

    __slots__ = (
        "checksum",
        "headers",
        "key",
        "offset",
        "partition",
        "serialized_key_size",
        "serialized_value_size",
        "timestamp",
        "timestamp_type",
        "topic",
        "value",
    )

    def __init__(self, partitions: Brought) -> None:
        last = partitions[0][-1]
        self.topic = last.topic
        self.partition = last.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.timestamp_type = last.timestamp_type
        self.headers = ()
        self.key = None
        self.value = partitions
        self.checksum = None
        self.serialized_key_size = 0
        self.serialized_value_size = 0


class BatchScheduler(DefaultSchedulingStrategy):  # type: ignore[misc]  # Faust is untyped here
    """Yields one `Batch` per topic and fetch instead of one record after the other, and knows what was yielded and is not
    done yet: Faust's buffers are bounded by batches, and a batch may have ten records or thousands."""

    def __init__(self) -> None:
        #: Weakly: what Faust throws away in a rebalance is done, too.
        self._yielded: dict[str, WeakSet[Brought]] = {}

    def waiting(self, topic: str) -> int:
        """Records of a topic (the broker's name) that agents have not done yet."""
        return sum(len(records) for brought in self._yielded.get(topic, ()) for records in brought)

    def iterate(self, records: Fetched) -> Iterator[tuple[Any, Any]]:
        """(first partition, batch) for every topic that the fetch brought records of."""
        topics: dict[str, tuple[Any, list[list[Any]]]] = {}
        for tp, messages in records.items():
            if messages:
                topics.setdefault(tp.topic, (tp, []))[1].append(messages)
        for tp, partitions in topics.values():
            brought = Brought(partitions, records.number)
            self._yielded.setdefault(tp.topic, WeakSet()).add(brought)
            yield tp, Batch(brought)
