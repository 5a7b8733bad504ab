"""Which provider serves an alias: by currency, amount and share, with a reason that can be read."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.payments.routing import Choice, Rule, choose

SOMEBODY = uuid.UUID("019b76da-a801-7d90-a2b6-4c7f1e3d5b62")


def chosen(
    rules: list[Rule], minor: int = 10_000, currency: str = "USD", payment_id: uuid.UUID = SOMEBODY, tried: tuple[str, ...] = ()
) -> str | None:
    found = choose(rules, Money(minor, currency), payment_id, tried)
    return found.provider if found else None


def test_without_rules_nobody_serves() -> None:
    assert choose([], Money(1, "USD"), SOMEBODY) is None


def test_one_rule_for_all_serves_all() -> None:
    assert choose([Rule(1, "stripe")], Money(1, "KWD"), SOMEBODY) == Choice("stripe", "rule 1")


def test_the_first_rule_that_fits_is_taken() -> None:
    rules = [Rule(1, "yen", currency="JPY"), Rule(2, "first"), Rule(3, "second")]
    assert chosen(rules) == "first"
    assert chosen(rules, currency="JPY") == "yen"


@pytest.mark.parametrize(
    ("minor", "currency", "provider"),
    [
        (99, "EUR", None),
        (100, "EUR", "small"),
        (9_999, "EUR", "small"),
        (10_000, "EUR", "small"),
        (10_001, "EUR", "large"),
        (10_001, "USD", None),
    ],
)
def test_amounts_are_from_and_up_to_and_both_ends_belong_to_it(minor: int, currency: str, provider: str | None) -> None:
    rules = [Rule(1, "small", "EUR", 100, 10_000), Rule(2, "large", "EUR", 10_001)]
    assert chosen(rules, minor, currency) == provider


def test_a_choice_says_why() -> None:
    rules = [Rule(7, "stripe", "EUR", 100, 10_000, 40), Rule(8, "adyen", "EUR")]
    ids = iter(new_id, None)
    found = {choose(rules, Money(500, "EUR"), next(ids)) for _ in range(200)}
    assert found == {
        Choice("stripe", "rule 7, currency EUR, from 1.00, up to 100.00, share 40 %"),
        Choice("adyen", "rule 8, currency EUR"),
    }
    assert choose(rules, Money(500, "EUR"), SOMEBODY, ["stripe"]) == Choice(
        "adyen", "rule 8, currency EUR, after stripe had refused"
    )


def test_amounts_in_a_reason_have_the_decimals_of_their_currency() -> None:
    assert choose([Rule(1, "p", min_minor=500)], Money(500, "JPY"), SOMEBODY) == Choice("p", "rule 1, from 500")
    assert choose([Rule(1, "p", min_minor=500)], Money(500, "KWD"), SOMEBODY) == Choice("p", "rule 1, from 0.500")


@pytest.mark.parametrize("share", [1, 10, 50, 90])
def test_a_share_is_that_part_of_the_payments(share: int) -> None:
    rules = [Rule(1, "some", share=share), Rule(2, "others")]
    made = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for n in range(1, 5_001)]
    some = sum(chosen(rules, payment_id=each) == "some" for each in made)
    assert abs(some - 50 * share) < 150, "four standard deviations of a half"


def test_shares_of_two_rules_are_drawn_apart() -> None:
    """Half of the other half: what the first rule did not take is not what the second one takes as a whole."""
    rules = [Rule(1, "a", share=50), Rule(2, "b", share=50), Rule(3, "c")]
    made = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for n in range(1, 4_001)]
    found = [chosen(rules, payment_id=each) for each in made]
    assert abs(found.count("a") - 2_000) < 150
    assert abs(found.count("b") - 1_000) < 150
    assert abs(found.count("c") - 1_000) < 150


@given(st.uuids(), st.integers(1, 100))
def test_the_same_payment_always_goes_the_same_way(payment_id: uuid.UUID, share: int) -> None:
    rules = [Rule(1, "a", share=share), Rule(2, "b")]
    assert len({chosen(rules, payment_id=payment_id) for _ in range(3)}) == 1


@given(st.uuids())
def test_a_whole_share_is_everybody_and_the_last_rule_takes_who_is_left(payment_id: uuid.UUID) -> None:
    assert chosen([Rule(1, "a"), Rule(2, "b")], payment_id=payment_id) == "a"
    assert chosen([Rule(1, "a", share=1)], payment_id=payment_id) == "a", "there is nobody else"


@given(st.uuids(), st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.sets(st.sampled_from("abc")))
def test_who_was_tried_is_not_tried_again(payment_id: uuid.UUID, providers: list[str], tried: set[str]) -> None:
    rules = [Rule(place, provider, share=50) for place, provider in enumerate(providers)]
    found = chosen(rules, payment_id=payment_id, tried=tuple(tried))
    assert found not in tried
    assert (found is None) == (set(providers) <= tried)


def test_after_a_refusal_shares_count_no_more() -> None:
    rules = [Rule(1, "a"), Rule(2, "b", share=1), Rule(3, "c")]
    assert {chosen(rules, payment_id=new_id(), tried=("a",)) for _ in range(50)} == {"b"}


def test_another_provider_must_fit_too() -> None:
    rules = [Rule(1, "a"), Rule(2, "b", currency="EUR"), Rule(3, "c", max_minor=9_999)]
    assert chosen(rules, tried=("a",)) is None
    assert chosen(rules, minor=9_999, tried=("a",)) == "c"
