"""What can go wrong before anything is started: a taken port, a data directory in use, a bad duration."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamproc.embedded.datadir import locked_data_dir, require_free_port
from streamproc.embedded.durations import format_duration, parse_duration
from streamproc.errors import ConfigError
from tests.support.ports import free_port


def test_a_second_stack_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom streamproc.embedded.datadir import locked_data_dir\n"
        "with locked_data_dir(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"pid {holder.pid}.*--data-dir"), locked_data_dir(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked_data_dir(tmp_path) as directory:
        assert directory.is_absolute()


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--data-dir"), locked_data_dir(tmp_path / "file" / "data"):
        pass


def test_a_taken_port_names_itself_and_its_option() -> None:
    port = free_port()
    require_free_port(port, "Redis", "--redis-port")
    message = rf"port {port} for Redis is taken.*--redis-port"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match=message):
        require_free_port(port, "Redis", "--redis-port")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("90", 90), ("1.5s", 1.5), ("500ms", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "0", "0s", "10 minutes", "1h30", "5w"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="duration"):
        parse_duration(text)


def test_durations_are_shown_short() -> None:
    assert [format_duration(s) for s in (5, 65, 3725, 100_000)] == ["5s", "1m05s", "1h02m", "1d03h"]
