"""Starts a program that dies with its parent: `python exec_child.py PARENT_PID PROGRAM ARGS...`.

A file of its own, started by path with the standard library alone, because the safe place to ask the kernel for this
is the child itself, between fork and exec: code run in a forked copy of a process with threads may hang.
"""

import os
import signal
import sys


def die_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent ends; elsewhere the child outlives a killed parent."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        # It ended before the request was made, so no signal will ever come.
        sys.exit(1)


def main() -> None:
    """Replace this process by the program named on the command line."""
    parent, *argv = sys.argv[1:]
    die_with_parent(int(parent))
    os.execvp(argv[0], argv)  # noqa: S606  # no shell wanted: the arguments are ours


if __name__ == "__main__":
    main()
