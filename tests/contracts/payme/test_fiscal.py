"""SetFiscalData: the receipts of the tax authority, kept as they came (section 9.3)."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from .booking import Booking, tables_with
from .paycom import Cashbox, a_tx, fiscal, refused, result
from .texts import MALFORMED, NO_RECEIPT


def a_mark() -> str:
    """A text that stands nowhere else."""
    return f"mark-{secrets.token_hex(10)}"


def keep(payme: Cashbox, tx: str, kind: str = "PERFORM", **changes: Any) -> None:
    for _ in range(2):
        assert result(payme.ask(*fiscal(tx, kind, **changes))) == {"success": True}


def kept(booking: Booking, mark: str) -> int:
    """In how many rows a mark stands."""
    return sum(tables_with(booking.server, mark).values())


def test_both_receipts_are_kept_and_neither_replaces_the_other(booking: Booking, payme: Cashbox) -> None:
    tx, sale, back = payme.paid(booking.buy()), a_mark(), a_mark()
    keep(payme, tx, "PERFORM", fiscal_sign=sale)
    assert kept(booking, sale) == 1
    payme.cancelled(tx, 5, -2)
    keep(payme, tx, "CANCEL", fiscal_sign=back)
    assert (kept(booking, sale), kept(booking, back)) == (1, 1)


def test_a_repeat_replaces_its_own_entry_only(booking: Booking, payme: Cashbox) -> None:
    tx = payme.refunded(booking.buy())
    old, new, back = a_mark(), a_mark(), a_mark()
    keep(payme, tx, "PERFORM", fiscal_sign=old)
    keep(payme, tx, "CANCEL", fiscal_sign=back)
    keep(payme, tx, "PERFORM", fiscal_sign=new)
    assert (kept(booking, old), kept(booking, new), kept(booking, back)) == (0, 1, 1)


@pytest.mark.parametrize(
    "data",
    [
        {"receipt_id": 48120},
        {"receipt_id": "48120"},
        {"status_code": 7, "message": "not accepted"},
        {"message": None},
        {"more": {"a": [1, {}]}},
        {"rate": 2.5, "more": [0.1]},
        {"qr_code_url": "https://ofd.example/?т=1&r=\u2028"},
        {"date": "tomorrow"},
        {"NUL": "a\0b"},
        {"half a letter": "\ud800"},
    ],
    ids=str,
)
def test_whatever_stands_in_it_is_kept(booking: Booking, payme: Cashbox, data: dict[str, Any]) -> None:
    tx, mark = payme.paid(booking.buy()), a_mark()
    keep(payme, tx, fiscal_sign=mark, **data)
    assert kept(booking, mark) == 1


def test_it_never_changes_the_payment(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.paid(purchase)
    seen, books = payme.seen(tx), booking.books(purchase)
    keep(payme, tx, "PERFORM")
    keep(payme, tx, "CANCEL", status_code=-1)
    assert payme.seen(tx) == seen
    after = booking.books(purchase)
    assert (after.truth, after.captured, after.refunded, after.events) == (
        books.truth,
        books.captured,
        books.refunded,
        books.events,
    )


@pytest.mark.parametrize("kind", ["PERFORM", "CANCEL"])
def test_an_unknown_receipt_is_said_to_be_unknown(payme: Cashbox, kind: str) -> None:
    refused(payme.ask(*fiscal(a_tx(), kind)), NO_RECEIPT)


def test_params_that_are_no_object_are_malformed_here_too(payme: Cashbox) -> None:
    refused(payme.ask("SetFiscalData", []), MALFORMED, "params")
