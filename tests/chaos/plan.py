"""Which faults come when: rounds that follow from the seed and the kinds of faults alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.fault import Fault

#: Of all rounds, so many strike several things at once, and so many do not wait until the one before has healed.
COMBINED: Final = 0.3
OVERLAPPING: Final = 0.25
_MOST_AT_ONCE: Final = 3
#: So many cards ahead a partner is looked for.
_HAND: Final = 12


@dataclass(frozen=True)
class Round:
    """Faults that begin together after a pause of `delay_s`; each has its seed.

    `overlaps`: the next round comes without waiting until this one has healed.
    """

    number: int
    delay_s: float
    strikes: tuple[tuple[Fault, int], ...]
    overlaps: bool

    @property
    def name(self) -> str:
        """What happens, in words."""
        return " + ".join(fault.name for fault, _ in self.strikes)


def _cards(faults: Sequence[Fault], rng: random.Random) -> Iterator[Fault]:
    """Every kind once in random order; from then on decks in which each lies as often as it weighs."""
    deck = list(faults)
    while True:
        rng.shuffle(deck)
        yield from deck
        deck = [fault for fault in faults for _ in range(max(1, round(fault.weight)))]


def rounds(faults: Sequence[Fault], seed: int) -> Iterator[Round]:
    """Rounds without end; the same seed and faults give the same rounds.

    Raises:
        ValueError: there is no fault to draw.
    """
    if not faults:
        raise ValueError("no fault is possible in this world")
    rng = random.Random(seed)
    cards = _cards(sorted(faults, key=lambda fault: fault.name), rng)
    hand: list[Fault] = []
    number = 0
    while True:
        number += 1
        hand += [next(cards) for _ in range(_HAND - len(hand))]
        strikes = [hand.pop(0)]
        if rng.random() < COMBINED:
            for _ in range(rng.randrange(1, _MOST_AT_ONCE)):
                _add_another(strikes, hand)
        seeded = tuple((fault, rng.getrandbits(32)) for fault in strikes)
        yield Round(number, rng.uniform(0.0, 2.0), seeded, rng.random() < OVERLAPPING)


def _add_another(strikes: list[Fault], hand: list[Fault]) -> None:
    """The next card that strikes nothing that is struck already, if there is one."""
    for place, card in enumerate(hand):
        if all(card.touches.isdisjoint(other.touches) for other in strikes):
            strikes.append(hand.pop(place))
            return
