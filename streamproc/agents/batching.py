"""The batch scheduler for Faust: each agent iteration is all that one fetch brought of one partition.

`App(ConsumerScheduler=...)` is a public setting of Faust. A Faust message then carries the list of records as its
value and the last record's offset as its own, so that flow control, acks and rebalancing go on as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from faust.transport.utils import DefaultSchedulingStrategy


class Batch:
    """One partition's records of one fetch, shaped as the record that Faust's transport expects."""

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

    def __init__(self, records: list[Any]) -> None:
        last = records[-1]
        self.topic = last.topic
        self.partition = last.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.timestamp_type = last.timestamp_type
        self.headers = ()
        self.key = None
        self.value = records
        self.checksum = None
        self.serialized_key_size = 0
        self.serialized_value_size = 0


class BatchScheduler(DefaultSchedulingStrategy):  # type: ignore[misc]  # Faust is untyped here
    """Yields one `Batch` per partition and fetch instead of one record after the other."""

    def iterate(self, records: Mapping[Any, list[Any]]) -> Iterator[tuple[Any, Any]]:
        """(partition, batch) for every partition that the fetch brought records of."""
        for tp, messages in records.items():
            if messages:
                yield tp, Batch(messages)
