"""Who may ask for what: a refresh token of each channel's owner, and an API key for what everybody may see."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from streamproc.config import Settings
from streamproc.errors import ConfigError

_GOOGLE: Final = "https://oauth2.googleapis.com/token"
HELP: Final = """STREAMPROC_YOUTUBE_CREDENTIALS_FILE names a JSON file:
  {"client_id": "...", "client_secret": "...", "channels": {"UC...": "REFRESH TOKEN OF THE CHANNEL'S OWNER"}}
Google Cloud console > Credentials > OAuth client ID gives the first two; each owner grants access once with the scopes
youtube.readonly, yt-analytics.readonly and yt-analytics-monetary.readonly. YouTube knows no service accounts. An API key
(STREAMPROC_YOUTUBE_API_KEY) is enough for public numbers, and gives no analytics. More: docs/youtube.md"""


class Credentials(BaseModel):
    """The file's content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    token_uri: str = _GOOGLE
    channels: dict[str, SecretStr] = {}

    def missing_for(self, channel_id: str) -> str:
        """Why a channel's analytics cannot be asked for; empty if they can."""
        if channel_id in self.channels:
            return ""
        return "no refresh token of its owner in STREAMPROC_YOUTUBE_CREDENTIALS_FILE"


def load_credentials(settings: Settings) -> tuple[Credentials, str]:
    """The owners' tokens, and the API key ('' if there is none).

    Raises:
        ConfigError: there is neither, or the file is not what it should be; says how to get them.
    """
    key = settings.youtube_api_key.get_secret_value() if settings.youtube_api_key else ""
    text, source = _text(settings)
    if not text:
        if not key:
            raise ConfigError(f"YouTube: there are no credentials.\n{HELP}")
        return Credentials(), key
    try:
        found: Any = json.loads(text)
        credentials = Credentials.model_validate(found)
    except ValidationError as error:
        # Only the places: the values are secrets.
        places = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{source}: {places}\n{HELP}") from None
    except ValueError as error:
        raise ConfigError(f"{source} is no JSON ({error})\n{HELP}") from None
    if credentials.channels and not (credentials.client_id and credentials.client_secret.get_secret_value()):
        raise ConfigError(f"{source}: client_id and client_secret are needed beside the refresh tokens\n{HELP}")
    return credentials, key


def _text(settings: Settings) -> tuple[str, str]:
    if settings.youtube_credentials is not None:
        return settings.youtube_credentials.get_secret_value(), "STREAMPROC_YOUTUBE_CREDENTIALS"
    path = settings.youtube_credentials_file
    if path is None:
        return "", ""
    try:
        return path.read_text(encoding="utf-8"), f"STREAMPROC_YOUTUBE_CREDENTIALS_FILE ({path})"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"STREAMPROC_YOUTUBE_CREDENTIALS_FILE = {path}: {error}\n{HELP}") from None
