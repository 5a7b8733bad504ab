"""An act that waits for a second person, and the ways it may end. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kassa.kit.errors import Conflict, NotAllowed, NotFound
from kassa.kit.money import Money
from kassa.kit.moves import Moves

WAITS = timedelta(days=7)
"""How long an act waits for a second person."""

MOVES = Moves(
    "pending",
    {
        ("pending", "approve"): "approved",  # another admin said yes: it may be done
        ("pending", "reject"): "rejected",
        ("approved", "done"): "done",
        ("approved", "failed"): "failed",  # the world had moved: what was asked for is not possible any more
    },
)


class ApprovalMissing(NotFound):
    """There is no such approval."""

    code = "approval_missing"


class ApprovalOver(Conflict):
    """This was decided already, or its time is over."""

    code = "approval_over"


class OwnApproval(NotAllowed):
    """Nobody approves what they asked for; another admin must look at it."""

    code = "own_approval"


@dataclass(frozen=True, slots=True)
class Wish:
    """An act above the limit, as it is asked for by `asked_by`. `asked` is what its form said; `once_key` tells a repeat."""

    act: str
    subject: str
    asked: Mapping[str, str]
    amount: Money
    why: str
    once_key: str
    asked_by: str


@dataclass(frozen=True, slots=True)
class Approval:
    """An act that waits for a second person, or that had one. `status` is `expired` when nobody came in time."""

    merchant_id: str
    approval_id: uuid.UUID
    act: str
    subject: str
    asked: Mapping[str, str]
    amount_minor: int
    currency: str
    why: str
    status: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_why: str | None
    decided_at: datetime | None
    outcome: str | None
