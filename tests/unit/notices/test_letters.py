"""Letters: each message says what happened to which order, in plain text and in HTML, and nothing from outside is more than text."""

from __future__ import annotations

import html
import re

import pytest

from kassa.notices import Contact
from kassa.notices.letters import WORDS, Letter, amount_text, compose
from kassa.notices.model import TYPE_OF_EVENT

from .orders_to_write_of import ASHA, line, notice, order

EVENTS = sorted(WORDS)
SHOP = "Hill Road Store"


def letter(event: str, *lines: object, contact: Contact = ASHA, amount: str | None = None, **other: object) -> Letter:
    if event in {"payment.refunded", "refund.succeeded"}:
        amount = amount or "49.90"
    return compose(notice(event, amount=amount), order(*lines, **other), contact, SHOP)  # type: ignore[arg-type]


def read(page: str) -> str:
    """What a person reads of an HTML page, on one line."""
    visible = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(visible)).strip()


def test_every_event_that_a_buyer_hears_of_has_words() -> None:
    assert set(WORDS) == set(TYPE_OF_EVENT)


@pytest.mark.parametrize("event", EVENTS)
def test_every_letter_names_the_order_its_items_and_its_total(event: str) -> None:
    said = letter(event)
    assert "ORD-20260102-ABCD1234" in said.subject
    assert len(said.subject) <= 70
    for words in (said.text, read(said.html)):
        assert "ORD-20260102-ABCD1234" in words
        assert "Asha Rao" in words
        assert "Mouse" in words
        assert "₹199.80" in words, "two mice"
        assert "₹249.70" in words, "the total"
        assert SHOP in words
        assert "2 January 2026" in words


@pytest.mark.parametrize("event", EVENTS)
def test_a_letter_greets_nobody_whose_name_is_not_known(event: str) -> None:
    said = letter(event, contact=Contact("7", "asha@example.com"))
    assert "None" not in said.text + said.html
    assert not re.search(r" [,!:.] |,,|Hello", said.text)


@pytest.mark.parametrize("event", EVENTS)
def test_a_letter_needs_nothing_from_elsewhere(event: str) -> None:
    page = letter(event).html
    assert not re.search(r"(?i)https?:|<(?:img|script|link|iframe|form|object)\b|url\(|@import|\bon\w+\s*=|javascript:", page)


@pytest.mark.parametrize("event", EVENTS)
def test_a_letter_fits_a_phone_and_the_dark(event: str) -> None:
    page = letter(event).html
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "max-width:560px" in page
    assert not re.search(r'\bwidth="\d{3,}"', page), "nothing is wider than a screen"


def test_shipping_gives_the_number_to_follow() -> None:
    said = letter("order.shipped", tracking_number="AWB-1234", carrier="Blue Dart")
    for words in (said.text, read(said.html)):
        assert "Blue Dart" in words
        assert "AWB-1234" in words
        assert "Expected by" in words
    without = letter("order.shipped")
    assert "follow" not in without.text


def test_an_order_that_is_not_on_its_way_shows_no_number() -> None:
    assert "AWB-1234" not in letter("order.processing", tracking_number="AWB-1234", carrier="Blue Dart").text


def test_cash_is_asked_for_at_the_door() -> None:
    cash = {"payment_method": "cash_on_delivery", "payment_status": "pending", "status": "pending"}
    assert "You pay when it reaches your door" in re.sub(r"\s+", " ", letter("order.created", **cash).text)
    assert "Please have ₹249.70 ready" in re.sub(r"\s+", " ", letter("order.shipped", **cash).text)


def test_a_cancelled_order_says_what_becomes_of_the_money() -> None:
    cancelled = {"status": "cancelled"}
    assert "goes back to you in full" in letter("order.cancelled", **cancelled).text
    unpaid = letter("order.cancelled", payment_status="failed", **cancelled)
    assert "nothing for you to pay" in unpaid.text
    assert "goes back" not in unpaid.text
    assert "Expected by" not in unpaid.text
    assert "Hill Road," not in unpaid.text.replace(SHOP, ""), "no address where nothing is sent"


