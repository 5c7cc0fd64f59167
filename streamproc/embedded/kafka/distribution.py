"""Apache Kafka's jars: fetched once by Maven, checked against the committed SHA-256 list at every use, kept in .kafka/."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from streamproc.errors import ConfigError, StreamprocError

_ROOT = Path(__file__).resolve().parents[3]
DEPLOY = _ROOT / "deploy" / "kafka"
CACHE = _ROOT / ".kafka"
#: Brokers of Kafka 4 need it.
JAVA_MAJOR = 17
_JAVA_HINT = f"Apache Kafka needs Java {JAVA_MAJOR} or newer; on Debian: apt-get install openjdk-17-jre-headless"
_MAVEN_TIMEOUT_S = 600.0


def wanted_jars(listing: Path = DEPLOY / "jars.sha256") -> dict[str, str]:
    """SHA-256 by file name, as committed.

    Raises:
        ConfigError: the list is not there: only a checkout of the repository has it.
    """
    try:
        lines = listing.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise ConfigError(
            f"the list of Kafka's jars cannot be read ({listing}: {error.strerror}); "
            "Apache Kafka is run from a checkout of the repository, not from an installed package"
        ) from None
    return {name: digest for digest, name in (line.split() for line in lines)}


def kafka_version(jars: dict[str, str]) -> str:
    """The broker's version, by its jar's name."""
    return next(found[1] for name in jars if (found := re.fullmatch(r"kafka_[\d.]+-([\d.]+)\.jar", name)))


def java_binary() -> str:
    """Path of a Java that Kafka runs on: that of JAVA_HOME, or the first on the PATH.

    Raises:
        ConfigError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise ConfigError(f"there is no java on the PATH: {_JAVA_HINT}")
    major = _java_major(java)
    if major < JAVA_MAJOR:
        raise ConfigError(f"{java} is version {major}: {_JAVA_HINT}")
    return java


@cache
def _java_major(java: str) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{java} cannot be run ({error}): {_JAVA_HINT}") from None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0


def ensure_jars(folder: Path = CACHE) -> list[Path]:
    """Kafka's jars, every one with the committed SHA-256; fetched by Maven if they are not all there.

    Safe when several processes call it at once. Without anything to fetch it needs no network and about 0.1 s.

    Raises:
        ConfigError: mvn is missing, or this is no checkout of the repository.
        StreamprocError: Maven failed, or brought other files than the committed ones.
    """
    jars = wanted_jars()
    place = folder / kafka_version(jars)
    with _locked(folder):
        if _differences(place, jars):
            _fetch(place, jars)
    return [place / name for name in jars]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "lock").open("w", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"Kafka's jars cannot be kept in {folder}: {error.strerror}") from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _differences(place: Path, jars: dict[str, str]) -> list[str]:
    """What in a folder is missing, altered, or not on the list."""
    found = {path.name: path for path in place.glob("*.jar")}
    wrong = [f"{name} is not on the list" for name in sorted(found.keys() - jars.keys())]
    for name, digest in jars.items():
        if name not in found:
            wrong.append(f"{name} is missing")
        elif (actual := _digest(found[name])) != digest:
            wrong.append(f"{name} has SHA-256 {actual}, wanted {digest}")
    return wrong


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fetch(place: Path, jars: dict[str, str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(
            "Apache Kafka is fetched with Maven, and there is no mvn on the PATH; on Debian: apt-get install maven"
        )
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="fetch-") as scratch:
        target = Path(scratch) / "jars"
        copy = [
            *(maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(DEPLOY / "pom.xml")),
            *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"),
        ]
        try:
            done = subprocess.run(copy, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise StreamprocError(f"mvn did not fetch Kafka within {_MAVEN_TIMEOUT_S:.0f} s") from None
        if done.returncode:
            raise StreamprocError(f"mvn could not fetch Kafka (exit code {done.returncode}):\n{done.stdout[-2000:]}")
        if wrong := _differences(target, jars):
            raise StreamprocError("Maven brought other jars than the committed ones:\n  " + "\n  ".join(wrong))
        shutil.rmtree(place, ignore_errors=True)
        target.rename(place)
