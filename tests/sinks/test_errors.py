"""Every error is sorted once: who must act, and a reason to count it by; no text shows a password."""

from __future__ import annotations

import builtins
import errno
import sys

import aiohttp
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from streamproc.errors import PermanentError, RetryableError
from streamproc.sinks.clickhouse_errors import PERMANENT_CODES, RETRYABLE_CODES, sort_clickhouse_error
from streamproc.sinks.redis_errors import sort_redis_error


def by_code(code: int) -> DatabaseError:
    return DatabaseError(
        f"Received ClickHouse exception, code: {code}, server response: Code: {code}. DB::Exception: x", code=code
    )


def by_status(status: int) -> DatabaseError:
    return DatabaseError(f"HTTP driver received HTTP status {status}, server response: busy (for url http://u:p@h:1)")


@pytest.mark.parametrize("code", [159, 202, 209, 210, 241, 242, 243, 252, 285, 999])
def test_clickhouse_codes_that_pass(code: int) -> None:
    assert isinstance(sort_clickhouse_error(by_code(code)), RetryableError)


@pytest.mark.parametrize("code", [6, 16, 20, 27, 38, 41, 53, 60, 81, 117, 192, 193, 194, 195, 349, 516])
def test_clickhouse_codes_that_stay(code: int) -> None:
    assert isinstance(sort_clickhouse_error(by_code(code)), PermanentError)


def test_no_code_is_in_both_lists_and_every_reason_is_unique() -> None:
    assert not RETRYABLE_CODES.keys() & PERMANENT_CODES.keys()
    reasons = [*RETRYABLE_CODES.values(), *PERMANENT_CODES.values()]
    assert len(set(reasons)) == len(reasons)


def test_unknown_clickhouse_errors_are_retried_and_named_so() -> None:
    for error, reason in (
        (by_code(12345), "unknown_code_12345"),
        (by_status(599), "unknown_http_599"),
        (DatabaseError("what?"), "unknown_clickhouse"),
        (RuntimeError("what?"), "unknown_RuntimeError"),
    ):
        found = sort_clickhouse_error(error)
        assert isinstance(found, RetryableError)
        assert found.reason == reason


def test_http_statuses() -> None:
    kinds = {
        status: type(sort_clickhouse_error(by_status(status))) for status in (401, 403, 404, 429, 500, 502, 503, 504)
    }
    permanent = {401, 403, 404}
    assert kinds == {status: PermanentError if status in permanent else RetryableError for status in kinds}


def test_transport_errors() -> None:
    refused = OperationalError("Network Error: http://user:secret@host")
    refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
    slow = OperationalError("Network Error: ")
    slow.__cause__ = aiohttp.ServerTimeoutError()
    reasons = [
        sort_clickhouse_error(error) for error in (refused, slow, builtins.TimeoutError(), ProgrammingError("misuse"))
    ]
    assert [(type(each), each.reason) for each in reasons] == [
        (RetryableError, "connection"),
        (RetryableError, "timeout"),
        (RetryableError, "timeout"),
        (PermanentError, "client_misuse"),
    ]
    assert str(reasons[0]) == "connection: [Errno 111] Connection refused"


def test_an_error_before_the_driver_is_loaded_is_sorted_without_loading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a free file descriptor nothing can be imported, and connecting fails for the same reason."""
    monkeypatch.delitem(sys.modules, "clickhouse_connect.driver.exceptions")
    monkeypatch.setattr(sys, "meta_path", [])
    full = OSError(errno.EMFILE, "Too many open files")
    for error, reason in ((full, "connection"), (ImportError("no module"), "unknown_ImportError")):
        found = sort_clickhouse_error(error)
        assert isinstance(found, RetryableError) and found.reason == reason


def test_texts_show_no_url_and_no_password() -> None:
    text = str(sort_clickhouse_error(by_status(503)))
    assert "u:p" not in text
    assert "h:1" not in text
    assert "s3cret" not in str(sort_redis_error(ConnectionError("redis://user:s3cret@host:1 is away")))


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (BusyLoadingError("Redis is loading the dataset in memory"), RetryableError, "loading"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), RetryableError, "out_of_memory"),
        (ReadOnlyError("You can't write against a read only replica."), RetryableError, "read_only_replica"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), RetryableError, "cannot_persist"),
        (ResponseError("ERR x script: f, on @user_script:1. OOM command not allowed"), RetryableError, "out_of_memory"),
        (ResponseError("BUSY Redis is busy running a script."), RetryableError, "script_busy"),
        (MaxConnectionsError("Too many connections"), RetryableError, "connection"),
        (ConnectionError("Error 111 connecting"), RetryableError, "connection"),
        (TimeoutError("Timeout reading from socket"), RetryableError, "timeout"),
        (ConnectionResetError("reset"), RetryableError, "connection"),
        (ResponseError("ERR unknown thing"), RetryableError, "unknown_ResponseError"),
        (RedisError("?"), RetryableError, "unknown_RedisError"),
        (AuthenticationError("invalid username-password pair"), PermanentError, "authentication_failed"),
        (NoPermissionError("this user has no permissions"), PermanentError, "no_permission"),
        (MovedError("3999 127.0.0.1:6381"), PermanentError, "cluster_without_cluster_client"),
        (
            ResponseError("ERR Script attempted to access a non local key in a cluster node script: f"),
            PermanentError,
            "cluster_without_cluster_client",
        ),
        (ResponseError("WRONGTYPE Operation against a key"), PermanentError, "wrong_type_of_key"),
    ],
)
def test_redis_errors(error: Exception, kind: type[Exception], reason: str) -> None:
    found = sort_redis_error(error)
    assert (type(found), found.reason) == (kind, reason)


def test_what_is_sorted_stays_as_it_is() -> None:
    for error in (RetryableError("a"), PermanentError("b")):
        assert sort_clickhouse_error(error) is error
        assert sort_redis_error(error) is error
