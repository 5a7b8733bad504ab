"""Request bodies of the orders contract (sections 4 to 6 and 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from kassa.api.fields import Address, Body, Major, Note500, Quantity, Text100, Text200
from kassa.api.keys import canonical
from kassa.payments.model import Card, CardTrace

_MOST_DETAILS = 4096
_MOST_CARD = 40
_MOST_POSITIONS = 19
_WHOLE_CARD = 12
_CARD = re.compile(r"[0-9*xX•]*[0-9]{4}")
_EXPIRY = re.compile(r"(0[1-9]|1[0-2])/[0-9]{2}")
_BETWEEN = str.maketrans("", "", " -")

CARD_TOKEN = re.compile(r"(?![0-9-]+\Z)[!-~]{1,1024}")
"""A token of Payme's; digits alone would be the number of a card."""

_SECRET_NAME = re.compile(r"cv[vcnd]|cid|csc|secur|verif|code|pin|pass|otp", re.IGNORECASE)
"""Names of members of `paymentDetails` that may hold a security code: they stay out even of keyed hashes."""
_DIGITS: Final = re.compile(r"(?:[0-9][ -]?){11,}[0-9]")


class AddItem(Body):
    """Put a product into the cart."""

    product_id: Annotated[str, Field(alias="productId", pattern=r"^[A-Za-z0-9_.\-]{1,50}$", examples=["prod_001"])]
    quantity: Quantity | None = None


class ChangeItem(Body):
    """Replace the quantity of a line."""

    quantity: Quantity


class ShippingAddress(Address):
    """Where the order goes. Up to 20 members of your own (text up to 200 characters) are kept and returned as sent."""

    street: Text200
    city: Text200
    state: Text200
    postal_code: Annotated[Text200, Field(alias="postalCode")]
    country: Text200

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(given) if isinstance(given, dict) else given


def without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    """An optional member that is null counts as absent."""
    return {name: value for name, value in given.items() if value is not None or name in _REQUIRED}


_REQUIRED = frozenset({"street", "city", "state", "postalCode", "country"})


def _details(given: Any) -> Any:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise PydanticCustomError("dict_type", "must be an object")
    if len(canonical(given)) > _MOST_DETAILS:
        raise PydanticCustomError("too_large", "must be at most 4 KiB")
    return {name: given.get(name) for name in ("cardNumber", "expiryDate", "cardToken")}


def _card_number(text: str) -> str:
    positions = text.translate(_BETWEEN)
    if len(text) > _MOST_CARD or len(positions) > _MOST_POSITIONS or not _CARD.fullmatch(positions):
        raise PydanticCustomError("card_number", "must be digits, or hidden ones, with the last four visible")
    return positions


def _expiry(text: str) -> str:
    if not _EXPIRY.fullmatch(text):
        raise PydanticCustomError("expiry", "must be MM/YY")
    return text


class PaymentDetails(Body):
    """What the buyer says of a card: of the number brand, first six and last four are kept, of other members nothing."""

    card_number: Annotated[str, AfterValidator(_card_number)] | None = Field(default=None, alias="cardNumber", repr=False)
    expiry_date: Annotated[str, AfterValidator(_expiry)] | None = Field(default=None, alias="expiryDate", repr=False)
    card_token: Any = Field(default=None, alias="cardToken", repr=False)


_DETAILS_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "additionalProperties": True,
            "description": "Any members, at most 4 KiB. Nothing but brand, first six and last four digits of a card is kept.",
            "properties": {
                "cardNumber": {
                    "type": ["string", "null"],
                    "maxLength": _MOST_CARD,
                    "description": "Hidden digits may be `*`, `x` or `•`; the last four are visible.",
                },
                "expiryDate": {"type": ["string", "null"], "pattern": "^(0[1-9]|1[0-2])/[0-9]{2}$"},
                "cardToken": {"description": "With `payme`: a card's token, made on Payme's side. Used once, not kept."},
            },
        },
        {"type": "null"},
    ]
}


class PlaceOrder(Body):
    """Turn the cart into an order."""

    shipping_address: Annotated[ShippingAddress, Field(alias="shippingAddress")]
    payment_method: Annotated[
        str,
        Field(
            alias="paymentMethod",
            pattern=r"^(credit_card|upi|net_banking|cash_on_delivery|payme|link:[A-Za-z0-9_.\-]{1,50})$",
            description="`credit_card`, `upi`, `net_banking`, `cash_on_delivery`, `payme` or `link:<alias>`",
        ),
    ]
    payment_details: Annotated[PaymentDetails | None, BeforeValidator(_details), WithJsonSchema(_DETAILS_SCHEMA)] = Field(
        default=None, alias="paymentDetails"
    )
    cart_version: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None, alias="cartVersion", description="Order exactly this version of the cart; the same as If-Match."
    )
    expected_total: Major = Field(default=None, alias="expectedTotal")


class MoveOrder(Body):
    """Move an order to another status, or update its tracking data."""

    status: Literal["pending", "paid", "processing", "shipped", "delivered", "cancelled"]
    tracking_number: Text100 | None = Field(default=None, alias="trackingNumber")
    carrier: Text100 | None = None
    note: Note500 | None = None


def trace_of(number: str | None, fingerprint: Any) -> CardTrace:
    """What may be kept of a card: brand and first six where they are visible, last four; a keyed fingerprint of a whole number.

    `number` has been checked and has no blanks; `fingerprint` is a keyed hash.
    """
    if number is None:
        return CardTrace()
    long_enough = len(number) >= _WHOLE_CARD
    whole = long_enough and number.isdigit()
    return CardTrace(
        brand=Card("", number, "", "").brand if long_enough else None,
        first6=number[:6] if long_enough and number[:6].isdigit() else None,
        last4=number[-4:],
        fingerprint=fingerprint(number.encode()) if whole else None,
    )


def without_secrets(data: Mapping[str, Any], fingerprint: Any) -> dict[str, Any]:
    """A body as it may enter the hash of an idempotency key: no security code, and card numbers as keyed fingerprints."""
    details = data.get("paymentDetails")
    if not isinstance(details, dict):
        return dict(data)
    return {**data, "paymentDetails": _veiled(details, fingerprint)}


def _veiled(value: Any, fingerprint: Any) -> Any:
    if isinstance(value, dict):
        return {name: _veiled(each, fingerprint) for name, each in value.items() if not _SECRET_NAME.search(name)}
    if isinstance(value, list):
        return [_veiled(each, fingerprint) for each in value]
    text = str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value
    if isinstance(text, str) and _DIGITS.search(text):
        return fingerprint(text.translate(_BETWEEN).encode()).hex()
    return value
