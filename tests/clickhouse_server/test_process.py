"""The server as a process: what it says when it starts, cannot start, and asks for a password."""

import base64
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clickhouse_server.http import Http
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse


def _fails(*options: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "streamproc.embedded.clickhouse", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, "")
    # One line; the engine itself may add its own above it.
    line = run.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in run.stderr
    return line


def test_a_data_directory_has_one_server(tmp_path: Path) -> None:
    first = start_clickhouse(tmp_path / "data with spaces & ü%20")
    try:
        (ready,) = first.output().splitlines()
        assert f" ready on http://127.0.0.1:{first.port} " in ready
        line = _fails("--port", "0", "--data-dir", str(tmp_path / "data with spaces & ü%20"))
        assert "another server may be using it" in line
        assert Http(first.port).ok("SELECT 1") == "1\n"
    finally:
        assert first.stop() == 0


def test_a_taken_port(server: ClickHouseHandle, tmp_path: Path) -> None:
    line = _fails("--port", str(server.port), "--data-dir", str(tmp_path / "other"))
    assert f"port {server.port} " in line
    assert not (tmp_path / "other").exists()


def test_other_addresses_need_a_password(tmp_path: Path) -> None:
    assert "--password-file" in _fails("--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert "--password-file" in _fails("--user", "ann", "--port", "0", "--data-dir", str(tmp_path / "data"))
    missing = str(tmp_path / "missing")
    assert missing in _fails("--password-file", missing, "--port", "0", "--data-dir", str(tmp_path / "data"))


def test_passwords(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret:ü\n")
    options = ["--user", "ann", "--password-file", str(tmp_path / "password")]
    handle = start_clickhouse(tmp_path / "data", options=options)
    try:
        http = Http(handle.port)
        basic = base64.b64encode("ann:s3cret:ü".encode()).decode()
        wrong = base64.b64encode(b"ann:wrong").decode()
        good: list[tuple[dict[str, str], dict[str, str]]] = [
            ({"Authorization": f"Basic {basic}"}, {}),
            ({"X-ClickHouse-User": "ann", "X-ClickHouse-Key": "s3cret:ü".encode().decode("latin-1")}, {}),
            ({}, {"user": "ann", "password": "s3cret:ü"}),
        ]
        for headers, url in good:
            assert http.post("SELECT 1", headers, **url).text == "1\n"
        bad: list[tuple[dict[str, str], dict[str, str]]] = [
            ({}, {}),
            ({"Authorization": f"Basic {wrong}"}, {}),
            ({"Authorization": "Basic ???"}, {}),
            ({"Authorization": "Bearer x"}, {}),
            ({"X-ClickHouse-User": "bob", "X-ClickHouse-Key": "s3cret:ü".encode().decode("latin-1")}, {}),
            ({}, {"user": "ann", "password": ""}),
            ({"Authorization": f"Basic {basic}"}, {"user": "ann"}),
        ]
        for headers, url in bad:
            answer = http.post("SELECT 1", headers, **url)
            assert (answer.code, answer.status) == (516, 403), answer.text
            assert "s3cret" not in answer.text
        assert http.send("GET", path="/ping").status == 200
    finally:
        assert handle.stop() == 0


def test_without_a_password_only_the_default_user(server: ClickHouseHandle) -> None:
    http = Http(server.port)
    assert http.ok("SELECT 1", user="default", password="") == "1\n"
    assert http.post("SELECT 1", user="bob").code == 516


def test_bodies_on_disk_are_private_and_leave_nothing(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "http_spool"
    spool.mkdir(parents=True)
    (spool / "left_by_a_killed_server").write_text("x")
    handle = start_clickhouse(tmp_path / "data")
    try:
        http = Http(handle.port)
        assert stat.S_IMODE(spool.stat().st_mode) == 0o700
        http.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        rows = "".join(f"{number}\n" for number in range(1_000_000))
        assert http.insert("INSERT INTO t FORMAT TSV", rows).status == 200
        assert http.insert("INSERT INTO t SELECT a FROM input('a UInt64') FORMAT TSV", rows).status == 200
        assert http.insert("INSERT INTO t FORMAT TSV", rows + "x").status == 400
        assert len(http.post("SELECT a FROM t").body) == 2 * len(rows)
        assert list(spool.iterdir()) == []
    finally:
        assert handle.stop() == 0


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x00junk\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
def test_junk_does_not_hurt(server: ClickHouseHandle, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(junk)
        assert connection.recv(100).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert Http(server.port).ok("SELECT 1") == "1\n"
