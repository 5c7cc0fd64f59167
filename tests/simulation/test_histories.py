"""A share of the simulated histories; `make simulate` runs them by the ten thousand."""

from __future__ import annotations

import pytest

from tests.simulation.history import LEAST_DECISIONS
from tests.simulation.run import run_seeds

_SHARE = 300

#: What so many histories contain at least, about half of what they do: before faults end, so none of it is the tidying up.
_CONTENTS = {
    "records": 2200,
    "batches folded": 600,
    "flushes sent": 180,
    "cells evicted": 130,
    "snapshots": 80,
    "restored from a snapshot": 13,
    "restored without one": 350,
    "crashes amid a restore": 18,
    "crashes amid writes": 7,
    "zombies that wake": 28,
    "writes to broker": 1200,
    "writes to redis": 160,
    "writes to clickhouse": 90,
    "writes applied late": 50,
    "answers that came slowly": 100,
    "Redis filled again": 60,
    "windows looked up": 2,
    "windows final": 200,
    "windows let go": 25,
}
_FAULTS = {
    "crash": 75,
    "crash of all": 17,
    "pause": 50,
    "rebalance": 55,
    "graceful stop": 20,
    "a worker joins": 25,
    "partition added": 10,
    "old records deleted by retention": 10,
    "retention overtakes": 3,
    "crashes in a row amid restores": 7,
    "clickhouse slow amid a rebalance": 14,
    "redis slow amid a rebalance": 13,
    "broker lost its logs": 4,
    "topic made again": 4,
    "old ClickHouse restored": 1,
    "Redis emptied": 28,
    "broker away": 9,
    "clickhouse away": 9,
    "redis away": 7,
    "broker: lost": 45,
    "broker: answer lost": 42,
    "broker: applied after the client gave up": 42,
    "clickhouse: answer lost": 3,
    "clickhouse: applied after the client gave up": 4,
    "redis: answer lost": 4,
    "reader: read failed": 34,
}


@pytest.mark.parametrize("first", range(0, 4 * _SHARE, _SHARE))
def test_every_number_is_right_whatever_breaks_in_whatever_order(first: int) -> None:
    """Each history ends in the numbers that the oracle computes from its logs, and none is too poor to say anything."""
    tally = run_seeds(first, _SHARE)
    assert not tally.failures, "\n".join(failure.text() for failure in tally.failures)
    # What counts as an interleaving: so many decisions, and a fault in each.
    assert tally.decisions >= LEAST_DECISIONS * _SHARE
    assert tally.faulty == tally.histories == _SHARE
    assert {kind: tally.contents[kind] for kind, least in _CONTENTS.items() if tally.contents[kind] < least} == {}
    assert {kind: tally.faults[kind] for kind, least in _FAULTS.items() if tally.faults[kind] < least} == {}


def test_a_seed_is_the_same_history_every_time() -> None:
    """Otherwise a failure could not be replayed."""
    one, other = run_seeds(7, 20), run_seeds(7, 20)
    assert (one.decisions, one.events, one.faults) == (other.decisions, other.events, other.faults)
    assert one.contents == other.contents
