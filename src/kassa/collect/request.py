"""A merchant asks for a payment of its own order (payments contract, section 3).

The payment, its token and the claim of the caller's key are one transaction. Then the provider is asked for a link with no
transaction open, and its answer, or its silence, is the second one. If this process dies between, a worker asks again with the same
payment id (`sweep.py`), and a repeat under the key finds the answer.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta

from kassa import merchants, payments
from kassa.collect.link import get_link
from kassa.collect.model import PaymentExists, ProviderMissing, RenderPayment, Replayed
from kassa.collect.rules import CollectRules
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import CommitUnknown, Tx
from kassa.kit.ids import unguessable
from kassa.kit.money import Money
from kassa.payments import Opening, payme, requests
from kassa.payments.model import Asked, Payment, Verdict
from kassa.payments.payme.model import CURRENCY, PROVIDER, PaymeRules

_POLL_S = 0.05
_GRACE_S = 3.0
"""Seconds that a worker leaves a fresh payment to the request that made it, beyond a lease."""


@dataclass(frozen=True, slots=True)
class PaymentWish:
    """What a merchant asks for.

    `quantity` is text without trailing zeros; `plan_id` None means any active plan with tokens left.
    """

    merchant_id: str
    order_id: str
    order_is_number: bool
    quantity: str
    price: Money
    alias: str
    plan_id: str | None
    event_ref: str
    key: once.Key | None = None


@dataclass(frozen=True, slots=True)
class Requested:
    """A new payment and the link where the buyer pays."""

    payment: Payment
    url: str | None


async def request_payment(ctx: Context, wish: PaymentWish, render: RenderPayment) -> Requested | Replayed:
    """Make one payment for `wish.order_id` and get its link.

    Asked twice under one key, the second gets the first answer. Raises `ProviderMissing`, `PaymentExists`, `SubscriptionMissing`,
    `QuotaExceeded`, `ProviderUnreachable`, `ProviderLinkFailed`, `KeyReused`, `InProgress`.
    """
    end = time.monotonic() + once.WAIT_S
    while True:
        payment_id = unguessable()
        try:
            payment = await _open(ctx, wish, payment_id)
        except once.Claimed as claimed:
            first = await _first_answer(ctx, wish, claimed.found, render)
            if first is not None:
                return first
            if time.monotonic() >= end:
                raise once.InProgress from None
            await asyncio.sleep(_POLL_S)
        except CommitUnknown:
            found = await payments.find(ctx.db, wish.merchant_id, payment_id)
            if found is None:
                raise
            return Requested(*await get_link(ctx, found, wish.key, render, fresh=True))
        else:
            return Requested(*await get_link(ctx, payment, wish.key, render, fresh=True))


async def _open(ctx: Context, wish: PaymentWish, payment_id: uuid.UUID) -> Payment:
    async with ctx.db.transaction("collect.request") as tx:
        if wish.key is not None:
            found = await once.claim(tx, ctx.keys, wish.key, str(payment_id))
            if found is not None:
                raise once.Claimed(found)
        if wish.alias == PROVIDER:
            return await _insert_at_payme(ctx, tx, wish, payment_id)
        rules = await requests.routes(tx, wish.merchant_id, wish.alias)
        route = requests.choose(rules, wish.price, payment_id)
        if route is None:
            raise ProviderMissing
        return await _insert(ctx, tx, wish, payment_id, route)


async def _insert(ctx: Context, tx: Tx, wish: PaymentWish, payment_id: uuid.UUID, route: requests.Choice) -> Payment:
    opening = Opening(
        merchant_id=wish.merchant_id,
        payment_id=payment_id,
        ref_kind="outside",
        ref=wish.order_id,
        provider="link",
        method=f"link:{wish.alias}",
        amount=wish.price,
        provider_key=f"{payment_id}:payment",
        sending=True,
        expires_in=ctx.port(CollectRules).link_ttl,
    )
    asked = Asked(
        quantity=wish.quantity,
        ref_is_number=wish.order_is_number,
        event_ref=wish.event_ref,
        route=route,
        look_in=timedelta(seconds=ctx.lease_s + _GRACE_S),
    )
    return await _open_and_spend(tx, wish, opening, asked)


async def _open_and_spend(tx: Tx, wish: PaymentWish, opening: Opening, asked: Asked) -> Payment:
    """The payment and its token. Raises `PaymentExists`, `SubscriptionMissing`, `QuotaExceeded`."""
    while (payment := await requests.open_requested(tx, opening, asked)) is None:
        holder = await requests.holder(tx, wish.merchant_id, "outside", wish.order_id)
        if holder is not None:
            raise PaymentExists(holder)
    plan_id = await merchants.spend(tx, wish.merchant_id, wish.plan_id)
    await requests.note_token(tx, payment, plan_id)
    return payment


async def _insert_at_payme(ctx: Context, tx: Tx, wish: PaymentWish, payment_id: uuid.UUID) -> Payment:
    """A payment at the merchant's own cashbox: nobody is asked for its link, and its account is its own id (rulings, 9)."""
    box = await payme.cashbox_of(ctx, tx, wish.merchant_id)
    if box is None or wish.price.currency != CURRENCY or wish.price.minor <= 0:
        raise ProviderMissing
    rules = ctx.port(PaymeRules)
    opening = Opening(
        merchant_id=wish.merchant_id,
        payment_id=payment_id,
        ref_kind="outside",
        ref=wish.order_id,
        provider=PROVIDER,
        method=PROVIDER,
        amount=wish.price,
        provider_key=f"{payment_id}:payment",
        expires_in=timedelta(seconds=rules.link_ttl_s),
    )
    asked = Asked(quantity=wish.quantity, ref_is_number=wish.order_is_number, event_ref=wish.event_ref)
    payment = await _open_and_spend(tx, wish, opening, asked)
    url = payme.pay_link(rules, box, str(payment_id), wish.price.minor)
    return (await payments.settle(tx, payment, Verdict("waiting", url=url, ask_in_s=rules.link_ttl_s))).payment


async def _first_answer(ctx: Context, wish: PaymentWish, found: once.Found, render: RenderPayment) -> Replayed | None:
    """What a repeat is told; None when the first is still at work, or came to nothing and may be done anew."""
    assert wish.key is not None
    if found.state == "done":
        return Replayed(found.status or 200, found.body or b"")
    payment = await payments.find(ctx.db, wish.merchant_id, uuid.UUID(found.subject))
    if payment is None or payment.status == "opened":
        return None
    if payment.pay_url is None and payment.captured_minor and found.age_s < once.DEAD_AFTER_S:
        return None  # a report has overtaken the link, which the first request may still get
    async with ctx.db.transaction("collect.link") as tx:
        if payment.pay_url is None and not payment.captured_minor:
            await once.release(tx, wish.key, str(payment.payment_id))
            return None
        status, body = render(payment.payment_id, payment.pay_url)
        await once.answer(tx, ctx.keys, wish.key, status, body)
    return Replayed(status, body)
