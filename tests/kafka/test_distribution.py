"""Where Kafka comes from: checked jars, a Java that is new enough, and clear words when something is missing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamproc.embedded.kafka import distribution
from streamproc.embedded.kafka.cluster import known_cluster, plan_cluster
from streamproc.embedded.kafka.ports import choose_ports
from streamproc.errors import ConfigError, StreamprocError
from tests.support.ports import free_port


def program(folder: Path, name: str, script: str) -> Path:
    """A program of ours under that name."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A list of two small jars in place of the committed one."""
    jars = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("kafka_2.13-9.8.7.jar", "other-1.jar")}
    monkeypatch.setattr(distribution, "wanted_jars", lambda: jars)
    return jars


def copying(names: dict[str, str]) -> str:
    """A Maven that copies files whose content is their name."""
    writes = "\n".join(f'printf %s "{content}" > "$target/{name}"' for name, content in names.items())
    return (
        f'for each; do case $each in -DoutputDirectory=*) target=${{each#*=}};; esac; done; mkdir "$target"\n{writes}'
    )


def test_the_committed_list_names_one_broker_and_its_pom() -> None:
    jars = distribution.wanted_jars()
    version = distribution.kafka_version(jars)
    assert f"<version>{version}</version>" in (distribution.DEPLOY / "pom.xml").read_text()
    assert all(len(digest) == 64 and name.endswith(".jar") for name, digest in jars.items())


def test_jars_are_fetched_once_and_checked_every_time(
    tmp_path: Path, listing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "mvn", f"echo called >> {tmp_path}/calls\n" + copying({name: name for name in listing}))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    cache = tmp_path / "cache"
    assert [path.name for path in distribution.ensure_jars(cache)] == list(listing)
    distribution.ensure_jars(cache)
    assert (tmp_path / "calls").read_text() == "called\n"
    (cache / "9.8.7" / "other-1.jar").write_text("tampered with")
    distribution.ensure_jars(cache)
    assert (tmp_path / "calls").read_text() == "called\ncalled\n"
    assert (cache / "9.8.7" / "other-1.jar").read_text() == "other-1.jar"


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        ({"kafka_2.13-9.8.7.jar": "kafka_2.13-9.8.7.jar", "other-1.jar": "evil"}, "other-1.jar has SHA-256"),
        ({"kafka_2.13-9.8.7.jar": "kafka_2.13-9.8.7.jar"}, "other-1.jar is missing"),
        (
            {"kafka_2.13-9.8.7.jar": "kafka_2.13-9.8.7.jar", "other-1.jar": "other-1.jar", "more.jar": ""},
            "more.jar is not on the list",
        ),
    ],
)
def test_other_jars_than_the_committed_ones_are_refused(
    tmp_path: Path, listing: dict[str, str], monkeypatch: pytest.MonkeyPatch, brought: dict[str, str], said: str
) -> None:
    program(tmp_path / "bin", "mvn", copying(brought))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(StreamprocError, match=said):
        distribution.ensure_jars(tmp_path / "cache")
    assert not (tmp_path / "cache" / "9.8.7").exists()


def test_what_maven_says_is_shown_and_its_absence_too(
    tmp_path: Path, listing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "mvn", "echo no route to anywhere; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(StreamprocError, match="no route to anywhere"):
        distribution.ensure_jars(tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install maven"):
        distribution.ensure_jars(tmp_path / "cache")


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392"])
def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    program(tmp_path / "bin", "java", f"echo 'openjdk version \"{version}\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="needs Java 17"):
        distribution.java_binary()


def test_the_command_says_what_to_install_and_ends_with_2(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    environment.pop("JAVA_HOME", None)
    done = subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", "kafka", "--data", str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "apt-get install openjdk" in done.stderr or "apt-get install maven" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_keeps_its_cluster_and_refuses_another_number_of_nodes(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path, 3, 0)
    assert len({port for pair in ports for port in pair}) == 6
    first = plan_cluster(tmp_path, ports)
    assert choose_ports(tmp_path, 3, 0) == ports
    assert known_cluster(tmp_path) == first
    base = free_port()
    assert [port for port, _ in choose_ports(tmp_path, 1, base)] == [base]
    with pytest.raises(ConfigError, match="holds a cluster of 3"):
        plan_cluster(tmp_path, ports[:1])
    with pytest.raises(ConfigError, match="1 or 3"):
        plan_cluster(tmp_path / "two", ports[:2])
    (tmp_path / "cluster.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        known_cluster(tmp_path)
