"""What a flush sends, as messages: cells, dead letters, progress."""

from __future__ import annotations

from typing import Final

from schemas import internal, topics
from schemas.internal import Progress
from schemas.results import ALL, Cell
from streamproc.agents.publisher import Message
from streamproc.agents.runtime import DeadLetter, SourceRuntime
from streamproc.config import Settings

CHUNK_BYTES: Final = 512 * 1024


class Messages:
    """Makes messages for the topics of one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._partitions = settings.partitions

    def of_cells(self, runtime: SourceRuntime, cells: list[Cell]) -> list[Message]:
        """Cells by partition of window-partials, in messages of bounded size."""
        assert runtime.state is not None
        groups: dict[int, list[Cell]] = {}
        for cell in cells:
            entity = cell.dimension_value if cell.size == ALL else ""
            place = internal.partition_of_window(cell.measure, cell.dimension, entity, self._partitions)
            groups.setdefault(place, []).append(cell)
        messages = []
        topic = self.settings.topic(topics.WINDOW_PARTIALS)
        key = runtime.source.encode()
        for place, group in groups.items():
            for part in _bounded(group):
                value = internal.encode(internal.Partials(runtime.source, runtime.state.offset, part))
                messages.append(Message(topic, place, key, value, cells=tuple(part)))
        return messages

    def of_dead_letter(self, runtime: SourceRuntime, letter: DeadLetter) -> Message:
        """A refused record with all that a replay needs; its reason is for people."""
        return dead_letter(self.settings, (runtime.topic, runtime.partition, runtime.log_id), letter)

    def of_progress(self, progress: Progress) -> Message:
        """One record of window-progress."""
        place = internal.partition_of_source(progress.topic, progress.partition, self._partitions)
        topic = self.settings.topic(topics.WINDOW_PROGRESS)
        return Message(topic, place, progress.source.encode(), internal.encode(progress))


def dead_letter(settings: Settings, source: tuple[str, int, str], letter: DeadLetter) -> Message:
    """A refused record of a source (contract topic, partition, log): the original bytes, the rest in headers."""
    topic, partition, log_id = source
    record = letter.record
    headers = (
        ("error", letter.error.encode()),
        ("reason", letter.reason.encode()),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
        ("log_id", log_id.encode()),
        ("offset", str(record.offset).encode()),
        ("kafka_timestamp", str(record.timestamp).encode()),
        ("key", record.key or b""),
    )
    place = internal.partition_of_source(topic, partition, settings.partitions)
    return Message(settings.topic(topics.DEAD_LETTERS), place, topic.encode(), record.value or b"", headers)


def _bounded(cells: list[Cell]) -> list[list[Cell]]:
    """Cells in lists of about CHUNK_BYTES at the most (one large cell alone may be larger)."""
    parts: list[list[Cell]] = [[]]
    size = 0
    for cell in cells:
        if size > CHUNK_BYTES and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(cell)
        size += len(cell.data) + 120
    return parts
