"""What the operator decided about collecting for merchants. Bootstrap fills this port."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class CollectRules:
    """How long money is waited for, and who collects it.

    `link_ttl`: how long a link, or a payment that somebody else's system collects, may stay unpaid. `keyed_provider`: who
    collects what is asked for by key (`simulated` or `external`).
    """

    link_ttl: timedelta = timedelta(days=1)
    keyed_provider: str = "simulated"
