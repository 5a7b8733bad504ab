"""How money, times and counts are written on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_currency, format_decimal

from kassa.kit.money import Money, exponent
from kassa.pages.language import Speech


def money(amount: Money, speech: Speech) -> str:
    """`₹349.70`: all decimals of the currency, in the words of the language."""
    shown = Decimal(amount.minor).scaleb(-exponent(amount.currency))
    return format_currency(
        shown, amount.currency, locale=speech.locale, currency_digits=False, format=_pattern(amount.currency, speech)
    )


def minor(amount_minor: int, currency: str, speech: Speech) -> str:
    """The same for an amount in minor units and its currency."""
    return money(Money(amount_minor, currency), speech)


def moment(at: datetime, speech: Speech) -> str:
    """`21 Nov 2026, 14:05` in UTC, for a page without a script; one with a script shows the reader's own time."""
    return format_datetime(at.astimezone(UTC), "medium", locale=speech.locale, tzinfo=UTC)


def day(at: datetime, speech: Speech) -> str:
    """`November 21, 2026`."""
    return format_date(at.astimezone(UTC), "long", locale=speech.locale)


def machine(at: datetime) -> str:
    """The same moment for `<time datetime=…>`."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def age(seconds: float, speech: Speech) -> str:
    """`3 hours`."""
    return format_timedelta(timedelta(seconds=max(0.0, seconds)), locale=speech.locale, threshold=1.2)


def number(value: int, speech: Speech) -> str:
    """`12,345`."""
    return format_decimal(value, locale=speech.locale)


def _pattern(currency: str, speech: Speech) -> str:
    """The language's own pattern with as many decimals as the currency has."""
    pattern: str = speech.locale.currency_formats["standard"].pattern
    digits = exponent(currency)
    return pattern.replace("0.00", "0" + ("." + "0" * digits if digits else ""))


FILTERS: dict[str, Any] = {
    "money": money,
    "minor": minor,
    "moment": moment,
    "day": day,
    "machine": machine,
    "age": age,
    "number": number,
}
