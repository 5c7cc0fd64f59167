"""Google's client library, called in threads: retries of ours by reason, and every attempt in the ledger before it is sent."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import google_auth_httplib2
import httplib2
from google.auth.exceptions import RefreshError, TransportError
from google.oauth2.credentials import Credentials as GoogleCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from batch.youtube.credentials import Credentials
from batch.youtube.errors import Act, ChannelError, ListChangedError, Sorted, help_for, sort_answer
from batch.youtube.ledger import ANALYTICS, DATA, Ledger
from batch.youtube.one_try import OnceHttp
from batch.youtube.patience import backoff_s
from streamproc import failpoints
from streamproc.errors import ConfigError, RetryableError
from streamproc.logs import get_logger

log = get_logger("youtube")

_TIMEOUT_S: Final = 60.0
_ATTEMPTS: Final = 7
_VERSIONS: Final = {DATA: "v3", ANALYTICS: "v2"}
# What it may do itself when a connection cannot be made; after that see `OnceHttp`.
httplib2.RETRIES = 1

Answer = dict[str, Any]


class _Owner:
    """One channel's owner: a token, and a connection that bears it."""

    def __init__(self, credentials: Credentials, refresh_token: str) -> None:
        self.google = GoogleCredentials(
            None, refresh_token=refresh_token, token_uri=credentials.token_uri, client_id=credentials.client_id,
            client_secret=credentials.client_secret.get_secret_value(),
        )  # fmt: skip
        # A 401 is ours to judge: the library would refresh and send again, unseen by the ledger.
        self.http = google_auth_httplib2.AuthorizedHttp(
            self.google, http=_connection(), refresh_status_codes=(), max_refresh_attempts=0
        )

    def refresh(self) -> None:
        """Another access token; blocks."""
        self.google.refresh(google_auth_httplib2.Request(_connection()))


def _connection() -> OnceHttp:
    return OnceHttp(timeout=_TIMEOUT_S)


class Client:
    """Calls methods of both APIs, one at a time."""

    def __init__(
        self, credentials: Credentials, api_key: str, ledger: Ledger, *, endpoint: str = "", backoff_s: float = 1.0
    ) -> None:
        options = {"api_endpoint": endpoint} if endpoint else None
        self._services = {
            api: build(
                api, version, http=_connection(), static_discovery=True, cache_discovery=False, client_options=options
            )
            for api, version in _VERSIONS.items()
        }
        self._owners = {
            one: _Owner(credentials, token.get_secret_value()) for one, token in credentials.channels.items()
        }
        self._refused: dict[str, str] = {}
        self._key = api_key
        self._public = _connection()
        self._ledger = ledger
        self._backoff_s = backoff_s

    def owner_of(self, channel_id: str) -> str:
        """Whose token serves for a channel: its owner's, or '' (the API key)."""
        return channel_id if channel_id in self._owners and channel_id not in self._refused else ""

    def any_owner(self) -> str:
        """'' (the API key) if there is one, else an owner whose token works: for what everybody may see."""
        if self._key:
            return ""
        return next((one for one in self._owners if one not in self._refused), "")

    @property
    def has_key(self) -> bool:
        """Public data can be asked for without an owner."""
        return bool(self._key)

    def refusal(self, channel_id: str) -> str:
        """Why a channel's token is not taken any more; empty if it is."""
        return self._refused.get(channel_id, "")

    async def call(self, method: str, parameters: dict[str, Any], owner: str) -> Answer:
        """One page: `method` like 'youtube.videos.list', asked as the owner of a channel or ('') with the API key.

        Raises:
            QuotaSpentError: nothing is left today.
            ChannelError: this channel's owner must do something.
            ListChangedError: the page token is void.
            ConfigError: says what to change.
            RetryableError: it failed too often.
        """
        api, resource, name = method.split(".")
        given = dict(parameters) if owner else {**parameters, "key": self._key}
        request = getattr(getattr(self._services[api], resource)(), name)(**given)
        refreshed, why = False, ""
        for attempt in range(_ATTEMPTS):
            await self._ready(owner)
            await self._ledger.spend(api, method)
            failpoints.passing("youtube_spent")
            found = await asyncio.to_thread(self._execute, request, owner)
            if not isinstance(found, Sorted):
                failpoints.passing("youtube_answered")
                return found
            if found.act is Act.REFRESH:
                if refreshed or not owner:
                    raise self._unauthorised(owner, found.text)
                refreshed = True
                await self._refresh(owner)
                continue
            await self._judged(found, api, owner)
            if found.act is Act.NOT_THERE:
                return {}
            why = f"{found.reason} ({found.text})"
            if attempt + 1 < _ATTEMPTS:
                log.info("youtube: asked to come back later", method=method, reason=found.reason, attempt=attempt + 1)
                await asyncio.sleep(max(found.retry_after_s or 0.0, backoff_s(self._backoff_s, attempt)))
        raise RetryableError("youtube", f"{method}: {why}, {_ATTEMPTS} times in a row")

    async def _judged(self, found: Sorted, api: str, owner: str) -> None:
        """Raise what ends the call."""
        if found.act is Act.WAIT_FOR_QUOTA:
            raise await self._ledger.refused(api, found.text)
        if found.act is Act.SKIP_CHANNEL:
            raise ChannelError(found.reason, found.text)
        if found.act is Act.RESTART:
            raise ListChangedError(found.reason, found.text)
        if found.act is Act.STOP:
            raise ConfigError(f"YouTube refuses ({found.reason}): {found.text}")

    def _execute(self, request: Any, owner: str) -> Answer | Sorted:
        """Blocks. A broken connection is an answer to come back later, too."""
        http = self._owners[owner].http if owner else self._public
        try:
            answer: Answer = request.execute(http=http, num_retries=0)
            return answer
        except HttpError as error:
            found = sort_answer(int(error.resp.status), error.content, str(error.resp.get("retry-after", "")))
            return Sorted(found.act, found.reason, help_for(found, error.content), found.retry_after_s)
        except (OSError, httplib2.HttpLib2Error, TransportError) as error:
            return Sorted(Act.BACK_OFF, "connection", f"{type(error).__name__}: {error}")

    async def _ready(self, owner: str) -> None:
        """See that the owner's token is good *now*: a long wait may have come before. Costs no quota."""
        if owner and not self._owners[owner].google.valid:
            await self._refresh(owner)

    async def _refresh(self, owner: str) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                return await asyncio.to_thread(self._owners[owner].refresh)
            except RefreshError as error:
                if not getattr(error, "retryable", False):
                    raise self._unauthorised(owner, str(error.args[0])) from error
            except (OSError, httplib2.HttpLib2Error, TransportError) as error:
                log.info("youtube: the token endpoint does not answer", attempt=attempt + 1, error=type(error).__name__)
            await asyncio.sleep(backoff_s(self._backoff_s, attempt))
        raise RetryableError("youtube", f"the token endpoint did not give a token, {_ATTEMPTS} times in a row")

    def _unauthorised(self, owner: str, text: str) -> ChannelError | ConfigError:
        if not owner:
            return ConfigError(f"YouTube does not take the API key: {text}")
        self._refused[owner] = (
            f"its owner's token is not valid any more ({text}): let the owner grant access again. Of an app whose"
            " publishing status is 'Testing', Google ends every token after 7 days"
        )
        return ChannelError("token", self._refused[owner])

    def close(self) -> None:
        """Close the connections."""
        for service in self._services.values():
            service.close()
        for owner in self._owners.values():
            owner.http.close()
        self._public.close()
