"""Where the lines of child processes and the supervisor's own messages go: the terminal, memory, and bounded files."""

from __future__ import annotations

import logging.handlers
import os
import re
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TextIO

LOG_FILE_BYTES = 5 * 1024 * 1024
LOG_FILES_KEPT = 2
TAIL_LINES = 40
RECENT_LINES = 12
MAX_LINE_BYTES = 16 * 1024
OWN_NAME = "up"

_COLOURS = (36, 35, 34, 33, 32, 96, 95, 94, 92)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Journal:
    """Takes lines from any thread. `echo` False keeps them off the terminal (the live view shows `recent` instead)."""

    def __init__(self, directory: Path | None = None, out: TextIO | None = None, echo: bool = True) -> None:
        self.echo = echo
        self.recent: deque[tuple[str, str]] = deque(maxlen=RECENT_LINES)
        self._out = out or sys.stdout
        self._colour = self._out.isatty() and not os.environ.get("NO_COLOR")
        self._directory = directory
        self._files: dict[str, logging.Handler] = {}
        self._tails: dict[str, deque[str]] = {}
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """A message of the supervisor itself: to the terminal (or the live view) and to up.log."""
        self.line(OWN_NAME, text)

    def line(self, name: str, text: str) -> None:
        """One line of the part `name`; colours are taken out of what is stored."""
        plain = _ANSI.sub("", text)
        with self._lock:
            self._tails.setdefault(name, deque(maxlen=TAIL_LINES)).append(plain)
            self.recent.append((name, plain))
            self._store(name, plain)
            if self.echo:
                self._show(f"{self._prefix(name)} {text if self._colour else plain}\n")

    def tail(self, name: str, lines: int = 8) -> list[str]:
        """The last lines of a part."""
        with self._lock:
            return list(self._tails.get(name, ()))[-lines:]

    def log_path(self, name: str) -> Path | None:
        """The file that keeps the lines of a part."""
        return self._directory / f"{name}.log" if self._directory else None

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for handler in self._files.values():
                handler.close()
            self._files.clear()

    def pump(self, name: str, descriptor: int) -> threading.Thread:
        """Read lines from a pipe until its end in a thread of its own, so that no child waits for the event loop."""
        thread = threading.Thread(target=self._pump, args=(name, descriptor), name=f"log-{name}", daemon=True)
        thread.start()
        return thread

    def _pump(self, name: str, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            while raw := pipe.readline(MAX_LINE_BYTES):
                text = raw.decode("utf-8", "replace").rstrip()
                if text:
                    self.line(name, text)

    def _show(self, line: str) -> None:
        try:
            self._out.write(line)
            self._out.flush()
        except OSError:
            # The reader of our output is gone (`| head`). The files go on, and so must the parts, which would stand
            # still if nobody read their pipes.
            self.echo = False

    def _prefix(self, name: str) -> str:
        label = f"{name:>12} |"
        if not self._colour:
            return label
        code = 1 if name == OWN_NAME else _COLOURS[sum(name.encode()) % len(_COLOURS)]
        return f"\x1b[{code}m{label}\x1b[0m"

    def _store(self, name: str, text: str) -> None:
        path = self.log_path(name)
        if path is None:
            return
        handler = self._files.get(name)
        if handler is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = self._files[name] = logging.handlers.RotatingFileHandler(
                path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8", errors="replace"
            )
        handler.emit(logging.LogRecord(name, logging.INFO, "", 0, text, None, None))
