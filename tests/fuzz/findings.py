"""Findings: the input that made one, made shorter, and kept in the corpus that every test run replays."""

from __future__ import annotations

import gzip
import hashlib
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.target import Check

CORPUS: Final = Path(__file__).parent / "corpus"
#: CPU seconds that one input may take.
LIMIT_S: Final = 1.0
_LARGE: Final = 4096


class Slow(AssertionError):
    """An input took longer than LIMIT_S."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input and what it did: `kind` tells findings of different causes apart."""

    target: str
    kind: str
    text: str
    value: bytes

    def save(self) -> Path:
        """Write the input below the corpus (packed if it is large); its name is a hash of it."""
        folder = CORPUS / self.target
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self.value).hexdigest()[:16]
        path = folder / (f"{name}.bin.gz" if len(self.value) > _LARGE else f"{name}.bin")
        path.write_bytes(gzip.compress(self.value, mtime=0) if path.suffix == ".gz" else self.value)
        return path


def load(path: Path) -> bytes:
    """The input of a corpus file."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def timed(check: Check, inputs: list[bytes]) -> float:
    """CPU seconds of a check; raises what the check raises. CPU, since the machine may be busy with other things."""
    began = time.process_time()
    check(inputs)
    return time.process_time() - began


def problem(check: Check, value: bytes) -> BaseException | None:
    """What one input does, None if it does no harm. Slow ones are measured twice."""
    try:
        if timed(check, [value]) > LIMIT_S and (took := timed(check, [value])) > LIMIT_S:
            return Slow(f"{took:.2f} s for {len(value)} bytes")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return error
    return None


def kind_of(error: BaseException) -> str:
    """Type and place of an exception: the innermost line of ours."""
    error = error.__cause__ or error
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "streamproc" in frame.filename or "tests" in frame.filename]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__} {place}".strip()


def shorter(check: Check, value: bytes, kind: str, budget_s: float = 10.0) -> bytes:
    """A shorter input that does the same, found by leaving pieces out."""
    deadline = time.monotonic() + budget_s

    def still(candidate: bytes) -> bool:
        error = problem(check, candidate)
        return error is not None and kind_of(error) == kind

    size = max(1, len(value) // 2)
    while size and time.monotonic() < deadline:
        at = 0
        while at < len(value) and time.monotonic() < deadline:
            candidate = value[:at] + value[at + size :]
            if still(candidate):
                value = candidate
            else:
                at += size
        size //= 2
    return value
