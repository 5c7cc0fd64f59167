"""Runs statements in a chDB of its own, whose user has the rights of a configuration: `python reader_process.py CONNECTION < JSON`.

chDB has one engine a process and cannot keep users, but reads one user's grants, profile and constraints from a file.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    """Statements in, as a list; the error of each out, or null."""
    chdb: Any = import_module("chdb._chdb")
    handle = chdb.connect(sys.argv[1])
    errors: list[str | None] = []
    for statement in json.load(sys.stdin):
        try:
            answer = handle.query(statement, "Null")
            errors.append(answer.error_message() if answer.has_error() else None)
        except RuntimeError as error:
            errors.append(str(error))
    json.dump(errors, sys.stdout)


if __name__ == "__main__":
    main()
