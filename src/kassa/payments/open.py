"""Open a payment: the effort to collect one amount once, noted before anything is asked of anybody."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.payments import store
from kassa.payments.model import NO_CARD, CardTrace, Payment


@dataclass(frozen=True, slots=True)
class Opening:
    """What a payment needs to be opened.

    `provider_key` is the key of the one charge, made before the first call and never changed. `sending` notes the
    intent of an outside call that follows this commit. `expires_in` None: it waits for ever (cash). `routed_to`: who will hold
    the money, where an alias stands for a provider. `url`: where the buyer pays, if that is known without asking anybody.
    `at`: the moment of the one clock in which it is opened, where the caller knows it.
    """

    merchant_id: str
    payment_id: uuid.UUID
    ref_kind: str
    ref: str
    provider: str
    method: str
    amount: Money
    provider_key: str
    script: str | None = None
    card: CardTrace = NO_CARD
    sending: bool = False
    expires_in: timedelta | None = None
    routed_to: str | None = None
    url: str | None = None
    at: datetime | None = None


async def open_payment(tx: Tx, opening: Opening) -> Payment:
    """Write the payment in the caller's transaction, together with what else it leaves for later, and announce it.

    `payment.created`, and `payment.waiting` where the link is known. That fails on the unique key when the reference has a live or
    paid payment already.
    """
    payment = await store.insert(tx, opening, opening.at or await tx.now())
    subject = f"payment:{payment.payment_id}"
    opened = payment if payment.status == "opened" else replace(payment, status="opened")
    record(tx, Event(payment.merchant_id, subject, "payment.created", opened.event_data()))
    if payment.status == "waiting":
        record(tx, Event(payment.merchant_id, subject, "payment.waiting", payment.event_data()))
    return payment
