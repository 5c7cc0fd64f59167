"""The fuzz targets by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import changes, decoding, http, inside, letters, silver, sql, texts
from tests.fuzz.targets.planted import PLANTED

_MODULES = (changes, decoding, sql, http, texts, letters, inside, silver)

TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}


def find(name: str) -> Target:
    """The target of that name, those that go wrong on purpose included."""
    return TARGETS.get(name) or PLANTED[name]
