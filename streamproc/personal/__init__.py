"""Personal data: sealing it with a key per user, and reading what was sealed; pure, keys come as arguments."""

from streamproc.personal.keys import ERASED, NOBODY, Unsealable, UserKey
from streamproc.personal.payload import Sealer, alike, may_hold_values
from streamproc.personal.reading import Named, keys_in, unseal_payload, unseal_text

__all__ = [
    "ERASED",
    "NOBODY",
    "Named",
    "Sealer",
    "Unsealable",
    "UserKey",
    "alike",
    "keys_in",
    "may_hold_values",
    "unseal_payload",
    "unseal_text",
]
