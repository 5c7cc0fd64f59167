"""What a client asks for, read from URL, headers and form fields as ClickHouse reads them."""

import base64
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.errors import ClickHouseError

# Parameters that steer the HTTP interface and are no settings of the query.
_RESERVED = frozenset(
    [
        "query",
        "query_id",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "stacktrace",
        "role",
        "client_protocol_version",
        "framing",
    ]
)
# An insert is acknowledged only when its rows are in the table, whatever the client would put up with.
_ALWAYS_SYNCHRONOUS = frozenset(("async_insert", "wait_for_async_insert", "wait_for_async_insert_timeout"))
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_PARAM_NAME = re.compile(r"[A-Za-z0-9_$]+\Z")
_DEFAULT_SESSION_SECONDS = 60
_MAX_SESSION_SECONDS = 3600


@dataclass
class Credentials:
    """Who the client says it is."""

    user: str = "default"
    password: str = field(default="", repr=False)


@dataclass
class Request:
    """One request for a statement, without its body."""

    query: bytes = b""
    query_id: str = ""
    database: str = ""
    default_format: str = "TabSeparated"
    content_encoding: str = ""
    accept_encoding: str = ""
    client_version: int = 0
    read_only: bool = False
    roles: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    session_timeout: int = _DEFAULT_SESSION_SECONDS
    session_check: bool = False
    close_session: bool = False
    external: dict[str, str] = field(default_factory=dict)
    tag: str = field(default_factory=lambda: f"http:{uuid.uuid4()}")

    def add_fields(self, fields: Iterable[tuple[str, str]], external: frozenset[str] = frozenset()) -> None:
        """Settings and `param_*` from the URL or a form; what describes an external table is put aside."""
        for name, value in fields:
            if name.startswith("param_") and _PARAM_NAME.match(name[6:]):
                self.params[name[6:]] = value
            elif name == "role":
                self.roles.append(value)
            elif name in _RESERVED or name in _ALWAYS_SYNCHRONOUS:
                continue
            elif _describes(name, external):
                self.external[name] = value
            elif _SETTING_NAME.match(name):
                self.settings[name] = value
            else:
                raise ClickHouseError(errors.UNKNOWN_SETTING, f"Unknown setting '{name}'")

    @property
    def compress_response(self) -> bool:
        return self._is_on("enable_http_compression")

    @property
    def cancel_when_closed(self) -> bool:
        """Whether a SELECT ends with its client; `tag` then finds it, for chDB takes no query_id."""
        return self._is_on("cancel_http_readonly_queries_on_client_close") and "log_comment" not in self.settings

    def _is_on(self, setting: str) -> bool:
        return self.settings.get(setting, "0").lower() in ("1", "true")


def _describes(name: str, external: frozenset[str]) -> bool:
    table, _, what = name.rpartition("_")
    return what in ("structure", "types", "format") and table in external


def read_request(
    method: str,
    url: list[tuple[str, str]],
    headers: Mapping[str, str],
    external: frozenset[str] = frozenset(),
) -> Request:
    """Everything but the body; raises what ClickHouse would answer."""
    first = dict(reversed(url))
    for name in ("compress", "decompress"):
        if first.get(name, "0").lower() not in ("0", "false", ""):
            raise ClickHouseError(
                errors.NOT_IMPLEMENTED,
                f"{name}=1 (ClickHouse's native block compression) is not supported: use Content-Encoding"
                " or Accept-Encoding with enable_http_compression=1",
            )
    request = Request(
        query=first.get("query", "").encode("utf-8", "surrogateescape"),
        query_id=first.get("query_id") or headers.get("X-ClickHouse-Query-Id") or str(uuid.uuid4()),
        database=first.get("database") or headers.get("X-ClickHouse-Database", ""),
        default_format=first.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
        content_encoding=headers.get("Content-Encoding", "").strip().lower(),
        accept_encoding=headers.get("Accept-Encoding", ""),
        client_version=_client_version(first.get("client_protocol_version", "")),
        read_only=method in ("GET", "HEAD"),
        session_id=first.get("session_id", ""),
        session_timeout=_session_timeout(first.get("session_timeout", "")),
        session_check=first.get("session_check") == "1",
        close_session=first.get("close_session") == "1",
    )
    request.add_fields(url, external)
    return request


def whole_number(value: str) -> int | None:
    """A number of 1 to 18 digits; None if it is none. (int() raises ValueError beyond 4,300 digits.)"""
    return int(value) if 0 < len(value) < 19 and value.isascii() and value.isdigit() else None


def _client_version(value: str) -> int:
    version = whole_number(value or "0")
    if version is None:
        raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, f"Invalid client_protocol_version: '{value[:100]}'")
    return version


def _session_timeout(value: str) -> int:
    if not value:
        return _DEFAULT_SESSION_SECONDS
    seconds = whole_number(value)
    if seconds is None or seconds > _MAX_SESSION_SECONDS:
        raise ClickHouseError(
            errors.INVALID_SESSION_TIMEOUT,
            f"Invalid session timeout: '{value[:100]}' (at most {_MAX_SESSION_SECONDS} seconds)",
        )
    return seconds


def read_credentials(url: Mapping[str, str], headers: Mapping[str, str]) -> Credentials:
    """From ClickHouse's headers, else basic authentication, else the URL; never a mixture."""
    user, key = headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    authorization = headers.get("Authorization", "")
    if user is not None or key is not None:
        if authorization or "user" in url or "password" in url:
            raise ClickHouseError(
                errors.AUTHENTICATION_FAILED,
                "Invalid authentication: it is not allowed to use X-ClickHouse HTTP headers and other"
                " authentication methods simultaneously",
            )
        return Credentials(user or "default", key or "")
    if authorization:
        if "user" in url or "password" in url:
            raise ClickHouseError(
                errors.AUTHENTICATION_FAILED,
                "Invalid authentication: it is not allowed to use Authorization HTTP header and"
                " authentication via parameters simultaneously",
            )
        return _basic(authorization)
    return Credentials(url.get("user") or "default", url.get("password", ""))


def _basic(authorization: str) -> Credentials:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise ClickHouseError(
            errors.AUTHENTICATION_FAILED,
            f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported",
        )
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, no ASCII, no UTF-8
        raise ClickHouseError(
            errors.AUTHENTICATION_FAILED, "Invalid authentication: the Authorization header cannot be read"
        ) from error
    return Credentials(user or "default", password)
