"""Command lines of child processes: bound to the life of this process, and our own commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_EXEC_CHILD = Path(__file__).with_name("exec_child.py")


def bound_argv(argv: list[str]) -> list[str]:
    """The same command, killed by the kernel when this process ends in whatever way (Linux)."""
    return [sys.executable, "-I", "-S", str(_EXEC_CHILD), str(os.getpid()), *argv]


def own_argv(*arguments: str) -> list[str]:
    """A `streamproc` command in this interpreter."""
    return module_argv("streamproc.cli.main", *arguments)


def module_argv(module: str, *arguments: str) -> list[str]:
    """One of our modules as a program; `-P`, so that files in the current directory never shadow our packages."""
    return [sys.executable, "-P", "-m", module, *arguments]
