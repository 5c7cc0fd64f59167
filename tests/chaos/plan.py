"""Which faults come when: rounds that follow from the seed and the kinds of faults alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.chaos.fault import Fault

#: Of all rounds, so many strike several things at once, and so many do not wait until the one before has healed.
COMBINED: Final = 0.8
OVERLAPPING: Final = 0.15
_MOST_AT_ONCE: Final = 4
#: So many cards ahead a partner is looked for.
_HAND: Final = 16
#: So many processes are killed or paused in a round, beside its faults.
_HAIL: Final = (2, 3, 3, 4, 4)


@dataclass(frozen=True)
class Round:
    """Faults that begin together after a pause of `delay_s`; each has its seed.

    `overlaps`: the next round comes without waiting until this one has healed. `hail`: so many processes that no fault
    of the round strikes are killed or paused meanwhile.
    """

    number: int
    delay_s: float
    strikes: tuple[tuple[Fault, int], ...]
    overlaps: bool
    hail: int = 0

    @property
    def name(self) -> str:
        """What happens, in words."""
        names = [fault.name for fault, _ in self.strikes]
        return " + ".join([*names, f"{self.hail} kills and pauses"] if self.hail else names)

    def with_another(self, faults: Sequence[Fault]) -> Round:
        """The same and the first of these faults that can run beside it; the round itself if none can."""
        for fault in faults:
            if not fault.meets(other for other, _ in self.strikes):
                seed = random.Random(f"{fault.name} {self.number}").getrandbits(32)
                return replace(self, strikes=(*self.strikes, (fault, seed)), hail=0 if fault.alone else self.hail)
        return self


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
            for _ in range(rng.randrange(2, _MOST_AT_ONCE)):
                _add_another(strikes, hand)
        seeded = tuple((fault, rng.getrandbits(32)) for fault in strikes)
        hail = rng.choice(_HAIL)
        hail = 0 if any(fault.alone for fault in strikes) else hail
        yield Round(number, rng.uniform(0.0, 1.0), seeded, rng.random() < OVERLAPPING, hail)


def _add_another(strikes: list[Fault], hand: list[Fault]) -> None:
    """The next card that strikes nothing that is struck already, if there is one."""
    for place, card in enumerate(hand):
        if not card.meets(strikes):
            strikes.append(hand.pop(place))
            return
