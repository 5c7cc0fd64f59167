"""Every Redis error sorted once, with a reason: retry it, tell a human, or unknown (retried, and counted as such)."""

from __future__ import annotations

import asyncio
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import redact

#: First words of Redis's error replies that pass by themselves.
_RETRYABLE: Final[dict[str, str]] = {
    "LOADING": "loading",
    "OOM": "out_of_memory",
    "READONLY": "read_only_replica",
    "MASTERDOWN": "master_down",
    "CLUSTERDOWN": "cluster_down",
    "TRYAGAIN": "cluster_try_again",
    "BUSY": "script_busy",
    "MISCONF": "cannot_persist",
    "NOREPLICAS": "no_replicas",
    "UNBLOCKED": "unblocked",
    "NOSCRIPT": "script_not_loaded",
    "EXECABORT": "transaction_aborted",
}

#: First words that stay until somebody changes the configuration.
_PERMANENT: Final[dict[str, str]] = {
    "NOAUTH": "authentication_required",
    "WRONGPASS": "wrong_password",
    "NOPERM": "no_permission",
    "WRONGTYPE": "wrong_type_of_key",
    "MOVED": "cluster_without_cluster_client",
    "ASK": "cluster_without_cluster_client",
    "CROSSSLOT": "cluster_without_cluster_client",
    "DENIED": "protected_mode",
}
#: Exceptions of redis-py that lost that word.
_CLASSES: Final[dict[str, str]] = {
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "AskError": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "ExecAbortError": "EXECABORT",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
_LONGEST: Final = 400


def sort_redis_error(error: BaseException) -> RetryableError | PermanentError:
    """The same failure as one of our errors, its text without credentials.

    What nobody sorted yet becomes RetryableError('unknown_...'): nothing is dropped, and the counter shows it.
    """
    if isinstance(error, RetryableError | PermanentError):
        return error
    detail = redact(str(error))[:_LONGEST]
    by_reply = _by_reply(error, detail)
    if by_reply is not None:
        return by_reply
    if isinstance(error, AuthenticationError):
        return PermanentError("authentication_failed", detail)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return RetryableError("timeout", detail)
    if isinstance(error, ConnectionError | OSError):
        return RetryableError("connection", detail)
    return RetryableError(f"unknown_{type(error).__name__}", detail)


def _by_reply(error: BaseException, detail: str) -> RetryableError | PermanentError | None:
    """By the first word of the reply: redis-py strips it from some exceptions, whose class then names it."""
    if not isinstance(error, RedisError):
        return None
    first = detail.partition(" ")[0]
    named = getattr(error, "status_code", None) or _CLASSES.get(type(error).__name__, first)
    for word in (named, first):
        if word in _PERMANENT:
            return PermanentError(_PERMANENT[word], detail)
        if word in _RETRYABLE:
            return RetryableError(_RETRYABLE[word], detail)
    if "non local key" in detail:
        return PermanentError("cluster_without_cluster_client", detail)
    # A command in a script can fail inside: "ERR ... script: ..., on @user_script:1. OOM command not allowed".
    if isinstance(error, ResponseError):
        for word, reason in _RETRYABLE.items():
            if f"{word} " in detail:
                return RetryableError(reason, detail)
    return None
