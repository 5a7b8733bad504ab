"""What the surfaces ask of the conductor, and what they get back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kassa.audit import UNNAMED, By
from kassa.catalog import Channel
from kassa.checkout.model import CheckoutView
from kassa.kit import once
from kassa.kit.languages import ENGLISH
from kassa.kit.money import Money
from kassa.orders import Order
from kassa.payments.model import Card, CardTrace


@dataclass(frozen=True, slots=True)
class CartWish:
    """Turn the buyer's cart into an order.

    `method` is the contract's text (`credit_card`, `link:stripe` …), `version` the cart version that was looked at,
    `expected_total` what the buyer agreed to, `asked` keyed hashes of address and method (rule 4 of the contract), the one to
    keep first. `token` is the caller's own, good for asking the user service who that is; `card_token` that of a
    card at Payme, for the length of this request. `language`: in which the buyer is written to.
    """

    channel: Channel
    buyer_id: str
    email: str | None
    shipping_address: Mapping[str, Any]
    method: str
    card: CardTrace
    asked: tuple[bytes, ...]
    version: int | None = None
    expected_total: Money | None = None
    key: once.Key | None = None
    name: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    card_token: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)
    language: str = ENGLISH


@dataclass(frozen=True, slots=True)
class ItemAsked:
    """One product of an explicit list. `price` is the price the caller believes in, if it said one."""

    product_id: str
    quantity: int
    price: Money | None = None


@dataclass(frozen=True, slots=True)
class ItemsWish:
    """Buy explicit items with a card, in one call. `address` is where the request came from, `language` what the buyer reads."""

    channel: Channel
    buyer_id: str | None
    email: str
    shipping_address: Mapping[str, Any]
    items: Sequence[ItemAsked]
    card: Card
    key: once.Key | None = None
    name: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)
    language: str = ENGLISH


@dataclass(frozen=True, slots=True)
class MoveWish:
    """Move an order, or update its tracking data. `by_staff` False means its owner, who may only cancel; else `by` is who.

    `why` is for the audit log, and must name no buyer; `note` is told to the buyer.
    """

    merchant_id: str
    order_id: uuid.UUID
    to: str
    by_staff: bool
    note: str | None = None
    tracking_number: str | None = None
    carrier: str | None = None
    key: once.Key | None = None
    by: By = UNNAMED
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The first answer to this idempotency key, byte for byte."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """An order; `created` is False when this cart version had become it already."""

    order: Order
    created: bool
    answer: tuple[int, bytes] | None = None
    """As it was kept under the caller's key, where it was."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A checkout after its request; `final` False means that it goes on without the caller (202)."""

    view: CheckoutView
    final: bool


RenderOrder = Callable[[Placed], tuple[int, bytes]]
"""How a surface answers with an order: the status and the bytes that an idempotency key keeps."""

RenderCheckout = Callable[[CheckoutView], tuple[int, bytes]]
"""How a surface answers a checkout that has ended."""


@dataclass(frozen=True, slots=True)
class Replies:
    """The port that bootstrap fills: how final answers of the checkout contract are written."""

    checkout: RenderCheckout
