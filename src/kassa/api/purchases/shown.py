"""What the purchases contract shows, as models and examples for its document; the answers themselves are written by `shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from kassa.api import describe
from kassa.api.purchases.models import HIGHEST

Tiyin = Annotated[int, Field(description="Tiyin; 100 are 1 UZS.")]
AmbassadorId = Annotated[int, Field(ge=1, le=HIGHEST)]
Buyer = Annotated[int | str, Field(description="The token's user: a number where its text reads like one.")]


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CartAmbassador(_Shown):
    """One ambassador in a cart."""

    id: str
    ambassador_id: AmbassadorId
    price: Tiyin
    created_at: datetime


class AmbassadorCart(_Shown):
    """A cart at live prices."""

    id: str
    user_id: Buyer
    items: list[CartAmbassador]
    total: Tiyin
    invalid_ids: list[AmbassadorId] = Field(description="In the cart and no longer sold: neither in `items` nor in `total`.")
    created_at: datetime


class PurchaseStarted(_Shown):
    """A purchase that waits to be paid at Payme."""

    purchase_id: str
    payment_id: str
    amount: Tiyin
    payment_url: str


class PurchaseShown(_Shown):
    """One ambassador that was bought, at the price that was paid."""

    id: str
    user_id: Buyer
    ambassador_id: AmbassadorId
    price_paid: Tiyin
    created_at: datetime


class PurchasePage(_Shown):
    """A page of purchases; `total` counts all of them."""

    purchases: list[PurchaseShown]
    total: int


class MemberProblem(_Shown):
    """What is wrong with one member; never what was sent."""

    field: str
    message: str


class PurchasesError(_Shown):
    """Every refusal."""

    detail: str
    code: str
    errors: list[MemberProblem] | None = Field(default=None, description="With `invalid_body`, where members are wrong.")
    invalid_ids: list[AmbassadorId] | None = Field(default=None, description="With `ambassadors_invalid`.")


NAMED = {"ambassador_id": 1}
NAMED_IN_QUERY = describe.parameter(
    "query",
    "ambassador_id",
    "Instead of a body, which some proxies strip.",
    type="integer",
    minimum=1,
    maximum=HIGHEST,
)
_ITEM = {
    "id": "019b76da-9f2b-7e60-b3c4-0d9a8e7f6a51",
    "ambassador_id": 1,
    "price": 5000000,
    "created_at": "2025-12-31T23:59:57.739000Z",
}
_CART = {
    "id": "019b76da-9c40-7a11-8d02-5b1f0c6e7a33",
    "user_id": 42,
    "items": [_ITEM],
    "total": 5000000,
    "invalid_ids": [],
    "created_at": "2025-12-31T23:59:57.000000Z",
}
_STARTED = {
    "purchase_id": "019b76da-a800-7c3e-9f51-2d8e6a4b7c10",
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "amount": 7500000,
    "payment_url": "https://test.paycom.uz/bT02NTAwMDAwMDAwMDAwMDAwMDAwMDAwMDE7YWMub3JkZXJfaWQ9MDE5Yjc2ZGEtYTgwMC03YzNlLTlmNTEtMmQ4"
    "ZTZhNGI3YzEwO2E9NzUwMDAwMA==",
}
_HISTORY = {
    "purchases": [
        {
            "id": "019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d",
            "user_id": 42,
            "ambassador_id": 4,
            "price_paid": 2500000,
            "created_at": "2026-01-01T00:00:01.777000Z",
        }
    ],
    "total": 1,
}

_SOURCE_AWAY = ["unavailable", "ambassadors_unavailable"]
_COMMON: Mapping[int, Sequence[str]] = {401: ["unauthorized"], 429: ["rate_limited"], 503: ["unavailable"]}
_KEYED: Mapping[int, Sequence[str]] = {**_COMMON, 400: ["idempotency_key_invalid"], 503: _SOURCE_AWAY}


def _answers(
    status: int, model: type[BaseModel], about: str, example: Any, errors: Mapping[int, Sequence[str]]
) -> dict[int | str, dict[str, Any]]:
    return describe.answers(status, model, about, example, dict(sorted(errors.items())), PurchasesError)


def _refusals(errors: Mapping[int, Sequence[str]]) -> dict[int | str, dict[str, Any]]:
    told = _answers(200, PurchasesError, "", None, errors)
    del told[200]
    return told


CART_ANSWERS = _answers(200, AmbassadorCart, "The cart at live prices.", _CART, {**_COMMON, 503: _SOURCE_AWAY})
ADD_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": CartAmbassador,
        "description": "It was in the cart already; the same line.",
        "content": {"application/json": {"example": _ITEM}},
    },
    **_answers(
        201,
        CartAmbassador,
        "The new line.",
        _ITEM,
        {
            **_KEYED,
            404: ["ambassador_not_found"],
            409: ["cart_full", "in_progress"],
            413: ["too_large"],
            422: ["invalid_body", "idempotency_key_reused"],
        },
    ),
}
REMOVE_ANSWERS: dict[int | str, dict[str, Any]] = {
    204: {"description": "It is out of the cart."},
    **_refusals({**_COMMON, 404: ["not_in_cart"], 413: ["too_large"], 422: ["invalid_body"]}),
}
CHECKOUT_ANSWERS = _answers(
    201,
    PurchaseStarted,
    "The purchase and where to pay it.",
    _STARTED,
    {
        **_KEYED,
        400: ["cart_empty", "idempotency_key_invalid"],
        409: ["ambassadors_invalid", "in_progress"],
        422: ["idempotency_key_reused"],
    },
)
HISTORY_ANSWERS = _answers(200, PurchasePage, "Paid purchases, newest first.", _HISTORY, {**_COMMON, 422: ["invalid_body"]})
