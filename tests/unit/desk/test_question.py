"""What the words in the search box may mean."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from kassa.desk.question import WholeCard, read_question

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    "typed",
    ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111 yesterday", "card 5500000000000004!", "378282246310005"],
)
def test_a_whole_card_number_is_not_even_looked_for(typed: str) -> None:
    with pytest.raises(WholeCard) as refused:
        read_question(typed, TODAY)
    assert typed[:6] not in refused.value.message


@pytest.mark.parametrize("typed", ["4111111111111112", "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "1234567890123456789012"])
def test_digits_that_are_no_card_are_looked_for(typed: str) -> None:
    assert read_question(typed, TODAY).text == typed


def test_an_id_is_found_inside_a_key_and_in_capital_letters() -> None:
    sought = read_question("019B76DA-A801-7D90-A2B6-4C7F1E3D5B62:payment", TODAY)
    assert str(sought.id) == "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
    assert not sought.is_plain


def test_an_order_number_in_small_letters_with_words_around_it() -> None:
    assert read_question("order ord-20261121-j9dcf025 please", TODAY).order_number == "ORD-20261121-J9DCF025"


def test_an_address_is_small_letters() -> None:
    sought = read_question("  Guest@Example.COM ", TODAY)
    assert (sought.email, sought.is_plain) == ("guest@example.com", False)


@pytest.mark.parametrize(
    ("typed", "last4", "day"),
    [
        ("4242 today", "4242", TODAY),
        ("4242 yesterday", "4242", date(2026, 11, 20)),
        ("•••• 4242 2026-03-01", "4242", date(2026, 3, 1)),
        ("1.3.2026 **** 4242", "4242", date(2026, 3, 1)),
        ("4242", "4242", None),
        ("4242 31.02.2026", None, None),
        ("42424", None, None),
    ],
)
def test_last_four_digits_and_their_day(typed: str, last4: str | None, day: date | None) -> None:
    sought = read_question(typed, TODAY)
    assert (sought.last4, sought.day) == (last4, day)


@pytest.mark.parametrize(
    ("typed", "amount", "currency", "minor"),
    [
        ("349.70", "349.70", None, 34970),
        ("349.7 inr", "349.7", "INR", 34970),
        ("INR 1,299", "1299", "INR", 129900),
        ("₹1 299.00 21.11.2026", "1299.00", None, 129900),
        ("349.705", "349.705", None, None),
        ("349.70 XXL", None, None, None),
        ("USD 349.70 INR", None, None, None),
        ("10.00 USD", "10.00", "USD", None),
        ("three hundred", None, None, None),
    ],
)
def test_amounts(typed: str, amount: str | None, currency: str | None, minor: int | None) -> None:
    sought = read_question(typed, TODAY)
    assert (sought.amount, sought.currency) == (None if amount is None else Decimal(amount), currency)
    assert sought.minor("INR") == minor


def test_a_day_alone_is_not_a_day_of_something() -> None:
    assert read_question("2026-11-21", TODAY).day is None
    assert read_question("today", TODAY).text == "today"


def test_what_is_typed_is_cut_and_its_blanks_are_one() -> None:
    assert read_question("a   b\t c" + "x" * 1000, TODAY).text.startswith("a b cxxx")
    assert len(read_question("x" * 1000, TODAY).text) == 300
