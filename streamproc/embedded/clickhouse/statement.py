"""Tells what a request's text is: a statement for the engine, or an INSERT with where its data begins."""

from dataclasses import dataclass

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.lexer import Cursor, Token

_NOT_A_FORMAT = (b"FROM", b"AS", b"IN", b"AND", b"OR", b"IS", b"LIKE", b"BETWEEN", b"ORDER", b"GROUP", b"WHERE")


@dataclass(frozen=True)
class Query:
    """A statement that the engine takes as it is."""

    text: bytes
    first_word: str
    format: str | None = None
    selects: bool = False
    temporary: bool = False


@dataclass(frozen=True)
class Insert:
    """An INSERT whose rows follow as bytes of a format, from `data_at` on; `settings` is its SETTINGS clause, or empty."""

    head: bytes
    settings: bytes
    format: str
    data_at: int


@dataclass(frozen=True)
class InsertThroughInput:
    """INSERT ... SELECT ... FROM input(...): the rows are read where `input(` stood."""

    before: bytes
    after: bytes
    format: str
    data_at: int


Statement = Query | Insert | InsertThroughInput


def parse(text: bytes) -> Statement:
    """Read a statement; `text` may go on into an INSERT's data, of any kind."""
    cursor = Cursor(text)
    first = cursor.peek()
    if first is None:
        raise _syntax_error(text, len(text), "end of query")
    if first.is_word(b"INSERT"):
        return _insert(text, cursor)
    return _query(text, cursor)


def _syntax_error(text: bytes, at: int, what: str) -> ClickHouseError:
    line = text.count(b"\n", 0, at) + 1
    column = at - text.rfind(b"\n", 0, at)
    near = text[at : at + 60].decode("utf-8", "replace")
    return ClickHouseError(
        errors.SYNTAX_ERROR,
        f"Syntax error: failed at position {at + 1} ({what}) (line {line}, col {column}): {near}. ",
    )


