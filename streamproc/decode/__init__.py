"""Raw records to checked columns, a batch at a time; pure: no I/O, no clock, no logging."""

from __future__ import annotations

from streamproc.decode.batch import Decoded, decode_batch
from streamproc.decode.explain import explain

__all__ = ["Decoded", "decode_batch", "explain"]
