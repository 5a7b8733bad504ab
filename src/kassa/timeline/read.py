"""Find what belongs to an order, a payment or a checkout, and tell its story."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa import checkout, events, notices, orders, payments, webhooks
from kassa.kit.database import Reader
from kassa.orders import Happening, Order
from kassa.payments import requests
from kassa.payments.model import Filter, Payment
from kassa.timeline.model import Entry, Facts, Story, StoryMissing
from kassa.timeline.tell import tell
from kassa.webhooks.model import Delivery

_SIBLINGS = 100
"""Payments of one reference that a story tells of, the newest ones."""


@dataclass(frozen=True, slots=True)
class _Family:
    payment_ids: Sequence[uuid.UUID]
    order_id: uuid.UUID | None = None
    checkout_id: uuid.UUID | None = None

    def subjects(self) -> list[str]:
        named = [("checkout", self.checkout_id), ("order", self.order_id), *(("payment", each) for each in self.payment_ids)]
        return [f"{kind}:{id_}" for kind, id_ in named if id_ is not None]


async def read_story(reader: Reader, merchant_id: str, wanted: uuid.UUID) -> Story:
    """The story of an order, a payment or a checkout of a merchant, whichever of them `wanted` is the id of.

    A payment for a reference of the merchant's own is told together with the other payments of that reference. Raises
    `StoryMissing`.
    """
    family = await _family_of(reader, merchant_id, wanted)
    told = [each for subject in family.subjects() for each in await events.events_of(reader, merchant_id, subject)]
    facts = Facts(
        told=told,
        journal=await checkout.read_journal(reader, merchant_id, family.checkout_id) if family.checkout_id else None,
        moves=await orders.happenings(reader, merchant_id, family.order_id) if family.order_id else (),
        deliveries=await webhooks.deliveries_of(reader, merchant_id, [each.event_id for each in told]),
        notices=await notices.notices_of(reader, merchant_id, [family.order_id]) if family.order_id else (),
    )
    return Story(merchant_id, family.checkout_id, family.order_id, family.payment_ids, tell(facts))


async def read_buyers_story(reader: Reader, order: Order, moves: Sequence[Happening]) -> list[Entry]:
    """What a buyer may hear of an order: what became of it and of its payment, oldest first.

    Not how it was done, and not who else was told. `moves` is the order's timeline; an entry about the order has its number.
    """
    subjects = (f"order:{order.order_id}", f"payment:{order.payment_id}")
    told = [each for subject in subjects for each in await events.events_of(reader, order.merchant_id, subject)]
    return tell(Facts(told=told, moves=moves))


async def tellings_of(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Delivery]:
    """Whom the merchant's endpoints were told of a payment: one delivery for each of its events and each endpoint, oldest first."""
    told = await events.events_of(reader, merchant_id, f"payment:{payment_id}")
    return await webhooks.deliveries_of(reader, merchant_id, [each.event_id for each in told])


async def whose(reader: Reader, wanted: uuid.UUID) -> str | None:
    """The merchant of an order, a payment or a checkout by its id alone; for an operator."""
    payment = await payments.find_anywhere(reader, wanted)
    if payment is not None:
        return payment.merchant_id
    return await orders.merchant_of(reader, wanted) or await checkout.merchant_of(reader, wanted)


async def _family_of(reader: Reader, merchant_id: str, wanted: uuid.UUID) -> _Family:
    payment = await payments.find(reader, merchant_id, wanted)
    if payment is not None and payment.ref_kind != "order":
        return _Family(await _siblings(reader, payment))
    order = await orders.find(reader, merchant_id, wanted if payment is None else uuid.UUID(payment.ref))
    if order is not None:
        return _Family([order.payment_id], order.order_id, order.checkout_id)
    if payment is not None:
        return _Family([payment.payment_id])
    journal = await checkout.read_journal(reader, merchant_id, wanted)
    if journal is None:
        raise StoryMissing
    return _Family([journal.payment_id] if journal.payment_id else [], journal.order_id, journal.checkout_id)


async def _siblings(reader: Reader, payment: Payment) -> list[uuid.UUID]:
    """All payments of an outside reference, oldest first; over gRPC a reference is only a text and binds nothing together."""
    if payment.ref_kind != "outside":
        return [payment.payment_id]
    found = await requests.page(reader, payment.merchant_id, Filter(ref=payment.ref), 0, _SIBLINGS)
    same = [each.payment_id for each in found if each.ref_kind == "outside"]
    return sorted({*same, payment.payment_id})
