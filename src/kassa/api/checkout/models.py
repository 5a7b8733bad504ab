"""The request body of the checkout contract (sections 2 and 7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kassa.api.fields import Address, Body, Major, PlainText, Quantity, Text200
from kassa.kit.money import Money

MAX_QUANTITY = 999

_CARD_NUMBER = r"^[0-9]([ \-]*[0-9]){11,18}$"
_LONGEST_CARD = 64
_BETWEEN = str.maketrans("", "", " -")
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


def _no_blanks(text: str) -> str:
    if _BLANK_OR_CONTROL.search(text):
        raise PydanticCustomError("blanks", "must not have blanks or control characters")
    return text


class PaymentMethod(Body):
    """A card. Number and code live for this one request; kept are brand, first six and last four."""

    type: Literal["credit_card", "debit_card"]
    card_number: str = Field(
        pattern=_CARD_NUMBER,
        max_length=_LONGEST_CARD,
        repr=False,
        description="12 to 19 digits; blanks and `-` between them are dropped. The gateway judges whether it is a card.",
    )
    card_expiry: str = Field(
        pattern=r"^(0[1-9]|1[0-2])/[0-9]{2}$", repr=False, description="`MM/YY`; whether it has passed is the gateway's business."
    )
    card_cvv: str = Field(pattern=r"^[0-9]{3,4}$", repr=False)

    @property
    def digits(self) -> str:
        """The number without what stands between its digits."""
        return self.card_number.translate(_BETWEEN)


class CheckoutAddress(Address):
    """Where the parcel goes. Up to 20 members of your own (text up to 200 characters) are kept and passed on."""

    street: Text200
    number: Text200
    city: Text200
    state: Text200
    zip_code: Text200


class Item(Body):
    """One product. A `price` is compared with the server's and never used."""

    product_id: Annotated[PlainText, Field(min_length=1, max_length=50, examples=["prod_001"])]
    quantity: Quantity
    price: Major = None


class ProcessCheckout(Body):
    """Items and a card. The same product twice is one line with the sum."""

    payment_method: PaymentMethod
    customer_email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(_no_blanks)]
    shipping_address: CheckoutAddress
    items: Annotated[list[Item], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _a_line_holds_999(self) -> Self:
        if max(quantity for quantity, _ in lines_of(self.items).values()) > MAX_QUANTITY:
            raise PydanticCustomError("too_many", "must ask for at most 999 of a product")
        return self


def lines_of(items: list[Item]) -> Mapping[str, tuple[int, Money | None]]:
    """Quantity and price of each product, in the order of first mention.

    Two prices for one product cannot both be the server's: they become a price that no product has.
    """
    lines: dict[str, tuple[int, Money | None]] = {}
    for item in items:
        quantity, price = lines.get(item.product_id, (0, item.price))
        both = {each for each in (price, item.price) if each is not None}
        one = both.pop() if len(both) == 1 else Money(-1, both.pop().currency) if both else None
        lines[item.product_id] = (quantity + item.quantity, one)
    return lines


def without_secrets(data: Mapping[str, Any], card_fingerprint: bytes) -> dict[str, Any]:
    """The body as it may enter the hash of an idempotency key: no security code, the card number as a keyed fingerprint."""
    method = {name: value for name, value in data["payment_method"].items() if name != "card_cvv"}
    return {**data, "payment_method": {**method, "card_number": card_fingerprint.hex()}}
