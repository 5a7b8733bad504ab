"""Payments that somebody else's system asks for: by its own reference (`outside`), or by its own key (`grpc`)."""

from __future__ import annotations

from datetime import datetime

from kassa.events import Event, record
from kassa.kit.database import Database, Tx
from kassa.kit.ids import new_id
from kassa.payments.model import Asked, Payment, opened_data
from kassa.payments.open import Opening
from kassa.payments.requests import store
from kassa.payments.routing import Choice


async def open_requested(tx: Tx, opening: Opening, asked: Asked) -> Payment | None:
    """Open a payment and announce it; None when its reference is held, or its key used, by another one.

    Waits for whoever is opening that other one at this moment.
    """
    payment = await store.insert_requested(tx, opening, asked)
    if payment is not None:
        record(tx, Event(payment.merchant_id, f"payment:{payment.payment_id}", "payment.created", payment.event_data()))
    return payment


async def open_keyed(db: Database, name: str, opening: Opening, asked: Asked, patience_s: float) -> datetime | None:
    """The same in one statement, a transaction called `name`; when the payment was made, None when its key is used already.

    Raises `Blocked` when the first request under the key is still running after `patience_s` seconds, and `CommitUnknown`.
    """
    return await store.insert_and_tell(db, name, opening, asked, new_id(), opened_data(opening, asked), patience_s)


async def reroute(tx: Tx, payment: Payment, choice: Choice, outcome: str) -> Payment | None:
    """Send a payment to another provider, after the one before had certainly done nothing (`outcome` says what it said).

    None when the payment has moved on meanwhile.
    """
    return await store.write_route(tx, payment, choice, outcome)


async def take_token_back(tx: Tx, payment: Payment) -> str | None:
    """The plan whose token this payment had spent, once; None for one that spent none. The payment's row is locked."""
    return await store.forget_token(tx, payment.merchant_id, payment.payment_id)
