"""`streamproc up` and the command itself: wrong use is exit code 2 and one line, never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port


def streamproc(*arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", *arguments], capture_output=True, text=True, timeout=timeout_s
    )


def other_ports() -> list[str]:
    return [
        *("--broker-port", str(free_port()), "--redis-port", str(free_port())),
        *("--clickhouse-port", str(free_port()), "--metrics-port", str(free_port())),
    ]


def test_help_is_fast_and_lists_the_commands() -> None:
    begun = time.monotonic()
    done = streamproc("--help")
    assert done.returncode == 0
    for command in ("up", "doctor"):
        assert command in done.stdout
    assert time.monotonic() - begun < 5, "a loaded machine; alone it takes 0.3 s"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom streamproc.cli.main import build_app\nbuild_app()\n"
        "heavy = {'faust', 'aiokafka', 'clickhouse_connect', 'chdb', 'aiohttp', 'redis', 'pydantic_settings'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version() -> None:
    assert streamproc("--version").stdout.startswith("streamproc ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--for", "soon"), "soon"),
        (("up", "--workers", "0"), "--workers"),
        (("up", "--rate", "-1"), "--rate"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    done = streamproc(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        done = streamproc("up", "--data-dir", str(tmp_path), *other_ports(), "--redis-port", str(port))
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert f"port {port} for Redis is taken" in done.stderr and "--redis-port" in done.stderr


def test_a_bad_setting_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMPROC_PARTITIONS", "none")
    done = streamproc("up", "--data-dir", str(tmp_path), *other_ports())
    assert done.returncode == 2
    assert "STREAMPROC_PARTITIONS" in done.stderr and "Traceback" not in done.stderr
