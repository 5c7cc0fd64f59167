"""The Slack incoming webhook: at most one message a second, no redirects, answers sorted into retry and never again."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient
from slack_sdk.webhook.webhook_response import WebhookResponse

from streamproc.clock import monotonic
from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.notify.grouping import Notice
from streamproc.notify.message import render

MIN_INTERVAL_S: Final = 1.0
TIMEOUT_S: Final = 10.0
#: A broken channel (revoked, archived) is tried again after this: the webhook may have been mended.
BROKEN_RETRY_S: Final = 600.0
#: A Retry-After beyond this is taken for nonsense.
MAX_RETRY_AFTER_S: Final = 3600.0
#: Answers other than `ok` with status 200 in a row after which it is no Slack webhook that answers.
MAX_NONSENSE: Final = 8
_MAX_ANSWER_BYTES: Final = 4096
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
#: 4xx answers that blame the message, not the channel.
_MESSAGE_ERRORS: Final = ("invalid_payload", "invalid_blocks", "no_text", "too_many_attachments", "msg_too_long")

_WORD: Final = re.compile(r"[a-z_]{2,40}")

_log = get_logger("slack")


class SlackSender:
    """Sends messages to one webhook. The URL is a secret: it is in no log, error or representation.

    `broken` is '' or why Slack refuses this channel; while it is set nothing is sent for BROKEN_RETRY_S.
    """

    label: Final = "slack"

    def __init__(
        self,
        url: str,
        *,
        min_interval_s: float = MIN_INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        broken_retry_s: float = BROKEN_RETRY_S,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Raises:
        ConfigError: the URL is not https (http only to this machine).
        """
        self._loopback = check_url(url)
        self._url = url
        self._min_interval_s = min_interval_s
        self._timeout_s = timeout_s
        self._broken_retry_s = broken_retry_s
        self._links = links
        self._not_before = 0.0
        self._probe_at = 0.0
        self._nonsense = 0
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebhookClient | None = None
        self.broken = ""

    async def send(self, notices: Sequence[Notice]) -> None:
        """Send one message and wait for Slack's `ok`.

        Raises:
            RetryableError: 429 (with retry_after_s), 408, 5xx, timeout, connection lost, an answer that is not `ok`.
            PermanentError: any other answer; or the channel is known to be broken.
        """
        if self.broken and monotonic() < self._probe_at:
            raise PermanentError(self.broken, "the channel is broken")
        body = render(notices, self._links)
        await asyncio.sleep(max(0.0, self._not_before - monotonic()))
        try:
            answer = await self._webhook().send_dict(body)
        except TimeoutError:
            raise RetryableError("timeout", f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # Only the kind of error: its text can hold the address.
            raise RetryableError("connection", type(error).__name__) from None
        finally:
            # Counted from the answer, so that two requests never arrive within one second.
            self._not_before = monotonic() + self._min_interval_s
        self._judge(answer)

    async def close(self) -> None:
        """Close connections."""
        if self._session:
            await self._session.close()
        self._session = self._client = None

    def _judge(self, answer: WebhookResponse) -> None:
        status, reason = answer.status_code, _reason(answer)
        if status == 200 and reason == "ok":
            self._nonsense = 0
            if self.broken:
                _log.info("the Slack channel works again")
            self.broken = ""
            return
        if status == 429 or (status >= 500 and "Retry-After" in answer.headers):
            wait = retry_after_s(answer)
            self._not_before = max(self._not_before, monotonic() + wait)
            reason = "rate_limited" if status == 429 else f"http_{status}"
            raise RetryableError(reason, f"Retry-After {wait:g} s", retry_after_s=wait)
        if status >= 500 or status == 408:
            raise RetryableError(f"http_{status}", reason)
        if status == 200 and self._nonsense < MAX_NONSENSE:
            self._nonsense += 1
            raise RetryableError("unexpected_answer", "status 200 without `ok`")
        if reason in _MESSAGE_ERRORS or status == 413:
            raise PermanentError(f"http_{status}_{reason}", f"status {status}: Slack refuses this message")
        self._mark_broken(f"http_{status}_{reason}" if status != 200 else "unexpected_answer")
        raise PermanentError(self.broken, "Slack refuses this channel")

    def _mark_broken(self, reason: str) -> None:
        self.broken = reason
        self._probe_at = monotonic() + self._broken_retry_s
        _log.error(
            "Slack refuses the channel: alerts go to the log and alerts.log; check STREAMPROC_SLACK_WEBHOOK_URL",
            reason=reason,
            next_try_s=self._broken_retry_s,
        )

    def _webhook(self) -> AsyncWebhookClient:
        if self._client is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
            # The client logs the address at debug level, so it gets a logger that says nothing.
            silent = logging.getLogger("streamproc.slack_sdk")
            silent.setLevel(logging.CRITICAL)
            self._client = AsyncWebhookClient(
                self._url,
                session=cast(aiohttp.ClientSession, _OneRequest(self._session, self._loopback)),
                logger=silent,
                # No retries of its own: they would pass the limit of one message a second.
                retry_handlers=[],
            )
        return self._client


class _OneRequest:
    """What AsyncWebhookClient uses of a session, without redirects and with a bounded answer."""

    closed = False

    def __init__(self, session: aiohttp.ClientSession, loopback: bool) -> None:
        self._session = session
        self._loopback = loopback

    @asynccontextmanager
    async def request(self, method: str, url: str, **options: Any) -> AsyncIterator[_Answer]:
        if self._loopback:
            # A proxy from the environment is not for this machine.
            options["proxy"] = None
        options = {key: value for key, value in options.items() if value is not None}
        async with self._session.request(method, url, allow_redirects=False, **options) as response:
            body = await response.content.read(_MAX_ANSWER_BYTES)
            yield _Answer(response.status, response.headers, body)


class _Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def text(self) -> str:
        return self._body.decode("utf-8", "replace")


def check_url(url: str) -> bool:
    """Whether the webhook is on this machine.

    Raises:
        ConfigError: it is not https (http is taken for this machine only); the URL is not shown.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    loopback = host in _LOOPBACK
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise ConfigError(
            "STREAMPROC_SLACK_WEBHOOK_URL = (not shown): must be an https URL such as https://hooks.slack.com/services/…"
        )
    return loopback


def retry_after_s(answer: WebhookResponse) -> float:
    """The seconds that a 429 asks for; 1 if it does not say, and at most MAX_RETRY_AFTER_S."""
    try:
        wait = float(answer.headers.get("Retry-After", ""))
    except ValueError:
        return 1.0
    return min(max(wait, 0.0), MAX_RETRY_AFTER_S) if wait == wait else 1.0


def _reason(answer: WebhookResponse) -> str:
    """Slack's word for its answer (`ok`, `no_service`); 'other' for anything that is no such word."""
    text = str(answer.body or "").strip()
    return text if _WORD.fullmatch(text) else "other"
