"""An entry that does not balance cannot be built."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.ledger import Entry, Posting
from kassa.ledger.model import EmptyPosting, capture, refund

accounts = st.sampled_from(["provider:card", "provider:payme", "merchant:1", "merchant:2"])


@given(accounts, accounts, st.integers(-5, 10**12))
def test_a_posting_moves_a_positive_amount_between_two_accounts_or_is_none(debit: str, credit: str, minor: int) -> None:
    if debit == credit or minor <= 0:
        with pytest.raises(EmptyPosting):
            Posting(debit, credit, Money(minor, "INR"))
    else:
        posting = Posting(debit, credit, Money(minor, "INR"))
        assert posting.amount.minor - posting.amount.minor == 0


def test_an_entry_without_postings_cannot_be_built() -> None:
    with pytest.raises(EmptyPosting):
        Entry("1", "capture", new_id(), "capture", ())


def test_a_capture_is_what_the_provider_holds_for_the_merchant() -> None:
    (posting,) = capture("7", new_id(), "card", Money(500, "INR")).postings
    assert (posting.debit, posting.credit, posting.amount) == ("provider:card", "merchant:7", Money(500, "INR"))


def test_a_refund_goes_the_other_way_and_is_named_for_itself() -> None:
    refund_id = new_id()
    entry = refund("7", new_id(), refund_id, "card", Money(200, "INR"))
    (posting,) = entry.postings
    assert (posting.debit, posting.credit) == ("merchant:7", "provider:card")
    assert entry.reference == str(refund_id)


def test_an_empty_capture_cannot_be_booked() -> None:
    with pytest.raises(EmptyPosting):
        capture("7", new_id(), "card", Money(0, "INR"))
