"""Cuts SQL scripts into statements: quotes, comments and heredocs are understood, so that a ';' inside them cuts nothing."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]*|\#[!\s][^\n]*|/\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`)
    | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<end>;)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def split_statements(script: str) -> list[str]:
    """The statements of a script without comments, white space outside quotes made one blank; none is empty.

    Raises:
        ValueError: a quote or comment is not closed; says in which line it begins.
    """
    statements: list[str] = []
    parts: list[str] = []
    for token in _TOKEN.finditer(script):
        kind, text = token.lastgroup, token.group()
        if kind == "tag":
            kind = "heredoc"
        if kind == "end":
            statements.append("".join(parts).strip())
            parts = []
        elif kind in ("comment", "space"):
            if parts and parts[-1] != " ":
                parts.append(" ")
        elif kind == "other" and (text in "'\"`" or script.startswith("/*", token.start())):
            line = script.count("\n", 0, token.start()) + 1
            raise ValueError(f"line {line}: {text!r} is not closed")
        else:
            parts.append(text)
    statements.append("".join(parts).strip())
    return [statement for statement in statements if statement]
