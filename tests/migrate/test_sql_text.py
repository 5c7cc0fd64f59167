"""Scripts are cut at the semicolons that end statements, and at no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproc.sql_text import split_statements


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; -- nothing\n ; /* ; */ ", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';--', 2; SELECT 3", ["SELECT ';--', 2", "SELECT 3"]),
        (r"SELECT 'it\'s;', 'it''s;', '\\'; SELECT 2", [r"SELECT 'it\'s;', 'it''s;', '\\'", "SELECT 2"]),
        ('SELECT `a;b`, "c;d"; SELECT 2', ['SELECT `a;b`, "c;d"', "SELECT 2"]),
        ("SELECT 1 -- one; two\n+ 1;", ["SELECT 1 + 1"]),
        ("SELECT 1 /* one;\n two */+ 1;", ["SELECT 1 + 1"]),
        ("SELECT $$a;'b$$; SELECT $x$c;$$d$x$", ["SELECT $$a;'b$$", "SELECT $x$c;$$d$x$"]),
        ("SELECT 'two\n  lines';", ["SELECT 'two\n  lines'"]),
        ("SELECT 3 - 1, 4 / 2", ["SELECT 3 - 1, 4 / 2"]),
    ],
)
def test_cuts(script: str, statements: list[str]) -> None:
    assert split_statements(script) == statements


@pytest.mark.parametrize(
    "script", ["SELECT 1;\nSELECT 'open", "SELECT 1;\n/* open", 'SELECT 1;\nSELECT "a', "\nSELECT `a"]
)
def test_what_is_not_closed_is_named_by_line(script: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: .* is not closed"):
        split_statements(script)


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_text_in_quotes_stays_whole(texts: list[str]) -> None:
    quoted = ["SELECT '" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in texts]
    assert split_statements(";".join(quoted)) == quoted
