"""A share of the simulated histories; `make simulate` runs them by the ten thousand."""

from __future__ import annotations

import pytest

from tests.simulation.history import LEAST_DECISIONS
from tests.simulation.run import run_seeds

_SHARE = 300


@pytest.mark.parametrize("first", range(0, 4 * _SHARE, _SHARE))
def test_every_number_is_right_whatever_breaks_in_whatever_order(first: int) -> None:
    """Each history ends in the numbers that the oracle computes from its logs."""
    tally = run_seeds(first, _SHARE)
    assert not tally.failures, "\n".join(failure.text() for failure in tally.failures)
    # What counts as an interleaving: so many decisions, and a fault in each.
    assert tally.decisions >= LEAST_DECISIONS * _SHARE
    assert tally.faulty == tally.histories == _SHARE
    assert len(tally.faults) > 10


def test_a_seed_is_the_same_history_every_time() -> None:
    """Otherwise a failure could not be replayed."""
    one, other = run_seeds(7, 20), run_seeds(7, 20)
    assert (one.decisions, one.events, one.faults) == (other.decisions, other.events, other.faults)
