"""Schema versions: which events can be read, and how those of a former version become current ones.

The original bytes stay what they are (in bronze, in dead letters); what is brought up is only what is read here. Of a key that
is repeated in a record of a former version only the last value is looked at.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from schemas.events import SEMVER_PATTERN, SUPPORTED_MAJOR
from schemas.upcast_steps import Upcaster
from schemas.upcasters import CONTRACT

_SEMVER = re.compile(SEMVER_PATTERN)
_LATER: Final = 10**9
_RECORD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Header(msgspec.Struct):
    schema_version: str


_HEADER: Final = msgspec.json.Decoder(_Header)


def is_semver(text: str) -> bool:
    """True for a version of Semantic Versioning 2.0.0, pre-release and build parts included."""
    return _SEMVER.fullmatch(text) is not None


def minor_of(text: str) -> int | None:
    """The minor of a semantic version with the major that this code reads (at most 10**9); None for any other text."""
    match = _SEMVER.fullmatch(text)
    if match is None or match.group(1) != SUPPORTED_MAJOR:
        return None
    digits = text.split(".", 2)[1]
    return int(digits) if len(digits) < 10 else _LATER


def is_supported(text: str) -> bool:
    """True for a semantic version that this code reads: a newer minor is read as the current one."""
    minor = minor_of(text)
    return minor is not None and minor >= CONTRACT.oldest


def why_not_read(text: str) -> str:
    """Which versions are read instead of this one, a semantic version that is not."""
    minor = minor_of(text)
    if minor is None:
        return f"schema_version: only major version {SUPPORTED_MAJOR} is read"
    return f"schema_version: {SUPPORTED_MAJOR}.{minor} is not read any more; {CONTRACT.in_words()}"


def version_of(value: bytes) -> str:
    """The version that a record says it has, whatever else it holds.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it says none.
    """
    return _HEADER.decode(value).schema_version


def has_upcasters(topic: str) -> bool:
    """True if records of a former version of this topic must be brought to the current one."""
    return any(topic == each for each, _ in CONTRACT.upcasters)


def path_to_current(topic: str, version: str) -> tuple[Upcaster, ...]:
    """What brings a record of this version to the current one; empty if it is read as it is, or not at all."""
    minor = minor_of(version)
    return CONTRACT.path(topic, minor) if minor is not None and minor >= CONTRACT.oldest else ()


def brought_up(path: tuple[Upcaster, ...], value: bytes) -> bytes:
    """A record with its fields as the current version has them; `schema_version` stays what it was.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: no JSON object.
    """
    record = _RECORD.decode(value)
    for upcaster in path:
        record = upcaster(record)
    return msgspec.json.encode(record)
