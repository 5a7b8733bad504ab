"""What Payme does with a payment: it creates an attempt, performs it, cancels it (Merchant API, 5.2 to 5.4).

Each is one transaction with every lock taken in the one order, and calls nobody. A repetition is told what was stored the first
time. An attempt that has run out of time is ended by a transaction of its own, before the call that found it is refused.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg

from kassa import checkout, orders, payments
from kassa.checkout import payme as purchases
from kassa.checkout.payme import Together
from kassa.collect.payme.model import (
    NO_SUCH_ORDER,
    NO_SUCH_TRANSACTION,
    NOT_NOW,
    NOT_REFUNDABLE,
    PaymeRefusal,
    account_id,
    check_amount,
    check_payable,
)
from kassa.collect.payme.read import is_over, now_ms, payment_for
from kassa.kit import jsontext
from kassa.kit.context import Context
from kassa.kit.database import Reader, Tx
from kassa.kit.errors import Busy
from kassa.kit.ids import new_id
from kassa.payments import Payment, Verdict, payme, requests
from kassa.payments.payme.model import CANCELLED, CREATED, PERFORMED, TIMED_OUT, Cashbox, PaymeRules, Transaction

_LOOKS = 8


class _Expired(Exception):
    """An attempt has run out of time and must be ended first."""

    def __init__(self, attempt: Transaction) -> None:
        super().__init__()
        self.attempt = attempt


class TooBusy(Busy):
    """This payment is being moved by others; try again."""

    code = "unavailable"


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def create(
    ctx: Context, box: Cashbox, payme_id: str, time_ms: int, amount: int, account: Mapping[str, Any]
) -> dict[str, Any]:
    """CreateTransaction (5.2): the order waits for this attempt alone. Called again with the same id, the stored answer.

    Raises `PaymeRefusal`.
    """
    for _ in range(_LOOKS):
        try:
            async with ctx.db.transaction("payme.create") as tx:
                return (await _create(ctx, tx, box, payme_id, time_ms, amount, account)).created()
        except asyncpg.UniqueViolationError:
            continue  # the same id at the same moment, for another order: the winner is found now
        except _Expired as over:
            await expire(ctx, box.merchant_id, over.attempt.payme_id)
            if over.attempt.payme_id == payme_id:
                raise PaymeRefusal(NOT_NOW) from None
    raise TooBusy


async def _create(
    ctx: Context, tx: Tx, box: Cashbox, payme_id: str, time_ms: int, amount: int, account: Mapping[str, Any]
) -> Transaction:
    rules = ctx.port(PaymeRules)
    known = await _again(tx, box, payme_id, amount, account)
    if known is not None:
        return known
    payment = await payment_for(tx, box, account)
    check_amount(payment, amount)
    payment = await _lock(tx, payment)
    known = await _again(tx, box, payme_id, amount, account)  # the same id, which was first by a moment
    if known is not None:
        return known
    check_payable(payment, box.account_field)
    now = now_ms(payment)
    new = Transaction(
        box.merchant_id, new_id(), payme_id, box.cashbox_id, payment.payment_id, jsontext.write(dict(account)),
        payment.amount_minor, time_ms, min(time_ms, now) + rules.timeout_ms, now, 0, 0, CREATED, None,
    )  # fmt: skip
    if is_over(new, payment):
        raise PaymeRefusal(NOT_NOW)
    if payment.held_by is not None:
        incumbent = await payme.live(tx, payment)
        if incumbent is not None and is_over(incumbent, payment):
            raise _Expired(incumbent)
        raise PaymeRefusal(rules.busy_code, box.account_field)
    await payme.insert(tx, new)
    return new


async def _again(tx: Tx, box: Cashbox, payme_id: str, amount: int, account: Mapping[str, Any]) -> Transaction | None:
    """What was stored for an id that is known, or why it cannot be had; None for a new one."""
    known = await payme.find(tx, box.merchant_id, payme_id)
    payment = await payments.find(tx, box.merchant_id, known.payment_id) if known else None
    if known is None or payment is None:
        return None
    if known.state != CREATED:
        raise PaymeRefusal(NOT_NOW)
    if is_over(known, payment):
        raise _Expired(known)
    stands_for = payment.ref if payment.ref_kind == "order" else str(payment.payment_id)
    if str(account_id(account, box.account_field)) != stands_for:
        raise PaymeRefusal(NO_SUCH_ORDER, box.account_field)
    check_amount(payment, amount)
    return known


async def _lock(tx: Tx, payment: Payment) -> Payment:
    """The payment under its lock, its order's first."""
    if payment.ref_kind == "order":
        await orders.lock(tx, payment.merchant_id, uuid.UUID(payment.ref))
    return await requests.lock(tx, payment.merchant_id, payment.payment_id)


# ── perform ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def perform(ctx: Context, box: Cashbox, payme_id: str) -> dict[str, Any]:
    """PerformTransaction (5.3): Payme has the money, and all that follows is committed with it. Called again, the stored answer.

    Raises `PaymeRefusal`.
    """
    try:
        async with ctx.db.transaction("payme.perform") as tx:
            attempt = await _find(tx, box.merchant_id, payme_id)
            if attempt.state == PERFORMED:
                return attempt.performed()
            attempt, together = await _lock_all(tx, attempt)
            if attempt.state == CREATED:
                attempt = await _perform(ctx, tx, attempt, together)
            elif attempt.state != PERFORMED:
                raise PaymeRefusal(NOT_NOW)
    except _Expired as over:
        if not await expire(ctx, box.merchant_id, over.attempt.payme_id):
            return await _performed_meanwhile(ctx, box, payme_id)
        raise PaymeRefusal(NOT_NOW) from None
    await _go_on(ctx, together)
    return attempt.performed()


