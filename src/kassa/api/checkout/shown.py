"""What the checkout contract shows, as models and examples for its document; the answers themselves are written by `shapes`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Major = Annotated[Decimal, WithJsonSchema({"type": "number", "description": "Major units, exact to the currency's decimals."})]


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckoutDone(_Shown):
    """Paid, stock taken, order made."""

    checkout_id: str
    error: None
    order_id: str
    total: Major
    status: Literal["completed"]


class CheckoutAccepted(_Shown):
    """Ten seconds are over and the end is not known; ask at `Location`."""

    checkout_id: str
    error: None
    status: Literal["processing"]


class RefusedItem(_Shown):
    """A product that stands in the way: its present price, or how many there are."""

    product_id: str
    price: Major | None = Field(default=None, description="With `price_changed`.")
    requested: int | None = Field(default=None, description="With `stock_insufficient`.")
    available: int | None = Field(default=None, description="With `stock_insufficient`.")


class CheckoutRefusal(_Shown):
    """Why not. `checkout_id` is null where no checkout was made."""

    checkout_id: str | None
    error: str
    message: str
    code: str
    items: list[RefusedItem] | None = None


class CheckoutError(_Shown):
    """A refusal."""

    detail: CheckoutRefusal


class MalformedMember(_Shown):
    """What is wrong with one member; never what was sent."""

    loc: list[str | int]
    msg: str
    type: str


class CheckoutUnprocessable(_Shown):
    """A refusal of the purchase, or the list of what is malformed in the request."""

    detail: CheckoutRefusal | list[MalformedMember]


class CheckoutStep(_Shown):
    """One act of a checkout."""

    step: str
    status: Literal["running", "done", "refused", "unknown", "undoing", "undone", "stuck"]
    at: datetime


class CheckoutState(_Shown):
    """How a checkout stands."""

    checkout_id: str
    status: Literal["processing", "undoing", "completed", "failed", "parked"]
    order_id: str | None
    payment_id: str | None
    total: Major | None
    error: str | None
    message: str | None
    steps: list[CheckoutStep]


_ID = "019b76da-9c40-7a11-8d02-5b1f0c6e7a33"
_ORDER_ID = "019b76da-a2c0-7b11-9f3e-6d5c4b3a2f10"
PURCHASE = {
    "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
    "customer_email": "customer@example.com",
    "shipping_address": {"street": "Rua das Flores", "number": "123", "city": "São Paulo", "state": "SP", "zip_code": "01234-567"},
    "items": [
        {"product_id": "prod_001", "quantity": 2, "price": 99.90},
        {"product_id": "prod_002", "quantity": 1, "price": 149.90},
    ],
}
DONE = {"checkout_id": _ID, "error": None, "order_id": _ORDER_ID, "total": 349.7, "status": "completed"}
ACCEPTED = {"checkout_id": _ID, "error": None, "status": "processing"}
_REFUSED = {
    "detail": {
        "checkout_id": _ID,
        "error": "Payment processing failed",
        "message": "Insufficient funds in account",
        "code": "insufficient_funds",
    }
}
_MALFORMED = {"detail": [{"loc": ["body", "items", 0, "quantity"], "msg": "must be 1 or more", "type": "greater_than_equal"}]}
STATE = {
    "checkout_id": _ID,
    "status": "completed",
    "order_id": _ORDER_ID,
    "payment_id": "12345ABC",
    "total": 349.7,
    "error": None,
    "message": None,
    "steps": [{"step": step, "status": "done", "at": "2026-01-01T00:00:00Z"} for step in ("payment", "inventory", "order")],
}


def _json(model: type[BaseModel], about: str, **example: Any) -> dict[str, Any]:
    return {"model": model, "description": about, "content": {"application/json": example}}


def _error(about: str) -> dict[str, Any]:
    return {"model": CheckoutError, "description": about}


_COMMON: dict[int | str, dict[str, Any]] = {
    401: _error("A token that is present and wrong; never a guest."),
    429: _error("Too many requests."),
    503: _error("Unavailable; nothing was begun."),
}
PROCESS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _json(CheckoutDone, "Paid, stock taken, order made.", example=DONE),
    202: _json(CheckoutAccepted, "Still working; ask at `Location`.", example=ACCEPTED)
    | {"headers": {"Location": {"description": "`/checkout/<id>`", "schema": {"type": "string"}}}},
    400: _error("The idempotency key is malformed."),
    409: _error("The first request with this key is still running."),
    413: _error("The body is larger than 64 KiB."),
    422: _json(
        CheckoutUnprocessable,
        "Refused, and everything done before is undone or being undone; or the request is malformed.",
        examples={"refused": {"value": _REFUSED}, "malformed": {"value": _MALFORMED}},
    ),
    **_COMMON,
}
READ_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _json(CheckoutState, "How it stands.", example=STATE),
    404: _error("There is none, or it belongs to another buyer."),
    **_COMMON,
}
