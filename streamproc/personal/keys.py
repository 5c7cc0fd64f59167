"""One user's key and the tokens made with it: AES-256-GCM whose nonce follows from what is sealed.

A token is `sealed:1:OWNER:KEY ID:` and the base64url (without padding) of nonce (12 bytes), ciphertext and tag (16). Equal
values of one user in one field have equal tokens: an insert that is repeated must be the same bytes, and an unchanged e-mail
must not make a version of gold.dim_user. So a token shows that two values of *one* user are equal, and how long they are.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

#: The owner of what belongs to no known user; its key is never destroyed by an erasure.
NOBODY: Final = 0
#: What stands for a value whose user was erased a short time before it came.
ERASED: Final = "erased"

#: Begin of every token; the number is the way of sealing.
PREFIX: Final = b"sealed:1:"
KEY_BYTES: Final = 32

_NONCE: Final = 12
_TAG: Final = 16
_PURPOSE: Final = b"streamproc sealed 1"


class Unsealable(ValueError):
    """A token that was changed, is no token, or belongs to another key, owner or field."""


class UserKey:
    """A key of one owner. `secret` are 32 random bytes, `key_id` 8 hexadecimal digits."""

    __slots__ = ("_cipher", "_derived", "_secret", "head", "key_id", "owner")

    def __init__(self, owner: int, key_id: str, secret: bytes) -> None:
        self.owner = owner
        self.key_id = key_id
        self.head = PREFIX + b"%d:%s:" % (owner, key_id.encode())
        self._secret = secret
        self._derived: bytes | None = None
        self._cipher: AESGCM | None = None

    def _ready(self) -> tuple[AESGCM, bytes]:
        """The cipher, and the key of nonces, which is another one. Made on first use: most keys that are held are not used."""
        if self._cipher is None or self._derived is None:
            derived = HKDFExpand(SHA256(), 2 * KEY_BYTES, _PURPOSE).derive(self._secret)
            self._cipher, self._derived = AESGCM(derived[:KEY_BYTES]), derived[KEY_BYTES:]
        return self._cipher, self._derived

    def seal(self, field: bytes, plain: bytes) -> bytes:
        """The token of a value in a field."""
        cipher, nonce_key = self._ready()
        nonce = hmac.digest(nonce_key, b"%s\0%s" % (field, plain), "sha256")[:_NONCE]
        sealed = cipher.encrypt(nonce, plain, b"%d\0%s" % (self.owner, field))
        return self.head + urlsafe_b64encode(nonce + sealed).rstrip(b"=")

    def unseal(self, field: bytes, token: bytes) -> bytes:
        """What was sealed.

        Raises:
            Unsealable: no token of this key and field, or a changed one.
        """
        if not token.startswith(self.head):
            raise Unsealable(f"no token of key {self.key_id} of owner {self.owner}")
        raw = bytes_of(token[len(self.head) :])
        cipher, _ = self._ready()
        try:
            return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], b"%d\0%s" % (self.owner, field))
        except InvalidTag:
            raise Unsealable(
                f"a token of owner {self.owner} was changed, or is of another field than {field.decode()}"
            ) from None


def bytes_of(text: bytes) -> bytes:
    """Nonce, ciphertext and tag.

    Raises:
        Unsealable: no base64url, or too short.
    """
    try:
        raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Unsealable("a token that is no base64url") from None
    if len(raw) < _NONCE + _TAG:
        raise Unsealable("a token that is too short")
    return raw


def sealed_length(text: bytes) -> int:
    """How many bytes were sealed, from the last part of a token.

    Raises:
        Unsealable: no base64url, or too short.
    """
    return len(bytes_of(text)) - _NONCE - _TAG
