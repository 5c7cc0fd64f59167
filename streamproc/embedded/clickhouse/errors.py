"""ClickHouse's errors: their codes, their text and the HTTP status that ClickHouse answers them with."""

import re
from http import HTTPStatus
from typing import Self

UNEXPECTED_END_OF_FILE = 3
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
UNKNOWN_TYPE_OF_QUERY = 78
UNKNOWN_SETTING = 115
READONLY = 164
NOT_ENOUGH_SPACE = 243
ZLIB_INFLATE_FAILED = 354
INTO_OUTFILE_NOT_ALLOWED = 358
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
BAD_REQUEST_PARAMETER = 408
AUTHENTICATION_FAILED = 516
ZSTD_DECODER_FAILED = 561
LZ4_DECODER_FAILED = 618
STD_EXCEPTION = 1001

_NAMES = {
    UNEXPECTED_END_OF_FILE: "UNEXPECTED_END_OF_FILE",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    UNKNOWN_TYPE_OF_QUERY: "UNKNOWN_TYPE_OF_QUERY",
    UNKNOWN_SETTING: "UNKNOWN_SETTING",
    READONLY: "READONLY",
    NOT_ENOUGH_SPACE: "NOT_ENOUGH_SPACE",
    ZLIB_INFLATE_FAILED: "ZLIB_INFLATE_FAILED",
    INTO_OUTFILE_NOT_ALLOWED: "INTO_OUTFILE_NOT_ALLOWED",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    INVALID_SESSION_TIMEOUT: "INVALID_SESSION_TIMEOUT",
    BAD_REQUEST_PARAMETER: "BAD_REQUEST_PARAMETER",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    ZSTD_DECODER_FAILED: "ZSTD_DECODER_FAILED",
    LZ4_DECODER_FAILED: "LZ4_DECODER_FAILED",
    STD_EXCEPTION: "STD_EXCEPTION",
}

# Keyed by name, which the engine always puts into its text: a table of names reads better than one of numbers.
_STATUS_OF_NAMES = {
    HTTPStatus.UNAUTHORIZED: "REQUIRED_PASSWORD",
    HTTPStatus.FORBIDDEN: "UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED",
    HTTPStatus.BAD_REQUEST: (
        "BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE"
        " CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER"
        " CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6"
        " CANNOT_PARSE_INPUT_ASSERTION_FAILED CANNOT_PARSE_UUID DUPLICATE_COLUMN ILLEGAL_COLUMN"
        " UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST"
        " UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE"
    ),
    HTTPStatus.NOT_FOUND: (
        "UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE UNKNOWN_DATABASE"
        " UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT"
        " UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE"
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    HTTPStatus.NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK",
    HTTPStatus.LENGTH_REQUIRED: "HTTP_LENGTH_REQUIRED",
    HTTPStatus.REQUEST_TIMEOUT: "TIMEOUT_EXCEEDED",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
}
_STATUS = {name: status for status, names in _STATUS_OF_NAMES.items() for name in names.split()}

_ENGINE_TEXT = re.compile(
    r"\A\s*Code: (?P<code>\d+)\. DB::Exception: (?P<message>.*?)"
    r"(?: \((?P<name>[A-Z][A-Z0-9_]+)\))?(?: \(version [^()]*(?:\([^()]*\))?\))?\s*\Z",
    re.S,
)


class ClickHouseError(Exception):
    """An error as ClickHouse reports it: code, name and message."""

    def __init__(self, code: int, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.name = name or _NAMES.get(code, "STD_EXCEPTION")

    @classmethod
    def from_engine(cls, text: str) -> Self:
        """Read the engine's own text; one without a code becomes STD_EXCEPTION, as in ClickHouse."""
        match = _ENGINE_TEXT.match(text)
        if match is None:
            return cls(STD_EXCEPTION, text.strip() or "the engine failed without a message")
        return cls(int(match["code"]), match["message"], match["name"])

    @property
    def status(self) -> int:
        return _STATUS.get(self.name, HTTPStatus.INTERNAL_SERVER_ERROR)

    def text(self, version: str) -> str:
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name}) (version {version})\n"
