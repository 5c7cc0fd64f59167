"""Splits a ClickHouse statement into tokens lazily, so that data behind the statement is never looked at."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# Possessive quantifiers (++, *+) keep an unterminated string from being retried in every way it could be split.
_TOKEN = re.compile(
    rb"""
    (?P<space>\s++|--[^\n]*+|\#[!\x20][^\n]*+|/\*.*?\*/)
    |(?P<string>'(?:[^'\\]++|\\.|'')*+')
    |(?P<quoted>`(?:[^`\\]++|\\.|``)*+`|"(?:[^"\\]++|\\.|"")*+")
    |(?P<heredoc>\$(?P<tag>\w*+)\$.*?\$(?P=tag)\$)
    |(?P<word>[A-Za-z_][A-Za-z0-9_$]*+)
    |(?P<number>[0-9][A-Za-z0-9_.]*+)
    |(?P<mark>.)
    """,
    re.X | re.S,
)
_OPENING, _CLOSING, _BROKEN = b"([{", b")]}", b"'`\""


class Token(NamedTuple):
    """One token: what it is, its bytes, where it lies and how many brackets are open around it."""

    kind: str
    raw: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        return self.kind == "word" and self.raw.upper() in words

    def is_mark(self, mark: bytes) -> bool:
        return self.kind == "mark" and self.raw == mark

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted")


def tokens(text: bytes) -> Iterator[Token]:
    """All tokens but white space and comments; ends early at a quote that is never closed."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        raw = match.group()
        if kind == "mark":
            if raw in _BROKEN:
                return
            if raw in _CLOSING:
                depth -= 1
            yield Token(kind, raw, match.start(), match.end(), depth)
            if raw in _OPENING:
                depth += 1
        else:
            yield Token(kind, raw, match.start(), match.end(), depth)


class Cursor:
    """The tokens of a text with one token of lookahead."""

    def __init__(self, text: bytes) -> None:
        self._tokens = tokens(text)
        self._next: Token | None = next(self._tokens, None)

    def peek(self) -> Token | None:
        return self._next

    def take(self) -> Token | None:
        token = self._next
        self._next = next(self._tokens, None)
        return token

    def take_word(self, *words: bytes) -> Token | None:
        token = self._next
        return self.take() if token is not None and token.is_word(*words) else None

    def take_mark(self, mark: bytes) -> Token | None:
        token = self._next
        return self.take() if token is not None and token.is_mark(mark) else None
