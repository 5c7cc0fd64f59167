"""Slack messages (Block Kit) from notices: escaped, bounded, and with the ids of the transitions that they report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.alerts import AlertState
from streamproc.alerts.rules import NO_DATA
from streamproc.alerts.texts import time_text, value_text
from streamproc.notify.grouping import Notice

#: Slack's own limits: 150 in a header, 3,000 in a text, 50 blocks, 10 elements in a context.
_HEADER: Final = 150
_TEXT: Final = 2900
_ELEMENTS: Final = 10
#: Alerts shown in full, and lines in a digest.
_SHOWN: Final = 4
_LINES: Final = 15
_RULES: Final = 10
_MENTION: Final = re.compile(r"<[!@#][^>]*>?|@(?=channel|here|everyone)", re.IGNORECASE)
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_ICON: Final = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


def escape(text: str, limit: int = _TEXT) -> str:
    """Text from anywhere, made safe for Slack: no mentions, no control characters, `& < >` escaped, at most `limit`."""
    plain = _SPACE.sub(" ", _MENTION.sub("", text[: 4 * _TEXT])).strip()
    escaped = [_ENTITIES.get(character, character) for character in plain[:limit]]
    length = sum(map(len, escaped))
    if length <= limit and len(plain) <= limit:
        return "".join(escaped)
    while length > limit - 1:
        length -= len(escaped.pop())
    return "".join(escaped) + "…"


def render(notices: Sequence[Notice], links: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The body of one webhook call: `text` (the notification) and `blocks`.

    `links` are label -> URL of things that exist; none by default. At most 500 notices (see grouping).
    """
    headline = _headline(notices)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": headline[:_HEADER], "emoji": True}}
    ]
    if len(notices) <= _SHOWN:
        for notice in notices:
            blocks.extend(_full(notice))
    else:
        blocks.append(_section(_digest(notices)))
    if links:
        blocks.append(_context([" · ".join(f"<{url}|{escape(label, 60)}>" for label, url in links.items())]))
    blocks.append(_context(_ids(notices)))
    text = headline if len(notices) > 1 else f"{headline}: {escape(notices[0].item.summary, 400)}"
    return {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _word(notice: Notice) -> str:
    return "still firing" if notice.reminder else notice.item.state.value


def _headline(notices: Sequence[Notice]) -> str:
    if len(notices) == 1:
        item = notices[0].item
        kind = item.severity.upper() if item.state is AlertState.FIRING else item.state.value.upper()
        again = " (still firing)" if notices[0].reminder else ""
        where = " ".join(f"{name} {value}" for name, value in item.labels.items())
        return f"{kind}{again}: {escape(item.rule, 64)}{' · ' + escape(where, 40) if where else ''}"
    counts = Counter(_word(notice) for notice in notices)
    parts = ", ".join(f"{count:,} {word}" for word, count in sorted(counts.items()))
    same = {(notice.item.metric, *notice.item.labels.items()) for notice in notices}
    if len(same) > 1:
        return f"Alerts: {parts}"
    item = notices[0].item
    where = " ".join(f"{name} {value}" for name, value in item.labels.items())
    return f"{parts}: {escape(item.metric or item.rule, 64)} {escape(where, 40)}".rstrip()


def _full(notice: Notice) -> list[dict[str, Any]]:
    item = notice.item
    icon = ":white_check_mark:" if item.state is AlertState.RESOLVED else _ICON.get(item.severity, "")
    lead = "Still firing, as of the last change: " if notice.reminder else ""
    fields = {
        "Value": value_text(item.value, item.unit),
        "Threshold": f"{item.operator} {value_text(item.threshold, item.unit)}",
        **item.labels,
        "Window": _window(notice),
        "Severity": item.severity,
        "Rule": item.rule,
    }
    if item.operator == NO_DATA:
        del fields["Value"], fields["Threshold"]
    if not item.metric:
        # An alert that no metric made, such as a paused topic: no value and no window.
        del fields["Value"], fields["Window"]
    return [
        _section(f"{icon} {lead}{escape(item.summary)}"),
        {"type": "section", "fields": [_mrkdwn(f"*{escape(k, 60)}*\n{escape(v, 200)}") for k, v in fields.items()]},
    ]


def _window(notice: Notice) -> str:
    item = notice.item
    if not item.window_end_ms:
        return "running total"
    return f"{item.window} from {time_text(item.window_start_ms)}"


def _digest(notices: Sequence[Notice]) -> str:
    # 10 lines of at most 91 characters and 15 of at most 116 stay below Slack's 3,000.
    counts = Counter((notice.item.rule, _word(notice)) for notice in notices)
    lines = [f"*{escape(rule, 64)}*: {count:,} {word}" for (rule, word), count in counts.most_common(_RULES)]
    lines.append("")
    shown = notices[:_LINES]
    lines.extend(f"• {_word(notice)}: {escape(notice.item.summary, 100)}" for notice in shown)
    if len(notices) > len(shown):
        lines.append(f"… and {len(notices) - len(shown):,} more, all in gold.alerts")
    return "\n".join(lines)


def _ids(notices: Sequence[Notice]) -> list[str]:
    """The ids of all transitions, in texts that Slack takes: a repeat can be recognised by them."""
    texts: list[str] = []
    for notice in notices:
        one = notice.item.transition_id
        if not texts or len(texts[-1]) + len(one) >= _TEXT:
            texts.append("id")
        texts[-1] += f" {one}"
    return texts[:_ELEMENTS]


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: Slack must not turn what looks like a link or a name into one.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(texts: Sequence[str]) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(text) for text in texts]}
