"""What somebody may mean by what they typed into the one box of the search. Pure."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from kassa.desk.mask import is_card
from kassa.kit.errors import Invalid
from kassa.kit.money import InvalidMoney, exponent, from_major

LONGEST = 300
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ORDER_NUMBER = re.compile(r"ORD-[0-9]{8}-[0-9A-Z]{8}")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_LAST4 = re.compile(r"[*•.xX ]*([0-9]{4})")
_AMOUNT = re.compile(r"[₹$€£]? ?(?:([A-Za-z]{3}) ?)?([0-9][0-9 ,]*(?:\.[0-9]{1,3})?)(?: ?([A-Za-z]{3}))?")
_DAYS = (
    (re.compile(r"(?<![0-9-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9-])"), (1, 2, 3)),
    (re.compile(r"(?<![0-9.])([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(?![0-9.])"), (3, 2, 1)),
)
_NAMED = {"today": 0, "yesterday": 1}


class WholeCard(Invalid):
    """That looks like a whole card number. It was not looked for and not kept; search by its last four digits and the day."""

    code = "whole_card"


@dataclass(frozen=True, slots=True)
class Sought:
    """What the words may mean, each None where they cannot mean it. `day`: the words beside were about that day.

    `text` is what was typed, without the day. `amounts` are minor units by currency, None for *whichever has it*.
    """

    text: str
    day: date | None
    id: uuid.UUID | None = None
    order_number: str | None = None
    email: str | None = None
    last4: str | None = None
    amount: Decimal | None = None
    currency: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it may be a reference: nothing says that it is something else."""
        return self.id is None and self.order_number is None and self.email is None and bool(self.text)

    def minor(self, currency: str) -> int | None:
        """The amount in minor units of a currency; None where it is none there."""
        if self.amount is None or (self.currency is not None and self.currency != currency):
            return None
        try:
            return from_major(self.amount, currency).minor
        except InvalidMoney:
            return None


def read_question(typed: str, today: date) -> Sought:
    """What `typed` may mean. Raises `WholeCard` for a card number, which nobody needs to type here."""
    text = " ".join(typed[:LONGEST].split())
    if any(is_card(each) for each in re.findall(r"[0-9](?:[ -]?[0-9]){12,18}", text)) and not _ID.search(text.lower()):
        raise WholeCard
    text, day = _without_day(text, today)
    found_id = _ID.search(text.lower())
    number = _ORDER_NUMBER.search(text.upper())
    email = _EMAIL.fullmatch(text)
    last4 = _LAST4.fullmatch(text)
    amount, currency = _amount(text)
    return Sought(
        text=text,
        day=day,
        id=uuid.UUID(found_id[0]) if found_id else None,
        order_number=number[0] if number else None,
        email=email[0].lower() if email else None,
        last4=last4[1] if last4 else None,
        amount=amount,
        currency=currency,
    )


def _without_day(text: str, today: date) -> tuple[str, date | None]:
    words = text.split(" ")
    if len(words) > 1 and words[-1].lower() in _NAMED:
        return " ".join(words[:-1]), today - timedelta(days=_NAMED[words[-1].lower()])
    for pattern, (year, month, day) in _DAYS:
        found = pattern.search(text)
        if found is None:
            continue
        try:
            meant = date(int(found[year]), int(found[month]), int(found[day]))
        except ValueError:
            continue
        rest = " ".join((text[: found.start()] + " " + text[found.end() :]).split())
        return (rest, meant) if rest else (text, None)
    return text, None


def _amount(text: str) -> tuple[Decimal | None, str | None]:
    found = _AMOUNT.fullmatch(text)
    if found is None or (found[1] and found[3]):
        return None, None
    named = (found[1] or found[3] or "").upper() or None
    if named is not None:
        try:
            exponent(named)
        except InvalidMoney:
            return None, None
    return Decimal(found[2].replace(",", "").replace(" ", "")), named
