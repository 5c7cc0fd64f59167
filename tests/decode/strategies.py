"""Records as Hypothesis draws them: valid events in odd but legal forms, and such with one thing broken."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

TOPICS: Final = ("user-events", "video-status", "cost-events")

_HEX = "0123456789abcdefABCDEF"
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
_SPACE = st.text(alphabet=" \t\r\n", max_size=2)
_INT64 = st.one_of(st.integers(0, 50_000), st.integers(-(2**63), 2**63 - 1))


@st.composite
def string_literal(draw: st.DrawFn, text: str) -> str:
    """A JSON string of `text`, each character raw or escaped in one of the legal ways."""
    style = draw(st.sampled_from(["plain", "ascii", "mixed"]))
    if style != "mixed":
        return json.dumps(text, ensure_ascii=style == "ascii")
    parts = []
    for char in text:
        units = char.encode("utf-16-be")
        escaped = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
        parts.append(escaped if draw(st.booleans()) else json.dumps(char, ensure_ascii=False)[1:-1])
    return '"' + "".join(parts) + '"'


@st.composite
def uuids(draw: st.DrawFn) -> str:
    """A UUID in digits of either case."""
    digits = draw(st.text(alphabet=_HEX, min_size=32, max_size=32))
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@st.composite
def times(draw: st.DrawFn) -> str:
    """An RFC 3339 time; most are near now, some anywhere, so that a few are out of the calendar."""
    years = st.integers(1, 9999) if draw(st.integers(0, 29)) == 29 else st.integers(1970, 2105)
    year = draw(st.one_of(st.integers(2024, 2026), years))
    month = draw(st.integers(1, 12))
    day = draw(st.integers(29, 31) if draw(st.integers(0, 9)) == 9 else st.integers(1, 28))
    clock = f"{draw(st.integers(0, 23)):02d}:{draw(st.integers(0, 59)):02d}:{draw(st.integers(0, 59)):02d}"
    decimals = draw(st.one_of(st.sampled_from(["", "123", "123456"]), st.text("0123456789", min_size=1, max_size=9)))
    zone = draw(st.sampled_from(["Z", "Z", "+00:00", "-00:00", "+05:30", "-23:59", "+23:59"]))
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}{'.' + decimals if decimals else ''}{zone}"


_DIGITS = st.text("0123456789", min_size=1, max_size=22)
_WHOLE = st.one_of(st.integers(0, 2000).map(str), st.integers(0, 10**17).map(str))


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """A JSON number with any number of decimals, and at times an exponent; halves of 1/10000 are frequent."""
    text = draw(st.sampled_from(["", "-"])) + draw(_WHOLE)
    tail = draw(st.sampled_from(["", "", ".", ".half"]))
    if tail == ".":
        text += "." + draw(_DIGITS)
    elif tail:
        text += f".{draw(st.integers(0, 9999)):04d}5" + "0" * draw(st.integers(0, 3))
    if draw(st.integers(0, 5)) == 0:
        text += (
            draw(st.sampled_from(["e", "E"])) + draw(st.sampled_from(["", "+", "-"])) + str(draw(st.integers(0, 25)))
        )
    return text


@st.composite
def amounts(draw: st.DrawFn) -> str:
    """Literal of an amount: a number, or a string of one."""
    number = draw(numbers())
    return draw(st.sampled_from([number, f'"{number}"']))


def _strings(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return strategy.flatmap(string_literal)


_INT = _INT64.map(str)
_VERSION = st.sampled_from(["1.0.0", "1.0.0", "1.2.3", "1.0.0-rc.1", "1.10.0+build.007", "1.0.0-0a.b-c+x"])
_SHARE = st.sampled_from(["0", "1", "0.5", "1.0", "1e0", "5E-1", "-0", "0.00000000000000000001"])
_STATUS = st.sampled_from(["requested", "started", "completed", "failed", "published"])
_COMPONENT = st.sampled_from(["script", "voice", "image", "processing", "other"])
_HEAD = {"event_id": _strings(uuids()), "schema_version": _strings(_VERSION), "occurred_at": _strings(times())}

LITERALS: Final[dict[str, dict[str, st.SearchStrategy[str]]]] = {
    "user-events": _HEAD
    | {
        "user_id": _INT,
        "activity_type": _strings(_TEXT),
        "resource_type": _strings(_TEXT),
        "resource_id": _INT,
        "session_id": _strings(uuids()),
        "ip_address": _strings(_TEXT),
        "user_agent": _strings(_TEXT),
        "response_time_ms": st.integers(0, 2**63 - 1).map(str),
    },
    "video-status": _HEAD
    | {
        "video_id": _INT,
        "channel_id": _INT,
        "user_id": _INT,
        "status": _strings(_STATUS),
        "requested_at": _strings(times()),
        "started_at": _strings(times()),
        "completed_at": _strings(times()),
        "published_at": _strings(times()),
        "youtube_video_id": _strings(_TEXT),
        "video_type": _strings(_TEXT),
        "niche": _strings(_TEXT),
        "title": _strings(_TEXT),
        "duration_seconds": _INT,
        "quality_score": _SHARE,
        "error": _strings(_TEXT),
    },
    "cost-events": _HEAD
    | {
        "video_id": _INT,
        "channel_id": _INT,
        "user_id": _INT,
        "component": _strings(_COMPONENT),
        "amount_usd": amounts(),
        "corrects": _strings(uuids()),
        "provider": _strings(_TEXT),
    },
}
_REQUIRED: Final = {
    *("event_id", "schema_version", "occurred_at", "user_id", "activity_type", "status"),
    *("requested_at", "component", "amount_usd"),
}

_ODD_NUMBERS = ["0", "-0", "-1", "1.0", "1e0", "1.5", "1e400", "-1e-400", "9223372036854775807", "9223372036854775808"]
_ODD_NUMBERS += ["-9223372036854775808", "-9223372036854775809", "1" + "0" * 40, "01", "1.", ".5", "+1", "NaN", "- 1"]
_ODD_TEXTS = ["", " ", "1", "true", "0.5 ", "1e5", "1.0.0", "2.0.0", "0.1.0", "1.0", "v1.0.0", "1.0.0-01", "1.0.0+"]
_ODD_TEXTS += ["2026-03-01T10:00:00Z\n", "2026-03-01t10:00:00Z", "2026-03-01 10:00:00Z", "2026-02-29T10:00:00Z"]
_ODD_TEXTS += ["2026-03-01T24:00:00Z", "2026-03-01T10:00:60Z", "2026-03-01T10:00:00+24:00", "0000-01-01T00:00:00Z"]
_ODD_TEXTS += ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-03-01T10:00:00.0123456789Z", "12,5"]
_ODD_TEXTS += ["2026-13-01T10:00:00Z", "2026-00-10T10:00:00Z", "2026-03-00T10:00:00Z", "2026-03-01T10:00:00", "NaN"]
_ODD_TEXTS += ["123e4567-e89b-12d3-a456-42661417400", "123e4567e89b12d3a456426614174000", "1_0", "０", "completed"]
_ODD_TEXTS += ["123e4567-e89b-12d3-a456-426614174000\n", "{123e4567-e89b-12d3-a456-426614174000}", "١٢", "voice"]
_OTHERS = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
    '{"a":[{"b":"c"}]}',
    '"\\ud800"',
    '"\\udc00x"',
    '"\\x"',
    '"\t"',
    "",
]

ODD: Final = st.one_of(
    st.sampled_from(_ODD_NUMBERS),
    st.sampled_from([json.dumps(text, ensure_ascii=False) for text in _ODD_TEXTS]),
    st.sampled_from(_OTHERS),
    amounts(),
    _strings(times()),
)

Members = list[tuple[str, str]]


@st.composite
def _members(draw: st.DrawFn, topic: str) -> Members:
    members: Members = []
    for name, literal in LITERALS[topic].items():
        there = name in _REQUIRED or draw(st.integers(0, 9)) > 0
        if there:
            null = name not in _REQUIRED and draw(st.integers(0, 19)) == 0
            members.append((json.dumps(name), "null" if null else draw(literal)))
    if draw(st.booleans()):
        members.append((draw(_strings(_TEXT)), draw(st.one_of(ODD, st.just('{"deep":[[{}]]}')))))
    return draw(st.permutations(members)) if draw(st.booleans()) else members


@st.composite
def _render(draw: st.DrawFn, members: Members) -> bytes:
    if not draw(st.booleans()):
        return ("{" + ",".join(f"{key}:{literal}" for key, literal in members) + "}").encode("utf-8", "surrogatepass")
    gap = draw(_SPACE)
    body = f"{gap},{gap}".join(f"{key}{gap}:{gap}{literal}" for key, literal in members)
    return f"{gap}{{{gap}{body}{gap}}}{gap}".encode("utf-8", "surrogatepass")


@st.composite
def events(draw: st.DrawFn, topic: str) -> bytes:
    """An event that is valid in nearly all draws (the calendar and a status may be against it)."""
    return draw(_render(draw(_members(topic))))


@st.composite
def records(draw: st.DrawFn, topic: str) -> bytes | None:
    """Any record: mostly an event, often with one field or one byte changed, at times no event at all."""
    kind: Any = draw(st.sampled_from(["event", "event", "field", "field", "field", "repeat", "drop", "bytes", "fuzz"]))
    if kind == "fuzz":
        return draw(st.one_of(st.none(), st.binary(max_size=40)))
    members = list(draw(_members(topic)))
    place = draw(st.integers(0, len(members) - 1))
    if kind == "field":
        members[place] = (members[place][0], draw(ODD))
    elif kind == "drop":
        del members[place]
    elif kind == "repeat":
        literal = draw(st.one_of(ODD, st.just(members[place][1])))
        members.insert(draw(st.integers(0, len(members))), (members[place][0], literal))
    value = draw(_render(members))
    if kind == "bytes":
        at, cut = draw(st.integers(0, len(value))), draw(st.integers(0, 3))
        value = value[:at] + draw(st.binary(max_size=3)) + value[at + cut :]
    return value
