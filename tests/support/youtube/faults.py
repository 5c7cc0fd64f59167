"""What a test can make this YouTube do wrong, all of it changeable while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.youtube.errors import Refusal


@dataclass
class Faults:
    """Everything off at first. `every_nth` counts API requests from 1."""

    every_nth: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    """With `every_nth`: these in turn instead of an answer (they cost units as Google says)."""
    break_every: int = 0
    """Every so many requests the connection is cut after the request was counted."""
    cut_every: int = 0
    """Every so many requests the connection is cut in the middle of the answer."""
    delay_s: float = 0.0
    refuse_pages_of: dict[str, Refusal] = field(default_factory=dict)
    """method id -> what its requests get, until it is taken out again."""
    break_schema: bool = False
    """Answer against the discovery document: for the test that the double would notice."""
    drop_fields: tuple[str, ...] = ()
    """Dotted paths that are missing in every second item, e.g. statistics.viewCount."""
    extra_fields: bool = False
    """Fields that no document knows yet, as after an update on Google's side."""
