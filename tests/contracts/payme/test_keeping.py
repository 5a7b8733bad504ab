"""What the database itself forbids, and what the log says of a call (section 8)."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from .booking import Booking
from .paycom import Cashbox, a_tx, until

COPY = """
    INSERT INTO payme_transactions SELECT (jsonb_populate_record(t, to_jsonb(t) || $2::jsonb)).* FROM payme_transactions t WHERE payme_id = $1"""


def copied(booking: Booking, tx: str, **changes: Any) -> None:
    """Write a second row like this one, past all of Kassa's care."""
    row = {"transaction_id": "019b76da-a9c3-7f05-8b1e-" + a_tx()[:12], **changes}
    booking.server.sql(COPY, tx, row)


def test_a_transaction_id_is_unique_within_a_merchant(booking: Booking, payme: Cashbox) -> None:
    tx = payme.cancelled(payme.created(booking.buy()))
    with pytest.raises(asyncpg.UniqueViolationError):
        copied(booking, tx)


@pytest.mark.parametrize("paid", [False, True], ids=["in state 1", "in state 2"])
def test_an_order_has_one_live_transaction(booking: Booking, payme: Cashbox, paid: bool) -> None:
    purchase = booking.buy()
    tx = payme.paid(purchase) if paid else payme.created(purchase)
    with pytest.raises(asyncpg.UniqueViolationError):
        copied(booking, tx, payme_id=a_tx())


def test_a_call_is_logged_with_what_an_operator_looks_for(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.created(purchase)
    payme.perform(a_tx())
    until(
        lambda: [line for line in payme.server.log_text().splitlines() if "CreateTransaction" in line and tx in line],
        5,
        "it is logged",
    )
    lines = [line for line in payme.server.log_text().splitlines() if "CreateTransaction" in line and tx in line]
    assert purchase.purchase_id in lines[0]
    assert "-31003" in payme.server.log_text()
