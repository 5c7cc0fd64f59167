"""The end of a process that must not acknowledge anything any more."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from streamproc.logs import get_logger

log = get_logger("fatal")

EXIT_CODE = 70


def leave() -> NoReturn:
    """End a process that has stopped in good order, but for clients that would keep it alive (exit code 0)."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def die(reason: str) -> NoReturn:
    """Log why, with the traceback in flight, and end the process at once: no ack, no commit, no cleanup.

    What was not yet acknowledged is read again by whoever comes next, from our own progress.
    """
    log.error("ending the process: nothing may be acknowledged after this", reason=reason, exc_info=True)
    logging.shutdown()
    os._exit(EXIT_CODE)
