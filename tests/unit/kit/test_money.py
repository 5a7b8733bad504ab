"""Money is whole minor units and a currency; what contracts show in major units is translated exactly, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.money import (
    MAX_MINOR,
    CurrenciesDiffer,
    InvalidMoney,
    Money,
    exponent,
    fixed_text,
    from_major,
    major_text,
    total,
)

EXPONENTS = {"JPY": 0, "INR": 2, "UZS": 2, "USD": 2, "KWD": 3}
currencies = st.sampled_from(sorted(EXPONENTS))
amounts = st.integers(0, MAX_MINOR)


@pytest.mark.parametrize(("currency", "places"), EXPONENTS.items())
def test_a_currency_has_the_decimals_of_its_standard(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize("code", ["", "XXY", "inr", "INRR", "12"])
def test_a_code_that_is_no_currency_is_refused(code: str) -> None:
    with pytest.raises(InvalidMoney):
        exponent(code)


@given(amounts, currencies)
def test_what_is_shown_reads_back_exactly(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert from_major(Decimal(major_text(minor, currency)), currency) == money
    assert from_major(Decimal(fixed_text(minor, currency)), currency) == money


@given(st.integers(-MAX_MINOR, MAX_MINOR), currencies)
def test_no_exponent_and_no_superfluous_zero_is_ever_shown(minor: int, currency: str) -> None:
    text = major_text(minor, currency)
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))
    assert Decimal(text) == Decimal(minor).scaleb(-EXPONENTS[currency])


@given(amounts, currencies)
def test_a_fixed_text_has_exactly_the_decimals_of_the_currency(minor: int, currency: str) -> None:
    _, _, decimals = fixed_text(minor, currency).partition(".")
    assert len(decimals) == EXPONENTS[currency]


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("349.7", "INR", 34970),
        ("99.90", "INR", 9990),
        ("99.900000", "INR", 9990),
        ("1e3", "INR", 100_000),
        ("1E-2", "INR", 1),
        ("0", "JPY", 0),
        ("0e999999", "INR", 0),
        ("-0", "INR", 0),
        ("500", "JPY", 500),
        ("1.250", "KWD", 1250),
        ("9999999.99", "INR", 999_999_999),
    ],
)
def test_major_units_are_read_digit_by_digit(text: str, currency: str, minor: int) -> None:
    assert from_major(Decimal(text), currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("99.905", "INR"),
        ("0.5", "JPY"),
        ("0.0001", "KWD"),
        ("1e-3", "INR"),
        ("1e-999999", "INR"),
        ("1.00000000000000000000000000000000001", "INR"),
        ("0." + "0" * 60 + "1", "KWD"),
    ],
)
def test_more_decimals_than_the_currency_has_are_an_error_and_never_rounded(text: str, currency: str) -> None:
    with pytest.raises(InvalidMoney, match="decimals"):
        from_major(Decimal(text), currency)


@pytest.mark.parametrize(
    "text", ["-1", "-0.01", "NaN", "Infinity", "-Infinity", "1e400", "1e999999", "1" + "0" * 30, str(MAX_MINOR)]
)
def test_what_is_negative_endless_or_absurdly_large_is_no_amount(text: str) -> None:
    with pytest.raises(InvalidMoney):
        from_major(Decimal(text), "INR")


@pytest.mark.parametrize("value", [True, False, 1.5, "12.5", None, [1]])
def test_only_a_decimal_or_a_whole_number_is_read(value: object) -> None:
    with pytest.raises(InvalidMoney):
        from_major(value, "INR")  # type: ignore[arg-type]


def test_the_largest_amount_is_still_read() -> None:
    assert from_major(MAX_MINOR, "JPY").minor == MAX_MINOR
    with pytest.raises(InvalidMoney):
        from_major(MAX_MINOR + 1, "JPY")


@given(st.integers(-MAX_MINOR, MAX_MINOR), st.integers(1, 999))
def test_a_split_sums_to_the_whole_and_its_parts_differ_by_one_unit_at_most(minor: int, parts: int) -> None:
    split = Money(minor, "INR").split(parts)
    assert len(split) == parts
    assert total(split, "INR") == Money(minor, "INR")
    assert max(split).minor - min(split).minor <= 1
    assert split == sorted(split, reverse=True)


@given(st.lists(amounts, max_size=20))
def test_a_sum_is_exact_whatever_the_order(minors: list[int]) -> None:
    amounts = [Money(minor, "INR") for minor in minors]
    assert total(amounts, "INR") == total(amounts[::-1], "INR") == Money(sum(minors), "INR")


@given(amounts, amounts)
def test_what_was_added_can_be_taken_away(one: int, other: int) -> None:
    assert Money(one, "INR") + Money(other, "INR") - Money(other, "INR") == Money(one, "INR")


@given(amounts, st.integers(0, 999))
def test_the_price_of_many_is_the_price_of_one_so_many_times(minor: int, quantity: int) -> None:
    assert Money(minor, "INR").times(quantity) == total([Money(minor, "INR")] * quantity, "INR")


@pytest.mark.parametrize("act", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: total([a, b], "INR")])
def test_two_currencies_are_never_added(act: object) -> None:
    with pytest.raises(CurrenciesDiffer):
        act(Money(1, "INR"), Money(1, "UZS"))  # type: ignore[operator]


def test_no_amounts_sum_to_zero_of_the_currency_that_was_asked_for() -> None:
    assert total([], "KWD") == Money(0, "KWD")
