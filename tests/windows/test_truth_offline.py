"""Stage 1 and stage 2 against the independent truth, with other batches, crashes, repeats and orders of cells."""

from __future__ import annotations

import random
import zlib

import pytest

from schemas.topics import SOURCES
from streamproc.windows.merge import SourceProgress
from tests.support.compare import differences
from tests.support.truth import Record, compute
from tests.support.workload import Workload
from tests.windows.replay import NOW_MS, by_source, cells_of, published

PARTITIONS = 4


def _records(seed: int, events: int) -> list[Record]:
    offsets: dict[tuple[str, int], int] = {}
    records = []
    for message in Workload(seed, events, NOW_MS, ops_share=0.1).messages():
        partition = zlib.crc32(message.key) % PARTITIONS
        offset = offsets.get((message.topic, partition), 0)
        offsets[message.topic, partition] = offset + 1
        records.append(Record(message.topic, partition, offset, message.timestamp_ms, message.value))
    return records


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_window_equals_the_truth_after_crashes_repeats_and_reordering(seed: int) -> None:
    """Crashes, zombie cells, repeats and any order of cells change no value."""
    rng = random.Random(seed)
    records = _records(seed, 20_000)
    flushed = []
    for (topic, partition), part in by_source(records).items():
        flushed += cells_of(topic, partition, part, rng, crashes=True)
    flushed += rng.sample(flushed, len(flushed) // 4)
    rng.shuffle(flushed)
    truth = compute(records)
    # Nothing is final yet, then what ended two hours before the newest, then all.
    for until in (None, NOW_MS - 2 * 3_600_000, NOW_MS + 2 * 86_400_000):
        progress = {f"{topic}/0/log": SourceProgress(until, NOW_MS) for topic in SOURCES} if until is not None else None
        found = published(flushed, progress)
        wrong = differences(found, truth.windows | truth.entities)
        assert not wrong, f"{len(wrong)} differences, e.g.\n" + "\n".join(wrong[:20])
    up = [truth.windows[key] for key in truth.windows if key[0] == "system_uptime"]
    assert len(up) > 300 and sum(tuple(value) != value.while_open for value in up) > 50
    assert len(truth.windows) > 1000
    assert truth.duplicates and truth.late and truth.dead
    of_ops = {key[0] for key in truth.windows if key[3] in ("provider", "service") or key[4] in ("q0", "q1", "q2")}
    assert of_ops == {"ai_error_rate", "ai_latency_p95_ms", "queue_processing_time_seconds", "system_uptime"}
