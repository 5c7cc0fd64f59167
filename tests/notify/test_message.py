"""Messages: what they say, that they are safe, and that they stay within Slack's limits."""

from __future__ import annotations

import json

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.alerts import AlertState, AlertTransition
from streamproc.notify.grouping import Notice
from streamproc.notify.message import escape, render
from tests.notify.stage import alert


def texts(body: dict[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False)


def test_one_alert_says_value_threshold_video_window_rule_severity_and_id() -> None:
    item = alert()
    body = render([Notice(item)])
    assert body["text"] == "WARNING: video-cost-warning · video_id 7: Video 7 has cost 2.60 USD"
    said = texts(body)
    for part in ("2.60 USD", "&gt; 2.50 USD", "*video_id*\\n7", "running total", "video-cost-warning", "*Severity*"):
        assert part in said, part
    assert body["blocks"][-1]["elements"][0]["text"] == f"id {item.transition_id}"
    assert "http" not in said  # no link to what does not exist


def test_links_to_what_exists() -> None:
    body = render([Notice(alert())], {"dashboard": "https://example.test/d"})
    assert "<https://example.test/d|dashboard>" in texts(body)


def test_windows_and_missing_values() -> None:
    item = msgspec.structs.replace(alert(), window="5m", window_start_ms=0, window_end_ms=300_000, value=None)
    item = msgspec.structs.replace(item, window_start_ms=1_700_000_100_000, window_end_ms=1_700_000_400_000)
    said = texts(render([Notice(item)]))
    assert "5m from 2023-11-14 22:15:00 UTC" in said and "no value" in said


def test_two_of_one_video() -> None:
    notices = [
        Notice(alert(seq=2, state=AlertState.RESOLVED)),
        Notice(alert(seq=2, state=AlertState.RESOLVED, rule="video-cost-critical")),
    ]
    assert render(notices)["text"] == "2 resolved: cost_per_video_usd video_id 7"


def test_alerts_without_a_metric_and_with_long_ids() -> None:
    paused = msgspec.structs.replace(
        alert(),
        transition_id="f" * 32,
        metric="",
        window="",
        value=None,
        rule="stream_paused",
        severity="critical",
        labels={"topic": "user-events", "partition": "3"},
        summary="user-events is paused: nearly every record is bad",
    )
    said = texts(render([Notice(paused)]))
    assert "no value" not in said and "Window" not in said and "*topic*\\nuser-events" in said
    many = [Notice(msgspec.structs.replace(paused, transition_id=f"{n:032d}")) for n in range(500)]
    within_limits(render(many))
    assert f"{499:032d}" in texts(render(many))


def test_reminders_say_so() -> None:
    assert "still firing" in render([Notice(alert(), reminder=True)])["text"]


def test_mentions_and_markup_are_harmless() -> None:
    assert escape("<!channel> a<b & c>d <@U123> @here <#C1|x> @Everyone") == "a&lt;b &amp; c&gt;d here Everyone"
    assert escape("a\nb\x00\tc") == "a b c"
    assert escape("x" * 50, 10) == "x" * 9 + "…"
    assert escape("x" * 10, 10) == "x" * 10
    assert escape("&" * 10, 12) == "&amp;&amp;…"
    bad = "<!channel> <!subteam^S1> <https://evil.test|click> @channel"
    item = msgspec.structs.replace(alert(video=bad), summary=bad, labels={"video_id": bad}, rule=bad[:40])
    said = texts(render([Notice(item)]))
    assert "<" not in said.replace("&lt;", "") and "@" not in said
    assert '"verbatim": true' in said


def within_limits(body: dict[str, object]) -> None:
    blocks = body["blocks"]
    assert isinstance(blocks, list) and len(blocks) <= 50
    for block in blocks:
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150
        for text in [block.get("text"), *block.get("fields", []), *block.get("elements", [])]:
            assert text is None or 0 < len(text["text"]) <= 3000
        assert len(block.get("elements", [])) <= 10 and len(block.get("fields", [])) <= 10
    assert len(texts(body)) < 40_000


def test_a_full_digest_is_within_slacks_limits_and_has_every_id() -> None:
    notices = [Notice(alert(video="<&>" * 2000 + str(n))) for n in range(500)]
    body = render(notices)
    within_limits(body)
    said = texts(body)
    assert all(n.item.transition_id in said for n in notices)
    assert "485 more" in said


ANY = st.one_of(st.text(max_size=400), st.text("<>&!@ #", max_size=60).map(lambda text: text * 100))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY, ANY, st.integers(1, 8), st.booleans())
def test_any_text_stays_within_slacks_limits(summary: str, label: str, count: int, reminder: bool) -> None:
    def one(n: int) -> AlertTransition:
        return msgspec.structs.replace(alert(str(n)), summary=summary, labels={"niche": label}, severity="info")

    body = render([Notice(one(n), reminder) for n in range(count)])
    within_limits(body)
    assert "<!" not in texts(body)
