"""A ClickHouse with every migration applied. All of one test session begin with a copy of what was migrated once:
the migrations take 4.5 s of processor time, a copy 0.2 s at most."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from streamproc.config import Settings
from streamproc.migrate import migrate
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse

#: Names the folder that all processes of a test session share; without it (fault runs, benchmarks) nothing is copied.
SHARED: Final = "STREAMPROC_TEST_SHARED_DIR"


def start_migrated(data_dir: Path) -> ClickHouseHandle:
    """Start a server on `data_dir`, which is empty or not there yet, with the tables of all migrations."""
    shared = os.environ.get(SHARED)
    if shared is None:
        return _started_and_migrated(data_dir)
    # ClickHouse's links are relative: those of a copy point into the copy.
    shutil.copytree(_template(Path(shared)), data_dir, symlinks=True, dirs_exist_ok=True)
    return start_clickhouse(data_dir)


def _started_and_migrated(data_dir: Path) -> ClickHouseHandle:
    server = start_clickhouse(data_dir)
    try:
        migrate(Settings(clickhouse_url=server.url))
    except BaseException:
        server.kill()
        raise
    return server


def _template(shared: Path) -> Path:
    """The data folder of a server that was migrated and stopped well; the first who asks makes it, the others wait."""
    template = shared / "migrated"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            made = Path(tempfile.mkdtemp(dir=shared))
            server = _started_and_migrated(made)
            code = server.stop()
            if code != 0:
                raise RuntimeError(f"the migrated ClickHouse ended with {code}: its files are no template")
            made.rename(template)
    return template
