"""Google's errors sorted by who must act, and by `reason` alone: texts change, and one status means many things."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from streamproc.errors import PermanentError, RetryableError


class Act(Enum):
    """What is to be done about an answer that is an error."""

    WAIT_FOR_QUOTA = "wait until midnight in California"
    BACK_OFF = "ask again a little later"
    REFRESH = "get another access token"
    NOT_THERE = "take it as an empty page"
    RESTART = "begin the list again: its page token is void"
    SKIP_CHANNEL = "leave this channel out"
    STOP = "a human must change the configuration"


class QuotaSpentError(RetryableError):
    """Nothing is left until `resume_at_ms` (epoch ms)."""

    def __init__(self, api: str, resume_at_ms: int, detail: str) -> None:
        super().__init__("quota", detail)
        self.api = api
        self.resume_at_ms = resume_at_ms


class ChannelError(PermanentError):
    """This channel cannot be asked for; others can."""


class ListChangedError(PermanentError):
    """A page token is void: the list has to be read from its beginning."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """An error answer: what to do, Google's reason, its text, and for how long it asks to be left alone (s)."""

    act: Act
    reason: str
    text: str
    retry_after_s: float | None = None


_QUOTA: Final = {"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"}
_RATE: Final = {
    "rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded", "RATE_LIMIT_EXCEEDED", "backendError",
    "internalError", "processingFailure", "uploadRateLimitExceeded",
}  # fmt: skip
#: Not videoNotFound: an empty page of videos would mark all that were asked for as gone.
_NOT_THERE: Final = {"playlistNotFound"}
#: By Google's reason, in either of the two places: what a human has to do.
HELP: Final[dict[str, str]] = {
    "accessNotConfigured": "enable 'YouTube Data API v3' and 'YouTube Analytics API' for the project in the Google Cloud console",
    "SERVICE_DISABLED": "enable 'YouTube Data API v3' and 'YouTube Analytics API' for the project in the Google Cloud console",
    "keyInvalid": "STREAMPROC_YOUTUBE_API_KEY is not a key that Google knows: make one under 'Credentials' in the Google Cloud console",
    "API_KEY_INVALID": "STREAMPROC_YOUTUBE_API_KEY is not a key that Google knows: make one under 'Credentials' in the Google Cloud console",
    "ipRefererBlocked": "the API key is restricted to other addresses: change its restrictions in the Google Cloud console",
    "API_KEY_SERVICE_BLOCKED": "the API key is restricted to other APIs: allow 'YouTube Data API v3' for it",
}
#: What only one channel's owner can mend.
CHANNEL_HELP: Final[dict[str, str]] = {
    "forbidden": "the token is not that of this channel's owner: let the owner of the channel grant access again",
    "insufficientPermissions": "the owner's token lacks a scope: grant access again with the scopes in docs/youtube.md",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "the owner's token lacks a scope: grant access again with the scopes in docs/youtube.md",
    "videoNotFound": "YouTube refused a page of this channel's videos",
    "channelNotFound": "YouTube does not know this channel",
    "channelClosed": "the channel was closed",
    "channelSuspended": "the channel was suspended",
    "playlistItemsNotAccessible": "the token may not read this channel's uploads",
    "youtubeSignupRequired": "the owner's Google account has no YouTube channel",
}


def sort_answer(status: int, body: bytes, retry_after: str = "") -> Sorted:
    """What an answer with a status of 400 or above means. A body that is not Google's form is judged by the status."""
    error = _error(body)
    first = (error.get("errors") or [{}])[0]
    details = [one for one in error.get("details") or () if isinstance(one, dict)]
    reason = str(first.get("reason") or error.get("status") or status)
    reasons = {reason, *(str(one.get("reason", "")) for one in details)}
    text = str(error.get("message") or f"HTTP {status}")
    wait = float(retry_after) if retry_after.isdigit() else None
    by_day = any("PerDay" in str(one.get("metadata", {}).get("quota_limit", "")) for one in details)
    return Sorted(_act(status, reasons, by_day), reason, text, wait)


def _act(status: int, reasons: set[str], by_day: bool) -> Act:
    for names, act in (
        (_QUOTA, Act.WAIT_FOR_QUOTA),
        (set(HELP), Act.STOP),
        (set(CHANNEL_HELP), Act.SKIP_CHANNEL),
        (_NOT_THERE, Act.NOT_THERE),
        ({"invalidPageToken"}, Act.RESTART),
    ):
        if names & reasons:
            return act
    if by_day:
        return Act.WAIT_FOR_QUOTA
    if reasons & _RATE or status == 429 or status >= 500:
        return Act.BACK_OFF
    return Act.REFRESH if status == 401 else Act.STOP


def _error(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


def help_for(sorted_error: Sorted, body: bytes) -> str:
    """What to do about it, if we know; else Google's words."""
    details = [str(one.get("reason", "")) for one in _error(body).get("details") or () if isinstance(one, dict)]
    for reason in (*details, sorted_error.reason):
        for texts in (HELP, CHANNEL_HELP):
            if reason in texts:
                return texts[reason]
    return sorted_error.text