def _query(text: bytes, cursor: Cursor) -> Query:
    first = cursor.peek()
    word = first.raw.decode("ascii", "replace").upper() if first is not None and first.kind == "word" else ""
    output: str | None = None
    temporary = inserts = False
    while (token := cursor.take()) is not None:
        if token.kind not in ("word", "mark") or token.depth:
            continue
        following = cursor.peek()
        if token.is_mark(b";"):
            _only_semicolons_follow(text, cursor)
        elif token.is_word(b"INTO") and following is not None and following.is_word(b"OUTFILE"):
            raise ClickHouseError(errors.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed")
        elif token.is_word(b"FORMAT") and following is not None and following.kind == "word":
            output = _output_format(cursor) or output
        elif word == "CREATE" and token.is_word(b"TEMPORARY"):
            temporary = True
        elif token.is_word(b"INSERT"):
            inserts = True
    selects = word in ("SELECT", "WITH") and not inserts
    return Query(text, word, output, selects, temporary)


def _output_format(cursor: Cursor) -> str | None:
    """The word behind FORMAT if it ends the query; a column may be called format, too."""
    name = cursor.take()
    following = cursor.peek()
    ends = following is None or following.is_mark(b";") or following.is_word(b"SETTINGS")
    return name.raw.decode("ascii") if name is not None and ends else None


def _only_semicolons_follow(text: bytes, cursor: Cursor) -> None:
    while (token := cursor.take()) is not None:
        if not token.is_mark(b";"):
            raise _syntax_error(text, token.start, "Multi-statements are not allowed")


def _insert(text: bytes, cursor: Cursor) -> Statement:
    first = cursor.take()
    begin = first.start if first is not None else 0
    cursor.take_word(b"INTO")
    cursor.take_word(b"TABLE")
    if cursor.take_word(b"FUNCTION") is None:
        _table_name(cursor)
    opened: Token | None = None
    settings_at = 0
    while (token := cursor.take()) is not None:
        if token.is_word(b"SELECT", b"WITH") and (token.depth == 0 or (opened is not None and token.depth == 1)):
            return _insert_select(text, cursor)
        opened = token if token.is_mark(b"(") else None
        if token.depth or token.kind not in ("word", "mark"):
            continue
        if token.is_word(b"VALUES"):
            return Insert(*_parts(text, begin, settings_at, token.start), "Values", token.end)
        if token.is_word(b"FORMAT"):
            return _insert_with_format(text, *_parts(text, begin, settings_at, token.start), cursor)
        if token.is_word(b"SETTINGS") and not settings_at:
            settings_at = token.start
        following = cursor.peek()
        if token.is_word(b"FROM") and following is not None and following.is_word(b"INFILE"):
            raise ClickHouseError(errors.UNKNOWN_TYPE_OF_QUERY, "Query has infile and was send directly to server")
        if token.is_mark(b";"):
            break
    raise _syntax_error(text, len(text), "end of query: an INSERT needs FORMAT, VALUES or SELECT")


def _table_name(cursor: Cursor) -> None:
    """Step over the table's name, which may be any word, also `format` or `values`."""
    token = cursor.peek()
    while token is not None and token.is_name:
        cursor.take()
        if cursor.take_mark(b".") is None:
            return
        token = cursor.peek()


def _parts(text: bytes, begin: int, settings_at: int, end: int) -> tuple[bytes, bytes]:
    """Where the rows go, and the SETTINGS clause behind it."""
    return (text[begin:settings_at], text[settings_at:end]) if settings_at else (text[begin:end], b"")


def _insert_with_format(text: bytes, head: bytes, settings: bytes, cursor: Cursor) -> Insert:
    name = cursor.peek()
    if name is None or name.kind != "word":
        raise _syntax_error(text, len(text), "FORMAT needs a name")
    end = name.end
    # One token further would be data: it is read only where the text itself says SETTINGS.
    if text[end:].lstrip()[:9].upper().rstrip() == b"SETTINGS":
        cursor.take()
        more, end = _settings_after_format(text, cursor)
        # Two clauses become one.
        settings = settings.rstrip() + b"," + more[len(b"SETTINGS") :] if settings else more
    return Insert(head, settings, name.raw.decode("ascii"), _data_start(text, end))


def _settings_after_format(text: bytes, cursor: Cursor) -> tuple[bytes, int]:
    """`FORMAT CSV SETTINGS a = 1, b = 'x'`: the clause, for the place before FORMAT, and where it ends."""
    first = last = cursor.take()
    while (name := cursor.take()) is not None and name.kind == "word":
        equals, value = cursor.take(), cursor.take()
        if equals is None or value is None or not equals.is_mark(b"="):
            break
        last = value
        comma = cursor.peek()
        if comma is None or not comma.is_mark(b","):
            start = first.start if first is not None else 0
            return text[start : last.end], last.end
        cursor.take()
    raise _syntax_error(text, last.start if last else len(text), "SETTINGS needs name = value")


def _data_start(text: bytes, end: int) -> int:
    """Data begins behind blanks and at most one line end, as in ClickHouse's own parser."""
    while end < len(text) and text[end] in b" \t\f":
        end += 1
    if text[end : end + 1] == b";":
        raise ClickHouseError(errors.SYNTAX_ERROR, "You have excessive ';' symbol before data for INSERT.")
    if text[end : end + 1] == b"\r":
        end += 1
    if text[end : end + 1] == b"\n":
        end += 1
    return end


def _insert_select(text: bytes, cursor: Cursor) -> Statement:
    source: tuple[int, int, bool] | None = None
    while (token := cursor.take()) is not None:
        following = cursor.peek()
        if token.is_word(b"INPUT") and following is not None and following.is_mark(b"("):
            cursor.take()
            closing = cursor.peek()
            source = (token.start, following.end, closing is not None and closing.is_mark(b")"))
        elif token.depth == 0 and token.is_word(b"FORMAT") and source is not None:
            if following is None or following.kind != "word" or following.is_word(*_NOT_A_FORMAT):
                continue
            start, arguments, none = source
            rest = (b"" if none else b", ") + text[arguments : token.start]
            return InsertThroughInput(
                text[:start], rest, following.raw.decode("ascii"), _data_start(text, following.end)
            )
        elif token.depth == 0 and token.is_mark(b";"):
            _only_semicolons_follow(text, cursor)
    if source is not None:
        raise _syntax_error(text, len(text), "end of query: input() needs FORMAT and data")
    return Query(text, "INSERT")