def test_a_refund_says_how_much() -> None:
    whole, part = letter("payment.refunded", amount="249.70"), letter("refund.succeeded", amount="49.90")
    assert "the whole sum of your payment, ₹249.70" in re.sub(r"\s+", " ", whole.text)
    assert "given back ₹49.90 of your payment" in re.sub(r"\s+", " ", part.text)
    assert "whole" not in part.text


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (34970, "INR", "₹349.70"),
        (999999900, "INR", "₹99,99,999.00"),
        (500, "JPY", "¥500"),
        (1234567, "JPY", "¥1,234,567"),
        (1250, "KWD", "KWD\xa01.250"),
        (123456700, "UZS", "UZS\xa01,234,567.00"),
        (12345, "IQD", "IQD\xa012.345"),
        (10**17 + 1, "USD", "$1,000,000,000,000,000.01"),
        (0, "EUR", "€0.00"),
    ],
)
def test_amounts_are_exact_and_have_the_decimals_of_their_currency(minor: int, currency: str, shown: str) -> None:
    assert amount_text(minor, currency) == shown


def test_a_currency_without_decimals_has_none_anywhere() -> None:
    said = letter("payment.refunded", line("Book", 1500, 3), currency="JPY", amount="4500")
    assert "¥4,500" in said.text
    assert "¥1,500" in read(said.html)
    assert ".00" not in said.text + read(said.html)


def test_a_hundred_lines_are_all_there_and_mail_programs_still_show_them() -> None:
    said = letter("order.created", *(line(f"Thing number {n}", 100 + n) for n in range(100)))
    assert all(f"Thing number {n}" in said.text for n in range(100))
    assert read(said.html).count("Thing number") == 100
    assert len(said.html.encode()) < 100_000, "from 102 kB on a large mail provider cuts letters off"


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></tr></table><h1>You won</h1>",
    "{{ 7 * 7 }}{% for x in y %}",
    "Mouse\r\nBcc: everybody@example.com",
    "Mo\x00use \N{RIGHT-TO-LEFT OVERRIDE}esuoM",
    "Mouse &amp; <b>Lamp</b>",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("event", ["order.created", "order.shipped"])
def test_names_of_products_are_only_text(name: str, event: str) -> None:
    said = letter(event, line(name, 100), carrier=name, tracking_number=name, shipping_address={"street": name, "city": name})
    assert not re.search(r"<(?:script|img|h1>You|b>)", said.html)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in said.html + said.text
    assert "\x00" not in said.html + said.text
    assert not any(row.startswith("Bcc") for row in said.text.splitlines())
    assert "49" not in read(said.html).replace("249", "").replace("2026", "")


def test_no_card_number_leaves_in_a_letter() -> None:
    card = "4111 1111 1111 1111"
    said = letter(
        "order.shipped", line(f"Case {card}", 100), carrier=card,
        shipping_address={"street": card, "city": "Pune", "note": "4111111111111111"},
    )  # fmt: skip
    assert not re.search(r"4111[ -]?1111", said.text + said.html + said.subject)


def test_a_long_tracking_number_is_shown_whole() -> None:
    said = letter("order.shipped", tracking_number="9400 1000 0000 0000 0000 00", carrier="USPS")
    assert "USPS: 9400 1000 0000 0000 0000 00" in said.text
    assert "9400 1000 0000 0000 0000 00" in said.html


def test_what_is_hostile_is_shown_as_it_was_written() -> None:
    said = letter("order.created", line(HOSTILE[0], 100))
    assert HOSTILE[0] in said.text
    assert html.escape(HOSTILE[0]) in said.html


def test_members_of_an_address_that_a_shop_made_up_are_left_out() -> None:
    said = letter("order.created", shipping_address={"city": "Pune", "gift_note": "from your secret admirer", "zip_code": 411001})
    assert "admirer" not in said.text + said.html
    assert "Pune 411001" in said.text
    assert "Delivery to" not in letter("order.created", shipping_address=None).text


def test_a_letter_does_not_show_its_reader_in_a_log() -> None:
    assert "asha" not in repr(letter("order.created")).lower()
    assert "asha" not in repr(ASHA).lower()
