"""Compose a letter to a buyer: what happened to an order, and the order as it stands.

The words of each message are a small text of their own in `templates/words/<language>/`: a subject, a heading, then paragraphs.
`letter.html` and `letter.txt` put the order around them, with the words of `letter.toml`. Whatever comes from outside is text there
and nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from babel.dates import format_date
from babel.numbers import format_decimal, get_currency_symbol
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kassa.kit.languages import ENGLISH
from kassa.kit.money import exponent
from kassa.kit.neighbour import said
from kassa.notices.model import Contact, Notice
from kassa.orders import Order

WORDS = {
    "order.created": "created",
    "order.paid": "paid",
    "order.processing": "processing",
    "order.shipped": "shipped",
    "order.delivered": "delivered",
    "order.cancelled": "cancelled",
    "refund.succeeded": "partly_refunded",
    "payment.refunded": "refunded",
}
"""The words for each event; they are files in `templates/words/<language>/`."""

_AT_STEP = {"order.created": 1, "order.paid": 1, "order.processing": 2, "order.shipped": 3, "order.delivered": 4}
_ADDRESS = (("street", "number"), ("complement",), ("city", "state", "postalCode", "zip_code"), ("country",))
"""Members of an address that are shown, line by line. Members of a shop's own making may hold anything, and are left out."""
_GROUPED = {"INR": "#,##,##0"}
"""How digits are grouped in English where it is not by thousands."""
_DATES = {ENGLISH: "d MMMM y"}
"""How a date is written where it is not in the long form of the language."""
_BLANKS = re.compile(r"\s+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, also those that turn the direction of writing."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to one person; `key` is the notice's, the same for every attempt, and `at` is when it was called for."""

    key: str
    at: datetime
    to_email: str = field(repr=False)
    to_name: str | None = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


def compose(notice: Notice, order: Order, contact: Contact, shop: str, link: str | None = None) -> Letter:
    """The letter that a notice is, in the language of `contact`; `link`: where the order can be followed.

    `contact` has an address; names in it have been looked at.
    """
    assert contact.email is not None
    about = {**_about(notice, order, contact, shop), "link": link}
    subject, heading, paragraphs = _words(WORDS[notice.event_type], about)
    shown = {**about, "subject": subject, "heading": heading, "paragraphs": paragraphs}
    return Letter(
        key=notice.key,
        at=notice.created_at,
        to_email=contact.email,
        to_name=contact.name,
        subject=subject,
        text=_templates().get_template("letter.txt").render(shown),
        html=_templates().get_template("letter.html").render(shown),
    )


def amount_text(minor: int, currency: str, language: str = ENGLISH) -> str:
    """An amount as people read it, with exactly the currency's decimals: `₹99,900.00`, `¥500`, `KWD 1.250`; else `99 900,00 ₹`."""
    places = exponent(currency)
    whole = _GROUPED.get(currency, "#,##0") if language == ENGLISH else "#,##0"
    number = format_decimal(Decimal(minor).scaleb(-places), whole + ("." + "0" * places if places else ""), language)
    symbol = get_currency_symbol(currency, locale=language)
    if language != ENGLISH:
        return f"{number}\N{NO-BREAK SPACE}{symbol}"
    return f"{symbol}\N{NO-BREAK SPACE}{number}" if symbol[-1:].isalpha() else f"{symbol}{number}"


def _about(notice: Notice, order: Order, contact: Contact, shop: str) -> Mapping[str, Any]:
    language = contact.language
    say = _say(language)

    def money(minor: int) -> str:
        return amount_text(minor, order.currency, language)

    return {
        "language": language,
        "say": say,
        "shop": shop,
        "name": contact.name,
        "number": order.order_number,
        "ordered_on": _date(order.created_at, language),
        "expected_on": _date(order.estimated_delivery, language) if _is_expected(notice, order) else None,
        "lines": [
            {
                "name": plain(line.product_name),
                "quantity": line.quantity,
                "price": money(line.price_minor),
                "total": money(line.total_minor),
            }
            for line in order.lines
        ],
        "total": money(order.total_minor),
        "amount": money(_minor(notice.amount, order.currency)) if notice.amount is not None else None,
        "method": say["methods"].get(order.payment_method, say["methods"]["link"]),
        "cash": order.payment_method == "cash_on_delivery",
        "paid": order.payment_status in {"paid", "refunded"},
        "tracking_number": _one_line(order.tracking_number) if _is_on_its_way(notice) else "",
        "carrier": plain(order.carrier) if _is_on_its_way(notice) else "",
        "address": _address(order.shipping_address or {}) if notice.event_type in _AT_STEP else [],
        "steps": say["steps"],
        "at_step": _AT_STEP.get(notice.event_type, 0),
    }


def _words(name: str, about: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    template = _templates().get_template(f"words/{about['language']}/{name}.txt")
    subject, heading, *paragraphs = template.render(about).strip().split("\n\n")
    return plain(subject), plain(heading), [plain(paragraph) for paragraph in paragraphs]


def _date(at: datetime, language: str) -> str:
    return format_date(at, _DATES.get(language, "long"), locale=language)


@cache
def _say(language: str) -> Mapping[str, Any]:
    """The words around an order, and names of its steps and payment methods."""
    text = (resources.files("kassa.notices") / "templates" / "words" / language / "letter.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("kassa.notices"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def plain(text: str | None) -> str:
    """Text of somebody else on one line, printable, without what could be a card number, at most 300 characters."""
    return said(_one_line(text)) or ""


def _one_line(text: str | None) -> str:
    return _UNPRINTABLE.sub("", _BLANKS.sub(" ", text or "")).strip()


def _minor(amount: str, currency: str) -> int:
    return int(Decimal(amount).scaleb(exponent(currency)))


def _is_expected(notice: Notice, order: Order) -> bool:
    return notice.event_type in {"order.created", "order.paid", "order.processing", "order.shipped"} and order.status != "cancelled"


def _is_on_its_way(notice: Notice) -> bool:
    return notice.event_type in {"order.shipped", "order.delivered"}


def _address(given: Mapping[str, Any]) -> list[str]:
    rows = (" ".join(plain(str(given[part])) for part in row if given.get(part)) for row in _ADDRESS)
    return [row for row in rows if row]
