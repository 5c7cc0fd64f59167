"""The simulator finds each mistake that is planted in the product; otherwise its silence would mean nothing."""

from __future__ import annotations

import pytest

from tests.simulation.plants import PLANTS
from tests.simulation.run import run_seeds

#: Histories within which a mistake must show. Most need up to 50, those that take a rare order of events about 800.
_WITHIN = 8000


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_mistake_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints after how many histories, and which is the shortest prefix that shows it."""
    tally = run_seeds(0, _WITHIN, name, stop_early=True)
    assert tally.failures, f"{name} was not found in {tally.histories} histories: {PLANTS[name].why_wrong}"
    with capsys.disabled():
        failure = tally.failures[0]
        print(f"\n{name}: found in history {tally.histories}, after {failure.decisions} decisions")
