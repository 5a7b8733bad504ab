"""The request bodies of the payments contract (sections 2, 3 and 6). Members that nobody knows are ignored, as it says."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from kassa.api.fields import storable
from kassa.kit.money import InvalidMoney, Money, exponent, from_major

_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,8})?")
_MONEY = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_MOST_MINOR = 10**15 - 1
_LARGEST_ID = 2**63 - 1
_WHOLE_DIGITS, _DECIMALS = 12, 8


class OpenBody(BaseModel):
    """A request body that takes no notice of members that it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _no(kind: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{problem}", {"problem": message})


def _quantity(value: Any) -> str:
    """A quantity as text without trailing zeros."""
    if isinstance(value, str):
        number = Decimal(value) if _QUANTITY.fullmatch(value) else None
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
    else:
        number = None
    if number is None or not number.is_finite():
        raise _no("quantity", "must be a number, or digits with at most one point")
    power = number.as_tuple().exponent
    assert isinstance(power, int)
    if number <= 0 or number.adjusted() >= _WHOLE_DIGITS or -power > _DECIMALS:
        raise _no("quantity", "must be above 0, with at most 12 digits before and 8 after the point")
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _money(value: Any, info: ValidationInfo) -> Money | None:
    if value is None and info.field_name == "amount":
        return None
    currency = info.context["currency"] if info.context else ""
    if isinstance(value, str):
        number: Decimal | int | None = Decimal(value) if _MONEY.fullmatch(value) else None
    else:
        number = value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
    if number is None:
        raise _no("money", "must be a number, or digits with at most one point")
    try:
        money = from_major(number, currency)
    except InvalidMoney:
        raise _no("money", f"must be an amount above 0 with at most {exponent(currency)} decimals") from None
    if not 0 < money.minor <= _MOST_MINOR:
        raise _no("money", f"must be above 0 and at most {_MOST_MINOR} minor units")
    return money


def _reference(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST_ID:
        return value
    if isinstance(value, str) and 1 <= len(value) <= 64 and value.isprintable() and value == value.strip() and storable(value):
        return value
    raise _no("reference", "must be a whole number from 1, or 1 to 64 printable characters without spaces around them")


def _plan(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_ID:
        return str(value)
    if isinstance(value, str) and 1 <= len(value) <= 64 and storable(value):
        return value
    raise _no("plan", "must be a whole number, or 1 to 64 characters")


def _storable(text: str) -> str:
    if not storable(text):
        raise _no("characters", "must not have characters that cannot be stored")
    return text


def _number_or_text(about: str, pattern: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": pattern}], "description": about}
    )


MajorText = Annotated[
    Any,
    AfterValidator(_money),
    _number_or_text("Money above 0 in major units, with at most the currency's decimals.", r"^[0-9]+(\.[0-9]+)?$"),
]


class CreatePayment(OpenBody):
    """Collect `price` for the merchant's own `order_id`. Nothing is multiplied: `amount` is a quantity that is passed through."""

    order_id: Annotated[
        Any,
        AfterValidator(_reference),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1, "maxLength": 64}]}),
    ]
    amount: Annotated[
        Any,
        AfterValidator(_quantity),
        _number_or_text("A quantity above 0.", r"^[0-9]{1,12}(\.[0-9]{1,8})?$"),
    ]
    price: MajorText
    alias: Annotated[str, Field(min_length=1, max_length=64, description="The provider."), AfterValidator(_storable)]
    subscription_id: Annotated[
        Any,
        AfterValidator(_plan),
        WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}], "description": "The plan."}),
    ] = None
    event_id: Annotated[
        str | None,
        Field(min_length=1, max_length=255, description="The caller's own id of this request, shown in the timeline."),
        AfterValidator(lambda text: text if text is None else _storable(text)),
    ] = None


class ProviderReport(OpenBody):
    """What a provider reports of a payment, or of a refund of it."""

    payment_id: str
    status: str = Field(description="`finished`, `pending`, `processing`; anything else means failed. Of a refund: `refunded`.")
    refund_id: str | None = None
    price: MajorText = Field(default=None, description="Compared with the payment's, where it is sent.")
    currency: str | None = None


class RefundLineBody(OpenBody):
    """So many pieces of one line of the shop's order; `restock` puts them back on the shelf."""

    line_id: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_storable)]
    quantity: Annotated[int, Field(ge=1, le=10**9)]
    restock: bool = False


class CreateRefund(OpenBody):
    """Give back `amount`, or `lines`, or all that is left."""

    amount: MajorText = None
    lines: Annotated[list[RefundLineBody], Field(min_length=1, max_length=100)] | None = None
    reason: Annotated[str | None, Field(max_length=255), AfterValidator(lambda text: text if text is None else _storable(text))] = (
        None
    )
    idempotency_key: str | None = Field(default=None, description="May stand in for the header; both must be equal.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.amount is not None and self.lines is not None:
            raise _no("amount_and_lines", "must name an amount or lines, not both")
        return self


def _scopes(value: Any) -> Any:
    return tuple(dict.fromkeys(value)) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value


class CreateKey(OpenBody):
    """A new API key."""

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_storable)]
    scopes: Annotated[
        tuple[
            Literal[
                "payments:read",
                "payments:write",
                "refunds:write",
                "merchant:read",
                "events:read",
                "webhooks:manage",
                "keys:manage",
            ],
            ...,
        ],
        BeforeValidator(_scopes),
        Field(min_length=1),
    ]
