"""Personal data: which fields of which topics name a person, and are never stored in clear in the warehouse."""

from __future__ import annotations

from typing import Final

from schemas.topics import ALL, CDC_USERS, DEAD_LETTERS, USER_EVENTS

#: The customer's list. All of them are looked for in every topic that holds any: a producer may send an e-mail in a field of
#: user events that nobody asked for.
FIELDS: Final = ("email", "username", "ip_address")

#: Contract topic -> its personal fields, at any depth of its records.
PERSONAL: Final[dict[str, tuple[str, ...]]] = {USER_EVENTS: FIELDS, CDC_USERS: FIELDS}


def may_hold_personal(topic: str) -> bool:
    """Whether records that say they are of this topic may hold personal data: also if nobody knows the topic."""
    return topic in PERSONAL or topic not in ALL or topic == DEAD_LETTERS


#: Where personal values lie in the layers that people read: (table, its column of the user, columns).
STORED: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("silver.cdc_users", "id", ("email", "username")),
    ("silver.user_activity", "user_id", ("ip_address",)),
    ("gold.dim_user", "user_id", ("email", "username")),
    ("gold.fact_user_activity", "user_id", ("ip_address",)),
)
