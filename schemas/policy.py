"""What a version may change: the exported schemas against the released ones, as a verdict a topic. Pure.

Beside the two former minors, the newest release is always compared: a released version never changes, a patch changes
no shape, a minor follows the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.compatibility import breaks, new_fields
from schemas.released import Released
from schemas.shapes import Shape, UnknownFormError, shape_of
from schemas.upcasters import Contract, digest
from schemas.versions import Version

Schemas = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class Verdict:
    """One topic against one released version.

    `problems` refuse the change, `notes` are good to know, `not_forward`: fields for which a
    release of the older version does not read all new records.
    """

    topic: str
    against: Version
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_forward: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdicts, and what is wrong beside them (the version itself, upcasters)."""

    verdicts: list[Verdict]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Nothing is refused."""
        return not self.problems and not any(verdict.problems for verdict in self.verdicts)


def formers(contract: Contract, released: Released) -> list[Version]:
    """The released versions whose records must be read, newest first: of each minor that is read its newest patch."""
    major, minor, _ = contract.current
    found = [released.newest(major, each) for each in range(minor, contract.oldest - 1, -1)]
    return [version for version in found if version is not None and version <= contract.current]


def judge(contract: Contract, exported: Schemas, released: Released) -> Outcome:
    """Whether the exported schemas may be the contract's current version."""
    problems = [*_version_problems(contract.current, released), *_upcaster_problems(contract, released)]
    verdicts = [
        _compared(contract, topic, schema, version, released.schemas[version])
        for version in formers(contract, released)
        for topic, schema in exported.items()
    ]
    gone = {topic for version in formers(contract, released) for topic in released.schemas[version]} - exported.keys()
    problems += [f"{topic}: the stream is gone, and its records would not be read" for topic in sorted(gone)]
    return Outcome(verdicts, problems)


def _version_problems(current: Version, released: Released) -> list[str]:
    if not released.versions:
        return ["nothing was released yet: `python -m schemas.release VERSION` writes the first release"]
    last = released.versions[-1]
    if current in released.entries:
        return [] if current == last else [f"version {current} is older than the last released one, {last}"]
    if current < last:
        return [f"version {current} is lower than the last released one, {last}"]
    if current.major != last.major:
        return [f"version {current}: only major version {last.major} is read; what breaks, needs a new field or topic"]
    follows = {Version(last.major, last.minor, last.patch + 1), Version(last.major, last.minor + 1, 0)}
    if current not in follows:
        return [f"version {current} leaves a gap after {last}; allowed: {' or '.join(map(str, sorted(follows)))}"]
    return []


def _upcaster_problems(contract: Contract, released: Released) -> list[str]:
    """Released upcasters are what they were, and every one leads somewhere."""
    problems = []
    major, current = contract.current.major, contract.current.minor
    for (topic, minor), _ in sorted(contract.upcasters.items()):
        if not contract.oldest <= minor < current:
            problems.append(f"{topic}: an upcaster from {major}.{minor} is never used: {contract.in_words()}")
    for version, entry in released.entries.items():
        minor = version.minor - 1
        if version.patch or version.major != major or not contract.oldest <= minor < current:
            continue
        now = {topic: digest(each) for (topic, start), each in contract.upcasters.items() if start == minor}
        for topic in sorted(now.keys() | entry.upcasters.keys()):
            if now.get(topic) != entry.upcasters.get(topic):
                problems.append(
                    f"{topic}: the upcaster from {major}.{minor} was released with {version} and never changes: "
                    "two releases beside each other would count differently"
                )
    return problems


def _compared(
    contract: Contract, topic: str, schema: Mapping[str, Any], version: Version, old: Mapping[str, Mapping[str, Any]]
) -> Verdict:
    verdict = Verdict(topic, version)
    if topic not in old:
        verdict.notes.append("new stream")
        return verdict
    try:
        before, now = shape_of(old[topic]), shape_of(schema)
        if version[:2] == contract.current[:2]:
            _same_minor(verdict, contract.current, before, now)
            return verdict
        brought = contract.shape(topic, version.minor, before)
    except UnknownFormError as error:
        verdict.problems.append(str(error))
        return verdict
    verdict.problems += map(str, breaks(brought, now))
    verdict.notes += [
        f"{name}: new; an unknown field of that name in older records is read as it (the step Dropped prevents that)"
        for name in new_fields(brought, now)
    ]
    verdict.not_forward += dict.fromkeys(each.path for each in breaks(now, before, may_drop=True))
    return verdict


def _same_minor(verdict: Verdict, current: Version, before: Shape, now: Shape) -> None:
    """Only descriptions may differ from a version that was released, and from patch to patch."""
    if before.canonical() == now.canonical():
        return
    raised = f"{current.major}.{current.minor + 1}.0"
    what = "was released and its schema changed" if verdict.against == current else "is a patch and changes the schema"
    verdict.problems.append(f"version {current} {what}: raise CURRENT in schemas/versions.py to {raised}")
    verdict.problems += map(str, breaks(before, now))
    verdict.notes += [f"{name}: new" for name in new_fields(before, now)]
