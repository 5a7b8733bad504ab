"""Money: a whole number of minor units and a currency, and nothing else.

No binary fraction ever touches an amount. A contract that shows major units is translated at its
door by `from_major` and `major_text`, exactly, with the number of decimals of the currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import iso4217

from kassa.kit.errors import Invalid

MAX_MINOR = 10**17
"""Far above any sum that is traded, far below what a 64-bit column holds: sums of lines stay exact."""


class InvalidMoney(Invalid):
    """This is not an amount of money in this currency."""

    code = "invalid_money"


class CurrenciesDiffer(Invalid):
    """Amounts in different currencies cannot be added."""

    code = "currencies_differ"


@cache
def exponent(currency: str) -> int:
    """How many decimals `currency` (an ISO 4217 code) has: 0, 2 or 3. Raises `InvalidMoney` for an unknown code."""
    try:
        return int(iso4217.Currency(currency).exponent or 0)
    except ValueError:
        raise InvalidMoney(f"{currency!r} is not a currency.") from None


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """`minor` units of `currency`; 349.70 INR is `Money(34970, "INR")`."""

    minor: int
    currency: str

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def times(self, quantity: int) -> Money:
        """The price of `quantity` pieces."""
        return Money(self.minor * quantity, self.currency)

    def split(self, parts: int) -> list[Money]:
        """Cut into `parts` that sum to the whole; the first ones carry the remainder, one minor unit each."""
        base, rest = divmod(self.minor, parts)
        return [Money(base + (1 if i < rest else 0), self.currency) for i in range(parts)]

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise CurrenciesDiffer


def total(amounts: Sequence[Money], currency: str) -> Money:
    """The exact sum; zero of `currency` for no amounts."""
    result = Money(0, currency)
    for amount in amounts:
        result += amount
    return result


def from_major(value: Decimal | int, currency: str) -> Money:
    """Read major units (`349.7`) exactly.

    Raises `InvalidMoney` when the value is negative, not finite, too large or has more decimals
    than the currency (trailing zeros do not count).
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise InvalidMoney("must be a number")
    number = Decimal(value)
    if not number.is_finite() or (number and number.adjusted() > len(str(MAX_MINOR))):
        raise InvalidMoney("is too large")
    if number < 0:
        raise InvalidMoney("must not be negative")
    minor = _shifted(number, exponent(currency))
    if minor is None:
        raise InvalidMoney(f"has more decimals than {currency}")
    if minor > MAX_MINOR:
        raise InvalidMoney("is too large")
    return Money(minor, currency)


def _shifted(number: Decimal, places: int) -> int | None:
    """`number` times 10 to the power of `places`, or None when that is not whole. Digit by digit: no context rounds it."""
    if not number:
        return 0
    if number.adjusted() < -places:
        return None
    _, digits, power = number.as_tuple()
    assert isinstance(power, int)
    coefficient, shift = int(Decimal((0, digits, 0))), power + places
    if shift >= 0:
        return coefficient * int(10**shift)
    whole, rest = divmod(coefficient, int(10**-shift))
    return None if rest else whole


def major_text(minor: int, currency: str) -> str:
    """The shortest exact major units: `349.7`, `99999`, `0.01`; never an exponent."""
    places = exponent(currency)
    if places == 0:
        return str(minor)
    sign = "-" if minor < 0 else ""
    whole, rest = divmod(abs(minor), 10**places)
    decimals = f"{rest:0{places}d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def fixed_text(minor: int, currency: str) -> str:
    """Major units with exactly the currency's decimals: `349.70`, `500` (JPY), `1.250` (KWD)."""
    places = exponent(currency)
    if places == 0:
        return str(minor)
    sign = "-" if minor < 0 else ""
    whole, rest = divmod(abs(minor), 10**places)
    return f"{sign}{whole}.{rest:0{places}d}"
