"""A card lives for one request, and its number shows in no text; what a neighbour says is masked before it is kept."""

from __future__ import annotations

import pytest

from kassa.kit.neighbour import said
from kassa.payments.model import Card, CardTrace

CARD = Card("credit_card", "4111111111111111", "12/25", "123")


@pytest.mark.parametrize("text", [repr(CARD), str(CARD), f"{CARD}", f"{[CARD]}", f"{ {'card': CARD} }"])
def test_no_text_of_a_card_shows_its_number_its_date_or_its_code(text: str) -> None:
    assert "4111" not in text
    assert "12/25" not in text
    assert "123" not in text


@pytest.mark.parametrize(
    ("first", "brand"), [("3", "amex"), ("4", "visa"), ("5", "mastercard"), ("6", "discover"), ("9", None), ("", None)]
)
def test_the_brand_is_what_the_first_digit_tells(first: str, brand: str | None) -> None:
    assert Card("credit_card", first and first + "0" * 15, "12/25", "123").brand == brand


def test_a_trace_has_no_place_for_the_whole_number() -> None:
    assert set(CardTrace.__dataclass_fields__) == {"brand", "first6", "last4", "fingerprint"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (None, None),
        ("", None),
        ("declined", "declined"),
        ("card 4111111111111111 declined", "card **** declined"),
        ("card 4111 1111 1111 1111 declined", "card **** declined"),
        ("card 4111-1111-1111-1111", "card ****"),
        ("reference 12345678901", "reference 12345678901"),
        ("reference 123456789012", "reference ****"),
        ("x" * 400, "x" * 300),
    ],
)
def test_what_a_neighbour_says_is_cut_and_its_long_numbers_are_masked(text: str | None, kept: str | None) -> None:
    assert said(text) == kept


def test_a_number_at_the_cut_is_masked_before_it_is_cut() -> None:
    assert "4111" not in (said("x" * 295 + " 4111111111111111") or "")
