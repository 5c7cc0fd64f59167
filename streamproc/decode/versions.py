"""Schema versions: semantic versions, of which the major version decides whether an event can be read."""

from __future__ import annotations

import re

from schemas.events import SEMVER_PATTERN, SUPPORTED_MAJOR

_SEMVER = re.compile(SEMVER_PATTERN)


def is_semver(text: str) -> bool:
    """True for a version of Semantic Versioning 2.0.0, pre-release and build parts included."""
    return _SEMVER.fullmatch(text) is not None


def is_supported(text: str) -> bool:
    """True for a semantic version with the major version that this code reads."""
    match = _SEMVER.fullmatch(text)
    return match is not None and match.group(1) == SUPPORTED_MAJOR
