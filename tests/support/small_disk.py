"""A small disk of its own under a directory (tmpfs), which can be filled and freed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_LAST: Final = 64 << 20
_LAST_S: Final = 0.4


class SmallDisk:
    """A mounted directory; `fill` takes all room and what becomes free meanwhile, `free` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"
        self._freed = threading.Event()
        self._hog: threading.Thread | None = None

    def fill(self) -> None:
        """Leave nothing. The last megabytes take a moment, as on any disk."""
        self._take(_LAST)
        time.sleep(_LAST_S)
        self._take()
        self._freed.clear()
        self._hog = threading.Thread(target=self._keep_full, name="disk-hog", daemon=True)
        self._hog.start()

    def free(self) -> None:
        """Give the room back."""
        if self._hog is not None:
            self._freed.set()
            self._hog.join()
            self._hog = None
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Give all of it back; what it held is gone."""
        self.free()
        # Lazily: a process of the test that still ends may hold a file.
        subprocess.run(["umount", "-l", str(self.path)], check=True, capture_output=True)

    def _keep_full(self) -> None:
        # A server removes files that it has merged or given up: that room is taken too.
        while not self._freed.wait(0.02):
            self._take()

    def _take(self, but: int = 0) -> None:
        with self._ballast.open("ab") as file, contextlib.suppress(OSError):
            while (room := self._room() - but) > 0:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), room)

    def _room(self) -> int:
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize


def mount(path: Path, megabytes: int) -> SmallDisk:
    """Mount a tmpfs of that size on `path`.

    Raises:
        PermissionError: we may not mount.
    """
    path.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m,mode=0700,nr_inodes={500 * megabytes}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], capture_output=True, text=True)
    if mounted.returncode:
        raise PermissionError(f"a full disk needs the right to mount: {mounted.stderr.strip() or mounted.returncode}")
    return SmallDisk(path)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """As `mount`, for as long as the body runs; a test that may not mount is skipped."""
    try:
        disk = mount(path, megabytes)
    except PermissionError as error:
        pytest.skip(str(error))
    try:
        yield disk
    finally:
        disk.unmount()
