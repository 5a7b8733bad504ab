"""Entries and postings. An entry that does not balance cannot be built: a posting moves one amount between two accounts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from kassa.kit.errors import Invalid
from kassa.kit.money import Money


class EmptyPosting(Invalid):
    """An entry has postings, and each moves a positive amount between two different accounts."""

    code = "empty_posting"


@dataclass(frozen=True, slots=True)
class Posting:
    """`amount` goes from account `credit` to account `debit` (debits are shown positive)."""

    debit: str
    credit: str
    amount: Money

    def __post_init__(self) -> None:
        if self.amount.minor <= 0 or self.debit == self.credit:
            raise EmptyPosting


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact in the books: `kind` is `capture`, `refund` or `reversal`; `reference` tells two of a kind apart."""

    merchant_id: str
    kind: str
    payment_id: uuid.UUID
    reference: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        if not self.postings:
            raise EmptyPosting


def capture(merchant_id: str, payment_id: uuid.UUID, provider: str, amount: Money) -> Entry:
    """The provider holds money of the buyer for the merchant."""
    posting = Posting(debit=f"provider:{provider}", credit=f"merchant:{merchant_id}", amount=amount)
    return Entry(merchant_id, "capture", payment_id, "capture", (posting,))


def refund(merchant_id: str, payment_id: uuid.UUID, refund_id: uuid.UUID, provider: str, amount: Money) -> Entry:
    """The provider gave money back to the buyer."""
    posting = Posting(debit=f"merchant:{merchant_id}", credit=f"provider:{provider}", amount=amount)
    return Entry(merchant_id, "refund", payment_id, str(refund_id), (posting,))
