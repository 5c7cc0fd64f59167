"""The error's type says who acts: retry, set aside, or stop and tell a human."""

from __future__ import annotations


class StreamprocError(Exception):
    """Base of our own errors."""


class ConfigError(StreamprocError):
    """Bad configuration or wrong use: names the field, the value and what is allowed. Exit code 2."""


class RetryableError(StreamprocError):
    """The other side is away, busy or slow: the same call may succeed later."""

    def __init__(self, reason: str, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class PermanentError(StreamprocError):
    """The same call will never succeed: a human must change something. `reason` is a short class name for counters."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