async def _performed_meanwhile(ctx: Context, box: Cashbox, payme_id: str) -> dict[str, Any]:
    """The stored answer of a call that began before the time was over and was first at the locks; all calls are told the same."""
    attempt = await _find(ctx.db, box.merchant_id, payme_id)
    if attempt.state != PERFORMED:
        raise PaymeRefusal(NOT_NOW)
    return attempt.performed()


async def _perform(ctx: Context, tx: Tx, attempt: Transaction, together: Together | Payment) -> Transaction:
    payment = together.held.payment if isinstance(together, Together) else together
    if is_over(attempt, payment):
        raise _Expired(attempt)
    if payment.held_by != attempt.transaction_id:
        raise PaymeRefusal(NOT_NOW)
    if isinstance(together, Together):
        await purchases.pay(ctx, tx, together, Verdict("paid", ref=attempt.payme_id))
    else:
        await requests.settle_reference(tx, payment, Verdict("paid", ref=attempt.payme_id))
    return await payme.perform(tx, attempt, now_ms(payment))


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def cancel(ctx: Context, box: Cashbox, payme_id: str, reason: int) -> dict[str, Any]:
    """CancelTransaction (5.4): the order is payable again, or its money went back. Called again, the stored answer.

    Raises `PaymeRefusal`.
    """
    async with ctx.db.transaction("payme.cancel") as tx:
        attempt = await _find(tx, box.merchant_id, payme_id)
        if attempt.state < 0:
            return attempt.cancelled()
        attempt, together = await _lock_all(tx, attempt)
        if attempt.state == CREATED:
            attempt = await _let_go(ctx, tx, attempt, together, reason)
        elif attempt.state == PERFORMED:
            if not await _give_back(ctx, tx, together):
                raise PaymeRefusal(NOT_REFUNDABLE)
            payment = together.held.payment if isinstance(together, Together) else together
            attempt = await payme.give_back(tx, attempt, now_ms(payment), reason)
    await _go_on(ctx, together)
    return attempt.cancelled()


async def expire(ctx: Context, merchant_id: str, payme_id: str) -> bool:
    """End an attempt whose time is over (4.1), with reason 4; whether it was ended now."""
    async with ctx.db.transaction("payme.expire") as tx:
        attempt, together = await _lock_all(tx, await _find(tx, merchant_id, payme_id))
        payment = together.held.payment if isinstance(together, Together) else together
        if attempt.state != CREATED or not is_over(attempt, payment):
            return False
        await _let_go(ctx, tx, attempt, together, TIMED_OUT)
    return True


async def _let_go(ctx: Context, tx: Tx, attempt: Transaction, together: Together | Payment, reason: int) -> Transaction:
    ended = await payme.cancel(tx, attempt, reason)
    assert ended.state == CANCELLED
    if isinstance(together, Together):
        await purchases.let_go(ctx, tx, together.held)
        return ended
    payment = await requests.lock(tx, together.merchant_id, together.payment_id)
    if payment.status in {"opened", "waiting"} and payment.expires_at is not None and payment.expires_at <= payment.read_at:
        await payments.settle(tx, payment, Verdict("closed", code="expired"))
    return ended


async def _give_back(ctx: Context, tx: Tx, together: Together | Payment) -> bool:
    if isinstance(together, Together):
        return await purchases.give_back(ctx, tx, together.held)
    await purchases.return_all(tx, together, f"{together.payment_id}:returned")
    return True


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _find(reader: Reader, merchant_id: str, payme_id: str) -> Transaction:
    """An attempt, not locked: enough for one that has ended, as nothing changes it. Raises `PaymeRefusal` -31003."""
    found = await payme.find(reader, merchant_id, payme_id)
    if found is None:
        raise PaymeRefusal(NO_SUCH_TRANSACTION)
    return found


async def _lock_all(tx: Tx, found: Transaction) -> tuple[Transaction, Together | Payment]:
    """An attempt and all that hangs on it, locked and read again: cart, checkouts, orders, payments, the attempt."""
    payment = await payments.find(tx, found.merchant_id, found.payment_id)
    assert payment is not None, "its attempt refers to it"
    together: Together | Payment
    if payment.ref_kind == "order":
        together = await purchases.lock_together(tx, payment)
    else:
        together = await requests.lock(tx, found.merchant_id, payment.payment_id)
    attempt = await payme.lock(tx, found.merchant_id, found.payme_id)
    assert attempt is not None
    return attempt, together


async def _go_on(ctx: Context, together: Together | Payment) -> None:
    """What is left to do at neighbours goes on in the background; a worker does it if that comes to nothing."""
    if isinstance(together, Together) and not together.held.checkout.is_over:
        with contextlib.suppress(Busy):
            await checkout.go_on(ctx, together.held.checkout.merchant_id, together.held.checkout.checkout_id)
