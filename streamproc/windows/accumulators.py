"""Accumulators: what a cell holds. Each can be merged in any order and grouping, and travels as bytes.

All share `n` (events taken in) and `late` (events taken in after the window's end). `merge` is commutative and
associative for all types; for `IdSum` it is idempotent as well (the same id never counts twice), and so are the minutes
of `Uptime`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from msgspec import Meta
from pyroaring import BitMap64

from streamproc.windows import histogram, uptime

_encode = msgspec.msgpack.Encoder().encode

#: Limits that no state of ours passes: what is beyond them is no state, and would break arithmetic later.
_Number = Annotated[int, Meta(ge=0, le=2**48)]
_Bucket = Annotated[int, Meta(ge=0, lt=len(histogram.LOWER_BOUNDS))]
_MAX_DIGITS: Final = 40

_INT64 = 2**63


class UnreadableError(ValueError):
    """Bytes that are no accumulator of their kind: of another release, or damaged."""


def _unpack_int(packed: int | str) -> int:
    """The reverse of `_pack_int`."""
    if isinstance(packed, str) and len(packed) > _MAX_DIGITS:
        raise UnreadableError(f"a sum of {len(packed)} digits")
    return int(packed)


def _pack_int(value: int) -> int | str:
    """MessagePack holds 64 bits; a larger sum travels as text."""
    return value if -_INT64 <= value < _INT64 else str(value)


def _unpack_ids(packed: bytes) -> BitMap64:
    if not packed:
        raise UnreadableError("no set of ids")
    return BitMap64.deserialize(packed)


class Accumulator:
    """Base: `n` events, `late` of them after the window's end."""

    __slots__ = ("late", "n")
    kind: ClassVar[str] = ""
    _decoder: ClassVar[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(tuple[_Number, _Number])

    def __init__(self, n: int = 0, late: int = 0) -> None:
        self.n = n
        self.late = late

    def merge(self, other: Self) -> None:
        """Take the other's events in; the other stays as it is."""
        self.n += other.n
        self.late += other.late

    def to_bytes(self) -> bytes:
        """The whole state; equal states give equal meaning, not always equal bytes."""
        return _encode(self.state())

    def state(self) -> list[Any]:
        """The fields as MessagePack can hold them."""
        return [self.n, self.late]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The reverse of `state`, whose types are checked already."""
        return cls(state[0], state[1])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse of `to_bytes`.

        Raises:
            UnreadableError: the bytes are no accumulator of this kind.
        """
        try:
            return cls.from_state(cls._decoder.decode(data))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UnreadableError(f"no {cls.kind}: {error}") from error

    def size_hint(self) -> int:
        """About how many bytes `to_bytes` gives; large ones are sent less often."""
        return 16


class Count(Accumulator):
    """Number of events."""

    __slots__ = ()
    kind = "count"


class Sum(Accumulator):
    """Number of events and an exact integer sum (1/10000 of the unit)."""

    __slots__ = ("total",)
    kind = "sum"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, int | str])

    def __init__(self, n: int = 0, late: int = 0, total: int = 0) -> None:
        self.n = n
        self.late = late
        self.total = total

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        self.total += other.total

    def state(self) -> list[Any]:
        return [self.n, self.late, _pack_int(self.total)]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        return cls(state[0], state[1], _unpack_int(state[2]))


class Distinct(Accumulator):
    """Exact set of 64-bit ids (signed ids as two's complement)."""

    __slots__ = ("ids",)
    kind = "distinct"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, bytes])

    def __init__(self, n: int = 0, late: int = 0, ids: BitMap64 | None = None) -> None:
        self.n = n
        self.late = late
        self.ids = BitMap64() if ids is None else ids

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        self.ids |= other.ids

    def state(self) -> list[Any]:
        return [self.n, self.late, self.ids.serialize()]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        return cls(state[0], state[1], _unpack_ids(state[2]))

    def size_hint(self) -> int:
        return 16 + 2 * len(self.ids)


class Histogram(Accumulator):
    """Counts by bucket (streamproc/windows/histogram.py): percentiles within 1 %."""

    __slots__ = ("buckets",)
    kind = "histogram"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, dict[_Bucket, _Number]])

    def __init__(self, n: int = 0, late: int = 0, buckets: dict[int, int] | None = None) -> None:
        self.n = n
        self.late = late
        self.buckets: dict[int, int] = {} if buckets is None else buckets

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        mine = self.buckets
        get = mine.get
        for bucket, count in other.buckets.items():
            mine[bucket] = get(bucket, 0) + count

    def percentile(self, percent: int) -> float | None:
        """Nearest-rank percentile, within 1 %; None without events."""
        return histogram.percentile(self.buckets, self.n, percent)

    def state(self) -> list[Any]:
        return [self.n, self.late, self.buckets]

    def size_hint(self) -> int:
        return 16 + 4 * len(self.buckets)

    @classmethod
    def from_state(cls, state: Any) -> Self:
        if sum(state[2].values()) != state[0]:
            raise UnreadableError("buckets do not hold as many values as there are")
        return cls(state[0], state[1], state[2])


