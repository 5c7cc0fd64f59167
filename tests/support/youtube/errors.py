"""Google's error bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Refusal(Exception):
    """An answer that is an error."""

    code: int
    reason: str
    message: str
    domain: str = "global"
    status: str = ""
    detail: str = ""
    retry_after_s: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        """As Google's servers write it."""
        one = {"message": self.message, "domain": self.domain, "reason": self.reason}
        error: dict[str, Any] = {"code": self.code, "message": self.message, "errors": [one]}
        if self.status:
            error["status"] = self.status
        if self.detail:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": self.detail, "domain": "googleapis.com"}]
        return {"error": error}


def bad_request(message: str, reason: str = "badRequest") -> Refusal:
    """400."""
    return Refusal(400, reason, message, status="INVALID_ARGUMENT")


def key_invalid() -> Refusal:
    """400 of an API key that Google does not know."""
    message = "API key not valid. Please pass a valid API key."
    return Refusal(400, "badRequest", message, status="INVALID_ARGUMENT", detail="API_KEY_INVALID")


def token_invalid() -> Refusal:
    """401 of an access token that is over."""
    message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
    return Refusal(401, "authError", message, status="UNAUTHENTICATED", detail="ACCESS_TOKEN_EXPIRED")


def login_required() -> Refusal:
    """401 of a request that only a user may make."""
    return Refusal(401, "required", "Login Required.", status="UNAUTHENTICATED", detail="CREDENTIALS_MISSING")


def forbidden(message: str, reason: str = "forbidden") -> Refusal:
    """403."""
    return Refusal(403, reason, message, status="PERMISSION_DENIED")


def quota_exceeded() -> Refusal:
    """403 of a project whose day is used up."""
    message = 'The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">quota</a>.'
    return Refusal(403, "quotaExceeded", message, "youtube.quota")


def daily_limit() -> Refusal:
    """403 of a project whose Analytics queries of the day are used up."""
    return Refusal(403, "dailyLimitExceeded", "Daily Limit Exceeded", "usageLimits")


def rate_limited(code: int = 429) -> Refusal:
    """429 or 403: too many in a short time."""
    if code == 403:
        return Refusal(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits")
    message = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'."
    return Refusal(429, "rateLimitExceeded", message, "global", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")


def server_error(code: int = 500) -> Refusal:
    """500 or 503."""
    if code == 503:
        return Refusal(503, "backendError", "The service is currently unavailable.", status="UNAVAILABLE")
    return Refusal(500, "backendError", "Internal error encountered.", status="INTERNAL")
