"""The fuzz targets by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import decoding, silver

TARGETS: dict[str, Target] = {target.name: target for target in (*decoding.TARGETS, *silver.TARGETS)}
