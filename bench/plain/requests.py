"""What the plain service takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field


class Method(BaseModel):
    """A card."""

    type: str
    card_number: Annotated[str, Field(pattern=r"^\d{12,19}$")]
    card_expiry: Annotated[str, Field(pattern=r"^\d\d/\d\d$")]
    card_cvv: Annotated[str, Field(pattern=r"^\d{3,4}$")]


class Address(BaseModel):
    """Where it goes."""

    street: str
    number: str
    city: str
    state: str
    zip_code: str


class Item(BaseModel):
    """What is bought, at the price that the caller says."""

    product_id: str
    quantity: Annotated[int, Field(gt=0)]
    price: Annotated[Decimal, Field(ge=0)]


class CheckoutRequest(BaseModel):
    """A purchase."""

    payment_method: Method
    customer_email: str
    shipping_address: Address
    items: Annotated[list[Item], Field(min_length=1)]
