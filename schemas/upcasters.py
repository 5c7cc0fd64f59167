"""How records of former versions are brought to the current one: the registry of upcasters.

A released upcaster never changes, and does nothing but arithmetic on its record: stage 1 is a deterministic fold of the log,
and two releases beside each other in a rolling upgrade, or one that folds the log again, must find the same. The manifest of
the released schemas holds each one's digest, the stored samples (tests/schemas/samples) what it makes of records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.shapes import Shape
from schemas.upcast_steps import Upcaster
from schemas.versions import CURRENT, Version, oldest_minor, parse_version

#: (topic, minor version of the record) -> what brings it to the next minor. A topic without an entry needs none. Silver's
#: views read the original record: an entry here needs a migration that makes them read the same.
UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {}


@dataclass(frozen=True, slots=True)
class Contract:
    """The current version, and how former ones are read."""

    current: Version
    upcasters: Mapping[tuple[str, int], Upcaster]

    @property
    def oldest(self) -> int:
        """The lowest minor that is read."""
        return oldest_minor(self.current)

    def path(self, topic: str, minor: int) -> tuple[Upcaster, ...]:
        """What brings a record of a minor that is read to the current one, in order; empty if nothing needs to be done."""
        each = (self.upcasters.get((topic, step)) for step in range(max(minor, self.oldest), self.current.minor))
        return tuple(upcaster for upcaster in each if upcaster is not None)

    def shape(self, topic: str, minor: int, shape: Shape) -> Shape:
        """What is known of every record of a minor once it has been brought to the current one.

        Raises:
            UnknownFormError: an upcaster does not fit.
        """
        for upcaster in self.path(topic, minor):
            shape = upcaster.shape(shape)
        return shape

    def in_words(self) -> str:
        """Which versions are read."""
        major, minor, _ = self.current
        if self.oldest == minor:
            return f"{major}.{minor} is read, and newer minors as it"
        return f"{major}.{self.oldest} to {major}.{minor} are read, and newer minors as {major}.{minor}"


#: What this release reads.
CONTRACT: Final = Contract(parse_version(CURRENT), UPCASTERS)


def digest(upcaster: Upcaster) -> str:
    """SHA-256 of what an upcaster says, for the manifest. (What its steps do, is held by the stored samples.)"""
    return hashlib.sha256(repr(upcaster).encode()).hexdigest()
