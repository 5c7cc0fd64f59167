"""Release the current schemas: `python -m schemas.release VERSION` writes schemas/released/VERSION/ and the manifest."""

from __future__ import annotations

import sys
from pathlib import Path

from schemas import export
from schemas.policy import judge
from schemas.released import DIRECTORY, MANIFEST, Released, ReleasedError, load, write
from schemas.topics import SOURCES
from schemas.upcasters import CONTRACT, Contract, digest
from schemas.versions import parse_version


def release(version: str, directory: Path = DIRECTORY, contract: Contract = CONTRACT) -> list[Path]:
    """Write a version and return the files.

    Raises:
        ValueError: no version, or not the current one.
        ReleasedError: it was released before, or `streamproc schema check` refuses it.
    """
    number = parse_version(version)
    if number != contract.current:
        raise ValueError(
            f"version {number}: schemas/versions.py says {contract.current} is current; only that can be released"
        )
    first = not (directory / MANIFEST).exists()
    released = Released({}, {}) if first else load(directory)
    outcome = judge(contract, {topic: export.json_schema(topic) for topic in SOURCES}, released)
    problems = [] if first else outcome.problems
    problems += [f"{each.topic} against {each.against}: {text}" for each in outcome.verdicts for text in each.problems]
    if problems:
        raise ReleasedError(problems)
    upcasters = {
        topic: digest(upcaster)
        for (topic, minor), upcaster in sorted(contract.upcasters.items())
        if number.patch == 0 and minor == number.minor - 1
    }
    return write(directory, number, {topic: export.render(topic) for topic in SOURCES}, upcasters)


def main(arguments: list[str]) -> int:
    """Exit code: 0 written, 1 refused, 2 wrong use."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m schemas.release VERSION (the one that schemas/versions.py calls CURRENT)\n")
        return 2
    try:
        paths = release(arguments[0])
    except ReleasedError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"wrote {path.relative_to(Path(__file__).parents[1])}\n" for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
