"""Every ClickHouse error sorted once, with a reason: retry it, tell a human, or unknown (retried, and counted as such)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import redact

#: ClickHouse's error codes that pass by themselves: busy, starting, full for the moment, read-only, or not reachable.
RETRYABLE_CODES: Final[dict[int, str]] = {
    3: "unexpected_end_of_file",
    74: "cannot_read_from_disk",
    75: "cannot_write_to_disk",
    76: "cannot_open_file",
    159: "timeout_exceeded",
    160: "too_slow",
    164: "readonly",
    198: "dns_error",
    201: "quota_exceeded",
    202: "too_many_simultaneous_queries",
    203: "no_free_connection",
    209: "socket_timeout",
    210: "network_error",
    225: "no_zookeeper",
    236: "aborted",
    241: "memory_limit_exceeded",
    242: "table_is_read_only",
    243: "not_enough_space",
    252: "too_many_parts",
    279: "all_connections_failed",
    285: "too_few_live_replicas",
    286: "unsatisfied_quorum",
    319: "unknown_status_of_insert",
    394: "query_was_cancelled",
    425: "system_error",
    439: "cannot_schedule_task",
    473: "deadlock_avoided",
    745: "server_overloaded",
    999: "keeper_exception",
}

#: Codes that stay until somebody changes the schema, the rights or the data.
PERMANENT_CODES: Final[dict[int, str]] = {
    6: "cannot_parse_text",
    8: "no_such_column_in_statement",
    16: "no_such_column_in_table",
    20: "number_of_columns_doesnt_match",
    26: "cannot_parse_quoted_string",
    27: "cannot_parse_input",
    33: "cannot_read_all_data",
    36: "bad_arguments",
    38: "cannot_parse_date",
    41: "cannot_parse_datetime",
    43: "illegal_type_of_argument",
    46: "unknown_function",
    47: "unknown_identifier",
    50: "unknown_type",
    53: "type_mismatch",
    57: "table_already_exists",
    60: "unknown_table",
    62: "syntax_error",
    70: "cannot_convert_type",
    72: "cannot_parse_number",
    73: "unknown_format",
    80: "incorrect_query",
    81: "unknown_database",
    115: "unknown_setting",
    117: "incorrect_data",
    192: "unknown_user",
    193: "wrong_password",
    194: "required_password",
    195: "ip_address_not_allowed",
    291: "database_access_denied",
    349: "null_in_non_nullable_column",
    407: "decimal_overflow",
    497: "not_enough_privileges",
    516: "authentication_failed",
}

#: HTTP statuses without ClickHouse's own code: a proxy, or a server that is overloaded, starting or away.
RETRYABLE_STATUSES: Final[dict[int, str]] = {
    408: "http_408_request_timeout",
    425: "http_425_too_early",
    429: "http_429_too_many_requests",
    500: "http_500_internal_error",
    502: "http_502_bad_gateway",
    503: "http_503_unavailable",
    504: "http_504_gateway_timeout",
}
PERMANENT_STATUSES: Final[dict[int, str]] = {
    400: "http_400_bad_request",
    401: "http_401_unauthorized",
    403: "http_403_forbidden",
    404: "http_404_not_found",
    411: "http_411_length_required",
    413: "http_413_too_large",
}

UNKNOWN: Final = "unknown"
_CODE = re.compile(r"\bCode: (\d+)\b")
_STATUS = re.compile(r"\bHTTP status (\d{3})\b")
_URL = re.compile(r"\s*\(for url [^)]*\)")
_LONGEST = 400


def clickhouse_code(error: BaseException) -> int | None:
    """ClickHouse's own error code, from the exception or from its text; None if the server named none."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code
    found = _CODE.search(str(error))
    return int(found.group(1)) if found else None


def sort_clickhouse_error(error: BaseException) -> RetryableError | PermanentError:
    """The same failure as one of our errors, its text without URL and credentials.

    What nobody sorted yet becomes RetryableError('unknown_...'): nothing is dropped, and the counter shows it.
    """
    if isinstance(error, RetryableError | PermanentError):
        return error
    detail = redact(_URL.sub("", str(error)))[:_LONGEST]
    code = clickhouse_code(error)
    if code is not None:
        if code in PERMANENT_CODES:
            return PermanentError(PERMANENT_CODES[code], detail)
        return RetryableError(RETRYABLE_CODES.get(code, f"{UNKNOWN}_code_{code}"), detail)
    found = _STATUS.search(str(error))
    if found:
        status = int(found.group(1))
        if status in PERMANENT_STATUSES:
            return PermanentError(PERMANENT_STATUSES[status], detail)
        return RetryableError(RETRYABLE_STATUSES.get(status, f"{UNKNOWN}_http_{status}"), detail)
    return _without_code(error, detail)


def _without_code(error: BaseException, detail: str) -> RetryableError | PermanentError:
    chain = list(_chain(error))
    if any(isinstance(each, TimeoutError) for each in chain) or "timed out" in detail:
        return RetryableError("timeout", "no answer in time")
    # Its errors exist only once it is loaded. To import it here failed where no file descriptor was left (exit code 70).
    driver = sys.modules.get("clickhouse_connect.driver.exceptions")
    if isinstance(error, OSError) or (driver and isinstance(error, driver.OperationalError)):
        # The driver's text repeats its URL and the stack of libraries; the innermost one says what happened.
        return RetryableError("connection", redact(str(chain[-1]))[:_LONGEST])
    if driver and isinstance(error, driver.ProgrammingError):
        return PermanentError("client_misuse", detail)
    if driver and isinstance(error, driver.ClickHouseError):
        return RetryableError(f"{UNKNOWN}_clickhouse", detail)
    return RetryableError(f"{UNKNOWN}_{type(error).__name__}", detail)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
