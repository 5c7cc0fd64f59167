"""Released schemas: files that never change, and a manifest of their hashes that says so.

released/manifest.json           version -> SHA-256 of each file, digest of each upcaster that led to it
released/1.0.0/user-events.json  the exported JSON Schema as it was released
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.topics import SOURCES
from schemas.versions import Version, parse_version

DIRECTORY: Final = Path(__file__).parent / "released"
MANIFEST: Final = "manifest.json"


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A version in the manifest: topic -> SHA-256 of its file, and topic -> digest of the upcaster from the minor before."""

    schemas: dict[str, str]
    upcasters: dict[str, str]


class ReleasedError(Exception):
    """The released schemas are not what they were: each problem in words, the file's name in front."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Released:
    """All released versions, ascending. `schemas`: version -> topic -> JSON Schema."""

    entries: Mapping[Version, Entry]
    schemas: Mapping[Version, Mapping[str, dict[str, Any]]]

    @property
    def versions(self) -> list[Version]:
        """Ascending."""
        return sorted(self.entries)

    def newest(self, major: int, minor: int) -> Version | None:
        """The newest patch of a minor; None if that minor was never released."""
        return max((each for each in self.entries if each[:2] == (major, minor)), default=None)


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def load(directory: Path = DIRECTORY) -> Released:
    """Read what was released, and hold every file against the manifest.

    Raises:
        ReleasedError: a file was edited, is missing or is none of a release; the manifest cannot be read.
    """
    manifest = _manifest(directory)
    problems: list[str] = []
    schemas: dict[Version, dict[str, dict[str, Any]]] = {}
    expected = {MANIFEST}
    for version, entry in manifest.items():
        read: dict[str, dict[str, Any]] = {}
        for topic, wanted in entry.schemas.items():
            name = f"{version}/{topic}.json"
            expected.add(name)
            try:
                data = (directory / name).read_bytes()
                if sha256(data) != wanted:
                    problems.append(f"{name}: was edited after its release; take the edit back and raise the version")
                else:
                    read[topic] = json.loads(data)
            except OSError:
                problems.append(f"{name}: is missing, and the manifest names it")
        schemas[version] = read
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    problems += [
        f"{name}: is in no release; `python -m schemas.release` writes them" for name in sorted(found - expected)
    ]
    if problems:
        raise ReleasedError(problems)
    return Released(manifest, schemas)


def _manifest(directory: Path) -> dict[Version, Entry]:
    try:
        data = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise ReleasedError([f"{MANIFEST}: cannot be read: {error.strerror}"]) from None
    try:
        entries = msgspec.json.decode(data, type=dict[str, Entry])
        return {parse_version(text): entry for text, entry in entries.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReleasedError([f"{MANIFEST}: {error}"]) from None


def write(directory: Path, version: Version, texts: Mapping[str, str], upcasters: Mapping[str, str]) -> list[Path]:
    """Add a version: topic -> text of its schema, topic -> digest of its upcaster. The files written, the manifest last.

    Raises:
        ReleasedError: the version was released before.
        OSError: a file cannot be written.
    """
    manifest = _manifest(directory) if (directory / MANIFEST).exists() else {}
    if version in manifest:
        raise ReleasedError([f"{version}: was released before, and never changes"])
    folder = directory / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for topic in SOURCES:
        path = folder / f"{topic}.json"
        path.write_text(texts[topic], encoding="utf-8")
        written.append(path)
    hashes = {topic: sha256(texts[topic].encode()) for topic in SOURCES}
    manifest[version] = Entry(hashes, dict(upcasters))
    shown = {str(each): msgspec.to_builtins(manifest[each]) for each in sorted(manifest)}
    path = directory / MANIFEST
    path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    return [*written, path]
