"""Versions of the events: the current one, and which older ones are read.

One version counts for all topics. The major version is part of the contract; minors follow each other without gaps, so
that "the two former versions" are the two minors below the current one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: What `schemas.events` describes. Raise it in the commit that changes a schema: `streamproc schema check` says how.
CURRENT: Final = "1.0.0"
#: So many minors below the current one are read too.
FORMER: Final = 2

_RELEASE = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")


class Version(NamedTuple):
    """A released version: three numbers, no pre-release and no build part."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> Version:
    """`1.2.3` as numbers.

    Raises:
        ValueError: not three numbers.
    """
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no version: three numbers are needed, such as 1.2.0")
    return Version(*(int(number) for number in match.groups()))


def oldest_minor(current: Version) -> int:
    """The lowest minor that is read where `current` is the current version."""
    return max(0, current.minor - FORMER)
