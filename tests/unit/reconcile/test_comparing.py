"""One payment against the rows of a statement: every type of difference, and what is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import NOON
from tests.unit.reconcile.statements import DAY, HOUR, LOOK, judge, paid, returned, row, types

from kassa.reconcile import TYPES, Period
from kassa.reconcile.compare import compare_unknown
from kassa.reconcile.model import is_held_by


def test_the_same_charge_in_both_books_is_no_difference() -> None:
    compared = judge(paid(), row())
    assert compared.found == []
    assert compared.judged


def test_a_charge_of_another_amount_is_found() -> None:
    (found,) = judge(paid(), row(amount="90.00")).found
    assert (found.type, found.text) == ("amount_differs", "90.00 EUR there; 100.00 EUR here")
    assert (found.amount_minor, found.currency, found.line) == (10_000, "EUR", 2)


def test_a_charge_in_another_currency_is_found_as_that_and_not_as_another_amount() -> None:
    assert types(judge(paid(), row(currency="USD"))) == ["currency_differs"]


@pytest.mark.parametrize("status", ["declined", "expired", "cancelled", "parked"])
def test_what_was_charged_there_and_is_not_paid_here_is_found(status: str) -> None:
    (found,) = judge(paid(status=status, captured_minor=0), row()).found
    assert found.type == "status_differs"
    assert status in found.text


def test_what_was_declined_there_and_is_paid_here_is_found() -> None:
    assert types(judge(paid(), row("declined", None, currency=None))) == ["status_differs"]
    assert types(judge(paid(status="declined", captured_minor=0), row("declined", None))) == []


def test_what_was_captured_within_the_time_of_the_statement_and_has_no_row_is_found() -> None:
    assert types(judge(paid())) == ["missing_there"]


@pytest.mark.parametrize("period", [Period(NOON + HOUR, NOON + DAY), Period(NOON - DAY, NOON), Period(None, None)])
def test_absence_says_nothing_outside_the_time_of_the_statement(period: Period) -> None:
    assert types(judge(paid(), look=replace(LOOK, period=period))) == []


def test_what_may_belong_to_the_statement_before_is_at_the_border() -> None:
    early = paid(created_at=NOON - 2 * HOUR)
    compared = judge(early, look=replace(LOOK, period=Period(NOON - HOUR, NOON + DAY)))
    assert (types(compared), compared.border) == ([], True)


def test_what_costs_nothing_is_not_missed() -> None:
    assert types(judge(paid(amount_minor=0, captured_minor=0))) == []


def test_two_charges_of_one_payment_are_found_even_if_one_of_them_is_right() -> None:
    assert types(judge(paid(), row(times=2))) == ["duplicate_row"]
    (found,) = judge(paid(), row(amount="30.00", line=2), row(provider_ref="ch_2", line=3)).found
    assert (found.type, found.line) == ("duplicate_row", 3)
    assert "130.00 EUR in all" in found.text


def test_money_that_we_booked_at_another_provider_is_not_known_here() -> None:
    elsewhere = paid(routed_to="adyen")
    assert types(judge(elsewhere, row(), row("refund", "5.00"))) == ["missing_here", "refund_missing_here"]
    assert types(judge(elsewhere)) == []


@pytest.mark.parametrize("status", ["opened", "waiting", "unknown"])
def test_a_payment_that_still_moves_is_not_judged(status: str) -> None:
    compared = judge(paid(status=status, captured_minor=0), row(amount="1.00"))
    assert (compared.found, compared.judged, compared.moving) == ([], [], True)


def test_a_refund_that_is_under_way_since_minutes_is_not_judged() -> None:
    payment = paid(refunding_minor=1_000)
    fresh = returned(payment, status="pending", created_at=LOOK.now - timedelta(minutes=1))
    assert judge(payment, row(), refunds=[fresh]).moving
    old = returned(payment, status="pending", created_at=LOOK.now - HOUR)
    assert not judge(payment, row(), refunds=[old]).moving


@pytest.mark.parametrize("by", ["ours", "our key", "theirs", "the amount", "a name that we never heard"])
def test_a_refund_is_recognised(by: str) -> None:
    payment = paid(refunded_minor=1_000)
    refund = returned(payment, provider_ref="re_1")
    named = {
        "ours": str(refund.refund_id),
        "our key": refund.provider_key,
        "theirs": "re_1",
        "the amount": None,
        "a name that we never heard": "re_77",
    }
    compared = judge(payment, row(), row("refund", "10.00", refund_id=named[by]), refunds=[refund])
    assert compared.found == []


def test_a_refund_that_only_the_provider_has_is_found() -> None:
    assert types(judge(paid(), row(), row("refund", "10.00"))) == ["refund_missing_here"]


@pytest.mark.parametrize("status", ["pending", "parked", "failed"])
def test_a_refund_that_the_provider_made_and_that_did_not_end_here_is_found(status: str) -> None:
    payment = paid()
    refund = returned(payment, status=status, created_at=NOON)
    compared = judge(payment, row(), row("refund", "10.00", refund_id=str(refund.refund_id)), refunds=[refund])
    assert types(compared) == ["refund_missing_here"]


def test_a_refund_that_only_we_have_is_found() -> None:
    payment = paid(refunded_minor=1_000)
    assert types(judge(payment, row(), refunds=[returned(payment)])) == ["refund_missing_there"]
    later = returned(payment, created_at=NOON + 5 * DAY, updated_at=NOON + 5 * DAY)
    assert types(judge(payment, row(), refunds=[later])) == []


def test_a_refund_of_another_amount_is_found() -> None:
    payment = paid(refunded_minor=1_000)
    refund = returned(payment)
    named = row("refund", "9.00", refund_id=str(refund.refund_id))
    assert types(judge(payment, row(), named, refunds=[refund])) == ["refund_amount_differs"]
    assert types(judge(payment, row(), row("refund", "9.00"), refunds=[refund])) == ["refund_amount_differs"]


def test_a_row_that_names_a_refund_of_ours_is_never_taken_for_another_one() -> None:
    payment = paid(refunded_minor=1_000)
    stranger = row("refund", "10.00", refund_id="019b76da-a801-7d90-a2b6-4c7f1e3d5b62")
    assert sorted(types(judge(payment, row(), stranger, refunds=[returned(payment)]))) == [
        "refund_missing_here",
        "refund_missing_there",
    ]


def test_a_refund_that_stands_there_twice_is_found() -> None:
    payment = paid(refunded_minor=1_000)
    refund = returned(payment)
    named = row("refund", "10.00", refund_id=str(refund.refund_id), times=2)
    assert types(judge(payment, row(), named, refunds=[refund])) == ["duplicate_row"]
    assert types(judge(payment, row(), row("refund", "10.00", times=2), refunds=[refund])) == ["duplicate_row"]


def test_two_equal_refunds_are_two_equal_rows() -> None:
    payment = paid(refunded_minor=2_000)
    twins = [returned(payment), returned(payment)]
    assert types(judge(payment, row(), row("refund", "10.00", times=2), refunds=twins)) == []


def test_what_a_provider_takes_back_by_itself_has_no_refund_here() -> None:
    assert types(judge(paid(status="reversed"), row(), row("refund", "100.00"))) == []


def test_a_row_without_a_currency_means_the_payments() -> None:
    assert types(judge(paid(), row(currency=None))) == []
    assert types(judge(paid(), row(amount="100.001", currency=None))) == ["amount_differs"]


def test_a_statement_of_links_covers_every_alias_and_one_of_an_alias_only_what_was_routed_to_it() -> None:
    payment = paid(method="link:cards", routed_to="adyen")
    assert is_held_by(payment, {"adyen"})
    assert is_held_by(payment, {"link"})
    assert not is_held_by(payment, {"cards"})
    assert is_held_by(paid(method="link:cards", routed_to=None), {"cards"})


def test_rows_of_nobody_are_told_by_the_words_that_the_provider_uses() -> None:
    stranger = row(payment_id=None, provider_ref="ch_9")
    (found,) = compare_unknown(LOOK, "1", stranger.name, [stranger])
    assert (found.kind, found.subject, found.amount_minor) == ("reconcile_missing_here", "reference:ch_9", 10_000)
    ours = row("refund", "5.00", times=2)
    found = compare_unknown(LOOK, "1", ours.name, [ours])
    assert [each.type for each in found] == ["refund_missing_here", "duplicate_row"]
    assert found[0].subject == f"payment:{ours.payment_id}"


def test_an_earlier_case_about_the_providers_words_is_over_when_the_payment_is_known() -> None:
    payment = paid()
    compared = judge(payment, row(provider_ref="ch_1"))
    assert {"reference:ch_1", f"payment:{payment.payment_id}"} <= {each.subject for each in compared.judged}


_minor = st.integers(1, 10**9)


@given(there=_minor, here=_minor)
def test_amounts_differ_exactly_when_they_do(there: int, here: int) -> None:
    amount = f"{there // 100}.{there % 100:02d}"
    found = types(judge(paid(amount_minor=here, captured_minor=here), row(amount=amount)))
    assert found == ([] if there == here else ["amount_differs"])


@given(ours=st.lists(st.integers(1, 4), max_size=6), theirs=st.lists(st.integers(1, 4), max_size=6))
def test_refunds_without_names_balance_exactly_when_their_sums_do(ours: list[int], theirs: list[int]) -> None:
    payment = paid()
    refunds = [returned(payment, minor * 100) for minor in ours]
    rows = [
        row("refund", f"{major}.00", line=place, occurred_at=NOON + timedelta(seconds=place))
        for place, major in enumerate(theirs, 3)
    ]
    found = judge(payment, row(), *rows, refunds=refunds).found
    assert (found == []) == (sorted(ours) == sorted(theirs))
    assert len(found) >= abs(len(ours) - len(theirs))


@given(st.sampled_from(sorted(TYPES)))
def test_every_type_has_a_meaning_that_a_person_can_read(type_: str) -> None:
    assert len(TYPES[type_]) > 20
