"""A contract that never was: 1.2 is what is current today, and 1.1 and 1.0 called things otherwise.

user-events  1.0 -> 1.1  user is called user_id
             1.1 -> 1.2  response_time_s in seconds becomes response_time_ms
cost-events  1.1 -> 1.2  the component audio is called voice
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schemas.topics import COST_EVENTS, USER_EVENTS
from schemas.upcast_steps import Mapped, Renamed, Scaled, Upcaster
from schemas.upcasters import Contract
from schemas.versions import Version

FOLDER: Final = Path(__file__).parent
UPCASTERS: Final = {
    (USER_EVENTS, 0): Upcaster((Renamed("user", "user_id"),)),
    (USER_EVENTS, 1): Upcaster((Scaled("response_time_s", "response_time_ms", 1000, whole=True),)),
    (COST_EVENTS, 1): Upcaster((Mapped("component", (("audio", "voice"),)),)),
}
PLANTED: Final = Contract(Version(1, 2, 0), UPCASTERS)
