"""Holds a request's body: in memory while it is small, else in a nameless file below the data directory."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

MEMORY_LIMIT = 4 << 20
CHUNK = 1 << 20
_BATCH = 1 << 20


class Spool:
    """Bytes that are appended first and read afterwards."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pending = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def add(self, data: bytes) -> bool:
        """Take bytes into memory; true if it is time to call `flush`, which may block."""
        self._pending += data
        self.size += len(data)
        return len(self._pending) >= (MEMORY_LIMIT if self._file is None else _BATCH)

    def flush(self) -> None:
        """Move what is in memory to the file."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 (closed by `close`)
        self._file.write(self._pending)
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Take bytes, in a thread that may block."""
        if self.add(data):
            self.flush()

    def finish(self) -> None:
        """No more bytes come: what belongs into the file goes there."""
        if self._file is not None:
            self.flush()
            self._file.flush()

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def head(self, length: int) -> bytes:
        """The first bytes, at most `length`."""
        if self._file is None:
            return bytes(self._pending[:length])
        return os.pread(self._file.fileno(), length, 0)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """All bytes from `start` on, in pieces of at most 1 MiB; an error, never an early end, if some are missing."""
        if self._file is None:
            view = memoryview(self._pending)
            for at in range(start, len(view), CHUNK):
                yield bytes(view[at : at + CHUNK])
            start = len(view)
        else:
            while piece := os.pread(self._file.fileno(), CHUNK, start):
                start += len(piece)
                yield piece
        if start < self.size:
            raise OSError(f"only {start} of {self.size} bytes are left of the request's data")

    def close(self) -> None:
        self._pending = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None


class Spools:
    """The spools of one request, which end with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._spools: list[Spool] = []

    def new(self, pieces: Iterable[bytes] = ()) -> Spool:
        """A spool for bytes to come, or filled with `pieces`; not for the event loop if there are any."""
        spool = Spool(self.directory)
        self._spools.append(spool)
        for piece in pieces:
            spool.write(piece)
        spool.finish()
        return spool

    def close(self) -> None:
        for spool in self._spools:
            spool.close()
