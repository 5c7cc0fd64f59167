"""Where alerts go without Slack: one log line, and one JSON line in DATA_DIR/alerts.log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from schemas.alerts import AlertState
from streamproc.clock import now_ms
from streamproc.errors import RetryableError
from streamproc.logs import get_logger
from streamproc.notify.grouping import Notice

#: The file is renamed to alerts.log.1 at this size; one older file is kept.
MAX_FILE_BYTES: Final = 20 * 1024 * 1024
#: Log lines of one batch; the file has them all.
MAX_LOG_LINES: Final = 10

_log = get_logger("alerts")


class FileSender:
    """Appends notices to a local file and says them in the log."""

    label: Final = "log"
    broken: Final = ""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def send(self, notices: Sequence[Notice], why: str = "") -> None:
        """Write the notices; `why` is the reason that they are not in Slack.

        Raises:
            RetryableError: the file cannot be written (disk full, no such directory).
        """
        for notice in notices[:MAX_LOG_LINES]:
            say = _log.warning if notice.item.state is AlertState.FIRING else _log.info
            say(
                notice.item.summary,
                alert=notice.item.state.value,
                severity=notice.item.severity,
                reminder=notice.reminder,
                id=notice.item.transition_id,
            )
        if len(notices) > MAX_LOG_LINES:
            _log.warning("more alerts in alerts.log", alerts=len(notices) - MAX_LOG_LINES)
        lines = b"".join(
            msgspec.json.encode(
                {
                    "written_at_ms": now_ms(),
                    "reminder": notice.reminder,
                    "not_in_slack": why,
                    **msgspec.structs.asdict(notice.item),
                }
            )
            + b"\n"
            for notice in notices
        )
        try:
            await asyncio.to_thread(_append, self.path, lines)
        except OSError as error:
            raise RetryableError("alerts_log", f"{self.path.name}: {error.strerror}") from error

    async def close(self) -> None:
        """Nothing is held open."""


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
