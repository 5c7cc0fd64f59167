"""The fuzz targets by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import decoding, http, inside, letters, silver, sql, texts

_MODULES = (decoding, sql, http, texts, letters, inside, silver)

TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
