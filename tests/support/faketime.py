"""A clock that jumps, for one process at a time: libfaketime by LD_PRELOAD, steered by a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def libfaketime() -> str:
    """Path of the library ('' if it is not on this machine): from the PyPI package `libfaketime`, or Debian's `faketime`."""
    spec = importlib.util.find_spec("libfaketime")
    places = [Path("/usr/lib"), Path("/usr/local/lib")]
    if spec is not None and spec.origin:
        places.insert(0, Path(spec.origin).parent)
    for place in places:
        found = sorted(place.rglob("libfaketime.so.1"))
        if found:
            return str(found[0])
    return ""


class Clock:
    """The wall clock of whatever process gets `env`; the monotonic one goes on as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    @property
    def env(self) -> dict[str, str]:
        """Environment variables for the process."""
        return {
            "LD_PRELOAD": libfaketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be that far from the true time from now on."""
        # Replaced, not written: a process that reads it meanwhile must not see an empty file.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(self._file)
