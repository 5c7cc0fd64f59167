"""The sender against a real HTTP server: answers sorted, rate kept, no redirects, no secrets in logs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
import structlog

from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.notify.grouping import Notice
from streamproc.notify.slack import SlackSender, check_url
from tests.notify.stage import alert
from tests.support.ports import free_port
from tests.support.webhook import DROP, HANG, NO_SERVICE, OK, SERVER_ERROR, Answer, rate_limited, start_webhook

ONE: Sequence[Notice] = [Notice(alert())]


async def attempt(sender: SlackSender) -> str:
    """How one attempt ends: 'ok', or the kind of error and its reason."""
    try:
        await sender.send(ONE)
        return "ok"
    except (RetryableError, PermanentError) as error:
        return f"{type(error).__name__} {error.reason}"


@pytest.mark.parametrize(
    ("answer", "expected", "broken"),
    [
        (OK, "ok", ""),
        (SERVER_ERROR, "RetryableError http_500", ""),
        (Answer(503, "x"), "RetryableError http_503", ""),
        (Answer(408, "x"), "RetryableError http_408", ""),
        (rate_limited(7), "RetryableError rate_limited", ""),
        (HANG, "RetryableError timeout", ""),
        (DROP, "RetryableError connection", ""),
        (NO_SERVICE, "PermanentError http_404_no_service", "http_404_no_service"),
        (Answer(403, "invalid_token"), "PermanentError http_403_invalid_token", "http_403_invalid_token"),
        (Answer(410, "<b>gone</b>"), "PermanentError http_410_other", "http_410_other"),
        (Answer(400, "invalid_payload"), "PermanentError http_400_invalid_payload", ""),
        (Answer(413, ""), "PermanentError http_413_other", ""),
        (
            Answer(302, "", {"Location": "/services/T000/B000/secret"}),
            "PermanentError http_302_other",
            "http_302_other",
        ),
        (Answer(200, "<html>"), "RetryableError unexpected_answer", ""),
        (Answer(200, "ok" * 1_000_000), "RetryableError unexpected_answer", ""),
    ],
)
def test_answers(answer: Answer, expected: str, broken: str) -> None:
    async def scene(url: str) -> tuple[str, str]:
        # A short timeout for the server that hangs only: a busy machine may need longer for an honest answer.
        sender = SlackSender(url, timeout_s=0.3 if answer is HANG else 10, min_interval_s=0)
        try:
            return await attempt(sender), sender.broken
        finally:
            await sender.close()

    with start_webhook(answer) as webhook:
        assert asyncio.run(scene(webhook.url)) == (expected, broken)
        assert len(webhook.requests) == 1  # neither retried nor redirected within


def test_at_most_one_message_a_second() -> None:
    async def scene(url: str) -> None:
        sender = SlackSender(url)
        for _ in range(3):
            assert await attempt(sender) == "ok"
        await sender.close()

    with start_webhook() as webhook:
        asyncio.run(scene(webhook.url))
        gaps = [b.at - a.at for a, b in pairwise(webhook.requests)]
        assert len(gaps) == 2 and min(gaps) >= 1.0


def test_retry_after_holds_back_the_next_message() -> None:
    async def scene(url: str) -> None:
        sender = SlackSender(url, min_interval_s=0)
        with pytest.raises(RetryableError) as caught:
            await sender.send(ONE)
        assert caught.value.retry_after_s == 1.2
        assert await attempt(sender) == "ok"
        await sender.close()

    with start_webhook(rate_limited(1.2)) as webhook:
        asyncio.run(scene(webhook.url))
        assert webhook.requests[1].at - webhook.requests[0].at >= 1.2


@pytest.mark.parametrize(("header", "seconds"), [("soon", 1.0), ("nan", 1.0), ("-3", 0.0), ("1e9", 3600.0)])
def test_odd_retry_after(header: str, seconds: float) -> None:
    async def scene(url: str) -> float | None:
        sender = SlackSender(url, min_interval_s=0)
        with pytest.raises(RetryableError) as caught:
            await sender.send(ONE)
        await sender.close()
        return caught.value.retry_after_s

    with start_webhook(Answer(429, "", {"Retry-After": header})) as webhook:
        assert asyncio.run(scene(webhook.url)) == seconds


def test_a_broken_channel_is_left_alone_and_tried_again_later() -> None:
    async def scene(url: str) -> list[str]:
        sender = SlackSender(url, min_interval_s=0, broken_retry_s=0.3)
        first = [await attempt(sender), await attempt(sender)]
        again = ""
        async with asyncio.timeout(10):
            while again != "ok":
                await asyncio.sleep(0.05)  # the sender knows no event for "time is over"
                again = await attempt(sender)
        broken = sender.broken
        await sender.close()
        return [*first, again, broken]

    with start_webhook(NO_SERVICE) as webhook:
        broken = "PermanentError http_404_no_service"
        assert asyncio.run(scene(webhook.url)) == [broken, broken, "ok", ""]
        assert len(webhook.requests) == 2


def test_endless_nonsense_is_a_broken_channel() -> None:
    async def scene(url: str) -> list[str]:
        sender = SlackSender(url, min_interval_s=0)
        ends = [await attempt(sender) for _ in range(10)]
        await sender.close()
        return ends

    with start_webhook(*[Answer(200, "hello")] * 20) as webhook:
        ends = asyncio.run(scene(webhook.url))
        assert ends[:8] == ["RetryableError unexpected_answer"] * 8
        assert ends[8:] == ["PermanentError unexpected_answer"] * 2
        assert len(webhook.requests) == 9


def test_nobody_listens() -> None:
    async def scene() -> str:
        sender = SlackSender(f"http://127.0.0.1:{free_port()}/services/x")
        end = await attempt(sender)
        await sender.close()
        return end

    assert asyncio.run(scene()) == "RetryableError connection"


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")

    async def scene(url: str) -> str:
        sender = SlackSender(url)
        end = await attempt(sender)
        await sender.close()
        return end

    with start_webhook() as webhook:
        assert asyncio.run(scene(webhook.url)) == "ok"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/services/a",
        "ftp://127.0.0.1/a",
        "hooks.slack.com/a",
        "https://",
        "http://[bad",
        "file:///x",
    ],
)
def test_only_https_and_the_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SlackSender(url)
    assert "(not shown)" in str(caught.value)
    assert url == "https://" or url not in str(caught.value)


def test_accepted_urls() -> None:
    assert not check_url("https://hooks.slack.com/services/T/B/x")
    assert check_url("http://localhost:9/x") and check_url("http://[::1]:9/x")


def test_no_error_or_log_holds_the_url(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level("DEBUG")
    said: list[str] = []

    async def scene(url: str) -> None:
        sender = SlackSender(url, timeout_s=0.2, min_interval_s=0)
        for _ in range(6):
            try:
                await sender.send(ONE)
            except (RetryableError, PermanentError) as error:
                said.append(str(error))
        said.append(repr(sender))
        await sender.close()

    with start_webhook(SERVER_ERROR, HANG, DROP, Answer(302, "", {"Location": "/x"}), NO_SERVICE) as webhook:
        with structlog.testing.capture_logs() as logs:
            asyncio.run(scene(webhook.url))
        everything = "\n".join([*said, caplog.text, str(logs), *capfd.readouterr()])
    assert len(said) >= 5
    assert "secret" not in everything and "/services" not in everything
