"""`streamproc worker --role all`: a process for each role, so that a sink that is down slows only what needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

from streamproc.app import roles_of
from streamproc.config import Settings
from streamproc.logs import get_logger

log = get_logger("worker")

_RESTART_PAUSE_S = 1.0
_CONFIG_ERROR = 2


def _spawn(settings: Settings, number: int, role: str) -> subprocess.Popen[bytes]:
    port = settings.metrics_port + number if settings.metrics_port else 0
    argv = [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", role, "--metrics-port", str(port)]
    return subprocess.Popen(argv, env=os.environ.copy())


def run_all(settings: Settings) -> int:
    """Run all roles until SIGTERM or SIGINT, starting again what dies; exit code 2 if one is not configured right."""
    stopping = False

    def stop(_signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    roles = roles_of(settings)
    children = {role: _spawn(settings, number, role) for number, role in enumerate(roles)}
    code = 0
    while not stopping:
        time.sleep(0.2)
        for number, role in enumerate(roles):
            ended = children[role].poll()
            if ended == _CONFIG_ERROR:
                stopping, code = True, _CONFIG_ERROR
            elif ended is not None and not stopping:
                log.error("a role ended and is started again", role=role, exit_code=ended)
                time.sleep(_RESTART_PAUSE_S)
                children[role] = _spawn(settings, number, role)
    for child in children.values():
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children.values():
        child.wait(timeout=30)
    return code
