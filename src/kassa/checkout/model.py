"""The checkout saga as tables: its states, its acts, and what comes next. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.kit.moves import Moves

MOVES = Moves(
    "started",
    {
        ("started", "reserved"): "reserved",
        ("started", "undone"): "undone",  # refused before anything was held
        ("reserved", "paying"): "paying",
        ("reserved", "completed"): "completed",  # cash on delivery
        ("reserved", "undoing"): "undoing",
        ("paying", "paid"): "paid",
        ("paying", "undoing"): "undoing",
        ("paying", "parked"): "parked",  # a payment that cannot be asked for
        ("paid", "completed"): "completed",
        ("paid", "undoing"): "undoing",
        ("paid", "parked"): "parked",
        ("undoing", "undone"): "undone",
        ("undoing", "parked"): "parked",  # an undo failed too long
        ("undone", "returning"): "returning",  # money came late and goes back
        ("returning", "undone"): "undone",
        ("returning", "parked"): "parked",
        # Out of `parked` only by a person's decision, or when what was tried on succeeds at last.
        ("parked", "completed"): "completed",
        ("parked", "undoing"): "undoing",
        ("parked", "undone"): "undone",
    },
)

PURCHASES = "purchases"
"""The surface whose carts keep their lines until they are paid."""

GUEST = "guest-"
"""How the id of a buyer begins whom only a browser knows. They are found again by the e-mail address that they gave."""

STOCK = "stock"
PAYMENT = "payment"
INVENTORY = "inventory"
ORDER = "order"
ORDER_SERVICE = "order_service"
TAKE = "take:"
"""Acts. `take:<product>` changes the stock of one product at a product service; `order` is our own order alone."""

REMOTE = frozenset({INVENTORY, ORDER_SERVICE})


def is_remote(act: str) -> bool:
    """Whether the act (payment aside) is a call to a neighbour."""
    return act in REMOTE or act.startswith(TAKE)


def shown_step(act: str) -> str:
    """The name under which contracts show an act."""
    return ORDER if act == ORDER_SERVICE else act


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a checkout was refused: `error` is the contract's sentence, `code` a stable word."""

    error: str
    code: str
    message: str | None = None
    items: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the journal: one act, how far it is, and what the neighbour called it (`ref`)."""

    step: str
    position: int
    status: str
    ref: str | None
    sends: int
    first_sent_at: datetime | None
    undos: int
    undo_since: datetime | None
    began_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout as it was read, with its lease. Amounts are minor units of `currency`."""

    merchant_id: str
    checkout_id: uuid.UUID
    channel: str
    surface: str
    buyer_id: str | None
    status: str
    method: str
    acts: Sequence[str]
    cart_id: uuid.UUID | None
    cart_version: int | None
    order_id: uuid.UUID | None
    payment_id: uuid.UUID | None
    currency: str
    total_minor: int | None
    customer_email: str | None
    request_id: str | None
    error: str | None
    error_code: str | None
    error_message: str | None
    error_items: Sequence[Mapping[str, Any]] | None
    deadline: datetime | None
    tries: int
    lease_version: int
    idempotency: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime
    read_at: datetime

    @property
    def is_over(self) -> bool:
        """Whether it ended, one way or the other."""
        return self.status in {"completed", "undone"}


@dataclass(frozen=True, slots=True)
class CheckoutView:
    """What a caller may see of a checkout. `order_ref` and `payment_ref` are a neighbour's where it has named them."""

    checkout_id: uuid.UUID
    buyer_id: str | None
    surface: str
    status: str
    """`processing`, `undoing`, `completed`, `failed` or `parked`."""
    order_ref: str | None
    payment_ref: str | None
    total_minor: int | None
    currency: str
    error: str | None
    code: str | None
    message: str | None
    items: Sequence[Mapping[str, Any]] | None
    """For a price change `{product_id, price_minor}`, for a shortage `{product_id, requested, available}`."""
    steps: Sequence[Step]


def shown_status(checkout: Checkout) -> str:
    """The status that the checkout contract shows."""
    match checkout.status:
        case "completed":
            return "completed"
        case "undone":
            return "failed"
        case "undoing" | "returning":
            return "undoing"
        case "parked":
            return "parked"
        case _:
            return "processing"
