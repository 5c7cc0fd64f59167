"""`python -m tests.scheduler.process TABLE`: a scheduler as `streamproc scheduler` is one, with a table of the tests."""

from __future__ import annotations

import asyncio
import os
import sys

from batch.scheduler.role import run_scheduler
from streamproc import failpoints
from streamproc.config import load_settings
from streamproc.logs import setup_logs
from tests.scheduler.bodies import TABLES

if __name__ == "__main__":
    setup_logs("console", "info")
    failpoints.arm(os.environ)
    asyncio.run(run_scheduler(load_settings(), TABLES[sys.argv[1]]))
