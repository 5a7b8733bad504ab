"""Kinds of members that bodies of several contracts have: text, whole numbers, money.

Each is a pydantic type with its JSON schema, so that a document says what a reader checks. None of them repeats in an error
what was sent.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from kassa.kit.money import InvalidMoney, Money, exponent, from_major

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_NAME = 50
MAX_EXTRAS = 20


class Body(BaseModel):
    """A request body, or an object in one: closed, and strict about types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def storable(text: str) -> bool:
    """Whether the database can hold `text`: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise PydanticCustomError("control_characters", "must not have control characters")
    return text


def _lines(text: str) -> str:
    if _CONTROL_BUT_LINES.search(text):
        raise PydanticCustomError("control_characters", "must not have control characters")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


def _amount(value: Any, info: ValidationInfo) -> Money | None:
    if value is None:
        return None
    currency = info.context["currency"] if info.context else ""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("money_type", "must be a number")
    try:
        return from_major(value, currency)
    except InvalidMoney as error:
        raise PydanticCustomError("money", "{problem}", {"problem": _of_amount(error, value, currency)}) from None


def _of_amount(error: InvalidMoney, value: int | Decimal, currency: str) -> str:
    if "decimals" in error.message:
        return f"must have at most {exponent(currency)} decimals"
    return error.message if value >= 0 else "must be 0 or more"


Text200 = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain), AfterValidator(_filled)]
"""Text of 1 to 200 characters, not only blanks, no control characters."""
Extra200 = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Text100 = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_plain), AfterValidator(_filled)]
Note500 = Annotated[str, Field(max_length=500), AfterValidator(_lines)]
PlainText = Annotated[str, AfterValidator(_plain)]
Quantity = Annotated[int, Field(ge=1, le=999)]
"""1 to 999. Digits with a point or an exponent are no whole number, and neither is `true`."""
Major = Annotated[
    Any,
    AfterValidator(_amount),
    WithJsonSchema(
        {"type": "number", "minimum": 0, "description": "An amount in major units, with at most the currency's decimals."}
    ),
]
"""Major units, read digit by digit; becomes `Money` in the currency of the validation's context, or None where it is null."""


class Address(Body):
    """Where the parcel goes. Further members (at most 20, names up to 50, text up to 200 characters) are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Extra200] = Field(init=False)

    @model_validator(mode="after")
    def _extras_are_few(self) -> Self:
        extras = self.__pydantic_extra__
        if len(extras) > MAX_EXTRAS:
            raise PydanticCustomError("too_many_extras", "must have at most 20 members of your own")
        if any(not 0 < len(name) <= _LONGEST_NAME or _CONTROL.search(name) for name in extras):
            raise PydanticCustomError("extra_name", "must have members with names of 1 to 50 characters")
        return self