class Ratio(Accumulator):
    """Both halves of a ratio: `n` events, of which `part` are the numerator and the rest the denominator."""

    __slots__ = ("part",)
    kind = "ratio"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, _Number])

    def __init__(self, n: int = 0, late: int = 0, part: int = 0) -> None:
        self.n = n
        self.late = late
        self.part = part

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        self.part += other.part

    def state(self) -> list[Any]:
        return [self.n, self.late, self.part]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        if state[2] > state[0]:
            raise UnreadableError("a part is more than the whole")
        return cls(state[0], state[1], state[2])


class SumDistinct(Accumulator):
    """An exact sum and the exact set of ids that it is spread over."""

    __slots__ = ("ids", "total")
    kind = "sum_distinct"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, int | str, bytes])

    def __init__(self, n: int = 0, late: int = 0, total: int = 0, ids: BitMap64 | None = None) -> None:
        self.n = n
        self.late = late
        self.total = total
        self.ids = BitMap64() if ids is None else ids

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        self.total += other.total
        self.ids |= other.ids

    def state(self) -> list[Any]:
        return [self.n, self.late, _pack_int(self.total), self.ids.serialize()]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        return cls(state[0], state[1], _unpack_int(state[2]), _unpack_ids(state[3]))

    def size_hint(self) -> int:
        return 16 + 2 * len(self.ids)


class IdSum(Accumulator):
    """Amounts by event id: a total in which no id counts twice, however often and through whichever log it comes.

    `amounts` maps the 128-bit event id (as an integer) to 1/10000 of the unit. Should one id carry two amounts, the
    one that is there already wins: whoever merges goes from the oldest part to the newest (first offset wins).
    """

    __slots__ = ("amounts",)
    kind = "id_sum"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, bytes, list[int | str]])

    def __init__(self, n: int = 0, late: int = 0, amounts: dict[int, int] | None = None) -> None:
        self.n = n
        self.late = late
        self.amounts: dict[int, int] = {} if amounts is None else amounts

    def add(self, event_id: int, amount: int) -> None:
        """Take one event in (`n` is the number of ids)."""
        self.amounts.setdefault(event_id, amount)
        self.n = len(self.amounts)

    def merge(self, other: Self) -> None:
        for event_id, amount in other.amounts.items():
            self.amounts.setdefault(event_id, amount)
        self.n = len(self.amounts)
        self.late = 0

    @property
    def total(self) -> int:
        """Sum over ids."""
        return sum(self.amounts.values())

    def state(self) -> list[Any]:
        ids = b"".join(event_id.to_bytes(16, "big") for event_id in self.amounts)
        return [self.n, 0, ids, [_pack_int(amount) for amount in self.amounts.values()]]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        ids = state[2]
        keys = (int.from_bytes(ids[i : i + 16], "big") for i in range(0, len(ids), 16))
        return cls(state[0], 0, {key: _unpack_int(amount) for key, amount in zip(keys, state[3], strict=True)})

    def size_hint(self) -> int:
        return 16 + 22 * len(self.amounts)


class Uptime(Accumulator):
    """Of each minute of each service the last health event (streamproc/windows/uptime.py)."""

    __slots__ = ("marks",)
    kind = "uptime"
    _decoder = msgspec.msgpack.Decoder(tuple[_Number, _Number, dict[str, bytes]])

    def __init__(self, n: int = 0, late: int = 0, marks: uptime.Marks | None = None) -> None:
        self.n = n
        self.late = late
        self.marks: uptime.Marks = {} if marks is None else marks

    def merge(self, other: Self) -> None:
        self.n += other.n
        self.late += other.late
        uptime.join(self.marks, other.marks)

    def minutes(self, end_ms: int | None) -> uptime.Minutes:
        """Minutes up and due; `end_ms` is the window's end (epoch ms) if it is over."""
        return uptime.minutes_until(self.marks, end_ms)

    def state(self) -> list[Any]:
        return [self.n, self.late, uptime.pack(self.marks)]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        marks = uptime.unpack(state[2])
        if sum(map(len, marks.values())) > state[0]:
            raise UnreadableError("more minutes than events")
        return cls(state[0], state[1], marks)

    def size_hint(self) -> int:
        return 16 + uptime.MARK_BYTES * sum(map(len, self.marks.values()))


TYPES: dict[str, Callable[..., Any]] = {
    cls.kind: cls for cls in (Count, Sum, Distinct, Histogram, Ratio, SumDistinct, IdSum, Uptime)
}


def new_accumulator(kind: str) -> Any:
    """An empty accumulator of a catalogue kind."""
    return TYPES[kind]()


def load_accumulator(kind: str, data: bytes) -> Any:
    """An accumulator of a catalogue kind from its bytes.

    Raises:
        UnreadableError: they are none.
    """
    return TYPES[kind].from_bytes(data)  # type: ignore[attr-defined]  # every entry is an Accumulator class
