"""The master key: where it is read from, and how it wraps the keys of users."""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError
from streamproc.personal.keys import KEY_BYTES

_NONCE: Final = 12
_CONSTANT: Final = b"streamproc fingerprint 1"


class MasterKey:
    """32 bytes and where they came from, in words. Nothing of it is ever shown but the fingerprint."""

    def __init__(self, secret: bytes, origin: str) -> None:
        self.origin = origin
        self._secret = secret

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell one master key from another, and nothing else of it."""
        return hmac.digest(self._secret, _CONSTANT, "sha256").hex()[:16]

    def wrap(self, user_id: int, key_id: str, secret: bytes) -> str:
        """A user's key as it may be stored: base64 of nonce, ciphertext and tag, bound to user and key id."""
        nonce = os.urandom(_NONCE)
        return b64encode(nonce + AESGCM(self._secret).encrypt(nonce, secret, _bound_to(user_id, key_id))).decode()

    def unwrap(self, user_id: int, key_id: str, wrapped: str) -> bytes:
        """The user's key.

        Raises:
            PermanentError: it was wrapped under another master key, for another user, or was changed.
        """
        try:
            raw = b64decode(wrapped, validate=True)
            return AESGCM(self._secret).decrypt(raw[:_NONCE], raw[_NONCE:], _bound_to(user_id, key_id))
        except (InvalidTag, binascii.Error, ValueError):
            raise PermanentError(
                "key_unreadable", f"key {key_id} of user {user_id} does not open with the master key of {self.origin}"
            ) from None


def _bound_to(user_id: int, key_id: str) -> bytes:
    return f"{user_id}:{key_id}".encode()


def load_master_key(settings: Settings, *, create: bool = False) -> MasterKey:
    """The master key that the settings name; with `create`, a default file that is missing is made (mode 0600).

    Raises:
        ConfigError: there is none, or its file cannot be used; says which setting and what to do.
    """
    if settings.master_key is not None:
        return MasterKey(b64decode(settings.master_key.get_secret_value()), "STREAMPROC_MASTER_KEY")
    given = settings.master_key_file
    path = settings.data_dir / "master.key" if given is None else given
    origin = str(path) if given is None else f"{path} (STREAMPROC_MASTER_KEY_FILE)"
    try:
        if create and given is None:
            _make(path)
        mode = path.stat().st_mode
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no master key at {origin}: name the file of the workers' key by STREAMPROC_MASTER_KEY_FILE, or "
            "give the key by STREAMPROC_MASTER_KEY"
        ) from None
    except OSError as error:
        raise ConfigError(f"the master key {origin} cannot be used: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError(f"the master key {origin} can be read by others (mode {mode & 0o777:o}): chmod 600 it")
    try:
        secret = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"the master key {origin} is not the base64 of {KEY_BYTES} bytes")
    return MasterKey(secret, origin)


def _make(path: Path) -> None:
    """A key of its own in a whole file, or the one that somebody else made meanwhile."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b64encode(os.urandom(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
