"""Dimension values as small integers, at most 1,000 a dimension and source, then `other`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

MAX_VALUES: Final = 1000
OTHER: Final = "other"


class DimensionIndex:
    """Values of one dimension of one source, numbered as they are first seen (so a replay numbers them alike)."""

    __slots__ = ("_codes", "values")

    def __init__(self, values: list[str] | None = None) -> None:
        self.values: list[str] = list(values or [])
        self._codes: dict[str, int] = {value: code for code, value in enumerate(self.values)}

    def codes(self, column: list[str]) -> np.ndarray[Any, Any]:
        """The code of each value."""
        known = self._codes
        try:
            found = [known[value] for value in column]
        except KeyError:
            found = [self._code(value) for value in column]
        return np.array(found, dtype=np.int64)

    def _code(self, value: str) -> int:
        code = self._codes.get(value)
        if code is not None:
            return code
        if len(self.values) >= MAX_VALUES and value != OTHER:
            return self._code(OTHER)
        code = self._codes[value] = len(self.values)
        self.values.append(value)
        return code
