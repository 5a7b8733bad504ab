"""What Payme's calls mean for the checkouts of a cart, in the caller's transaction: paid, let go, given back.

Carts of ambassadors keep their lines until they are paid, so one cart may have several purchases that wait for their buyer. All of
them are locked together, by the one order of locks, before anything is decided.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

from kassa import carts, orders, payments
from kassa.cardwatch import Tried
from kassa.checkout import store
from kassa.checkout.cancel import CANCELLED, cancel_completed
from kassa.checkout.card_tries import admit_card
from kassa.checkout.held import Held
from kassa.checkout.journal import advance
from kassa.checkout.model import PAYMENT, PURCHASES, Checkout
from kassa.checkout.refunds import note_refund
from kassa.checkout.settle import conclude_in
from kassa.checkout.start import Purchase
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import Payment, Verdict, payme, requests
from kassa.payments.model import RefundVerdict
from kassa.payments.payme import charges
from kassa.payments.payme.charge import begin_charge, charge
from kassa.payments.payme.give_back import Subscribe
from kassa.payments.payme.model import PROVIDER, PaymeRules

SUPERSEDED = Verdict("cancelled", code="superseded", message="A newer checkout of this cart replaced it.")
_RETURNED = RefundVerdict("succeeded", message="returned by Payme")
_GONE = frozenset({"shipped", "delivered"})


@dataclass(frozen=True, slots=True)
class Together:
    """A checkout under all its locks, and the others of its cart that wait for their buyer."""

    held: Held
    others: list[Held]


async def with_link(ctx: Context, purchase: Purchase, hold: timedelta) -> Purchase:
    """A purchase to be paid at Payme within `hold`. Raises `NoCashbox`."""
    rules = ctx.port(PaymeRules)
    box = await payme.cashbox_of(ctx, ctx.db, purchase.channel.merchant_id)
    if box is None:
        raise payme.NoCashbox
    url = payme.pay_link(rules, box, str(purchase.order_id), purchase.total.minor)
    return replace(purchase, pay_url=url, hold=hold)


class TokenPayment:
    """A purchase that is tried with a card's token beside its link, where it has one and the Subscribe API is on; else nothing."""

    def __init__(self, ctx: Context, purchase: Purchase, token: str | None) -> None:
        self._ctx = ctx
        self._purchase = purchase
        self._token = token if purchase.provider == PROVIDER and ctx.ports.get(Subscribe) is not None else None
        self._tried: Tried | None = None

    async def admit(self, address: str | None) -> None:
        """Before anything is begun: count the card that the token stands for. Raises `TooManyTries`."""
        if self._token is not None:
            card = self._ctx.keys.fingerprint(self._token.encode())
            merchant_id, buyer_id = self._purchase.channel.merchant_id, self._purchase.buyer_id
            self._tried = await admit_card(self._ctx, merchant_id, card, buyer_id=buyer_id, email=None, address=address)

    def close(self) -> None:
        """The request is over: where nothing was begun the card is not counted."""
        if self._tried is not None:
            self._tried.never_was()

    async def begin(self, tx: Tx, payment: Payment) -> None:
        """Note the intent, in the transaction that opens the payment."""
        if self._token is not None:
            await begin_charge(tx, payment)

    def go_on(self, payment: Payment) -> None:
        """After the commit: pay in the background. The token goes with this call, and is forgotten here."""
        token, self._token = self._token, None
        tried, self._tried = self._tried, None
        if token is not None:
            self._ctx.background.spawn(_charge(self._ctx, payment, token, tried), name=f"charge {payment.payment_id}")


async def _charge(ctx: Context, payment: Payment, token: str, tried: Tried | None) -> None:
    await charge(ctx, payment, token)
    if tried is None:
        return
    became = await charges.find(ctx.db, payment)
    match became.state if became else None:
        case "paid":
            tried.paid()
        case "declined":
            tried.declined()
        case "lost":
            tried.never_was()


async def lock_together(tx: Tx, payment: Payment) -> Together:
    """Lock cart, checkouts, orders and payments about an order's payment. Ids are found unlocked and read again."""
    # The key of a charge begins with its checkout's id (rulings, 26), so the order need not be read for it.
    checkout = await store.find(tx, payment.merchant_id, uuid.UUID(payment.provider_key.partition(":")[0]))
    assert checkout is not None, "its payment is there"
    if checkout.cart_id is not None:
        await carts.lock_version(tx, payment.merchant_id, checkout.cart_id)
    all_held = await _hold(tx, await store.lock_together(tx, checkout))
    held = next(each for each in all_held if each.checkout.checkout_id == checkout.checkout_id)
    return Together(held, [each for each in all_held if each is not held])


async def lock_open(tx: Tx, merchant_id: str, cart_id: uuid.UUID) -> list[Held]:
    """Lock the purchases of a locked cart that wait for their buyer, with their orders and payments."""
    return await _hold(tx, await store.lock_open(tx, merchant_id, cart_id))


async def _hold(tx: Tx, checkouts: list[Checkout]) -> list[Held]:
    order_ids = sorted(each.order_id for each in checkouts if each.order_id)
    payment_ids = sorted(each.payment_id for each in checkouts if each.payment_id)
    merchant_id = checkouts[0].merchant_id if checkouts else ""
    found = {order_id: await orders.lock(tx, merchant_id, order_id) for order_id in order_ids}
    paid_by = {payment_id: await requests.lock(tx, merchant_id, payment_id) for payment_id in payment_ids}
    held = []
    for each in checkouts:
        assert each.order_id is not None
        assert each.payment_id is not None
        steps = await store.steps_of(tx, merchant_id, each.checkout_id)
        held.append(Held(each, found[each.order_id], paid_by[each.payment_id], {step.step: step for step in steps}, leads=False))
    return held


async def pay(ctx: Context, tx: Tx, together: Together, verdict: Verdict) -> None:
    """The money is there: what follows from a yes, the paid lines leave the cart, and its other purchases close."""
    held = together.held
    checkout = held.checkout
    if checkout.surface == PURCHASES and checkout.cart_id is not None and checkout.status == "paying":
        paid = [line.product_id for line in held.order.lines]
        await carts.drop_paid(tx, checkout.merchant_id, checkout.cart_id, paid, checkout.created_at)
        await supersede(ctx, tx, together.others)
    await conclude_in(ctx, tx, held, verdict)


async def supersede(ctx: Context, tx: Tx, others: list[Held]) -> None:
    """Close purchases that another one of their cart has replaced; one that Payme holds lives until Payme lets go."""
    for other in others:
        if other.payment.held_by is None:
            await conclude_in(ctx, tx, other, SUPERSEDED)


async def let_go(ctx: Context, tx: Tx, held: Held) -> None:
    """Payme's attempt came to nothing: the same link is payable again, unless its time is over or a newer one replaced it."""
    held.payment = await requests.lock(tx, held.payment.merchant_id, held.payment.payment_id)
    if held.checkout.status != "paying":
        return
    if held.is_late():
        await conclude_in(ctx, tx, held, Verdict("closed"))
    elif held.checkout.surface == PURCHASES and not await store.is_newest(tx, held.checkout):
        await conclude_in(ctx, tx, held, SUPERSEDED)


async def give_back(ctx: Context, tx: Tx, held: Held) -> bool:
    """Payme has returned the money: whatever was owed is done, and the order is cancelled, unless its goods have left.

    False, and nothing is written, when the goods have left and nobody here has asked for the money to go back.
    """
    order = held.order
    if order.status in _GONE and held.payment.status == "paid":
        return False
    held.payment = await return_all(tx, held.payment, held.key("returned"))
    if order.status not in {"cancelled", *_GONE}:
        await _cancel(ctx, tx, held)
    elif not held.checkout.is_over:
        # The saga had given the money up to a person: it is there again, and what else is left to undo goes on.
        status = "undoing" if held.checkout.status == "parked" else held.checkout.status
        await advance(tx, held, status, held.go_on(), [store.Note(PAYMENT, "undone")])
    return True


async def return_all(tx: Tx, payment: Payment, key: str) -> Payment:
    """All the money of a locked payment has gone back: refunds under way are done, the rest is one of its own under `key`."""
    if payment.refunding_minor:
        for refund in await payments.refunds_of(tx, payment.merchant_id, payment.payment_id):
            if refund.status in {"pending", "parked"}:
                await note_refund(tx, payment, refund, _RETURNED)
        payment = await requests.lock(tx, payment.merchant_id, payment.payment_id)
    if payment.refundable_minor:
        paid, refund = await payments.begin_refund(tx, payment, owed=True, reason="returned by Payme", provider_key=key)
        await note_refund(tx, paid, refund, _RETURNED)
        payment = await requests.lock(tx, payment.merchant_id, payment.payment_id)
    return payment


async def _cancel(ctx: Context, tx: Tx, held: Held) -> None:
    if held.checkout.status == "completed":
        await cancel_completed(ctx, tx, held, None)
        return
    # Acts at neighbours are still under way: what was done is undone by the saga, which finds the money returned.
    await advance(tx, held, "undoing", held.go_on(), [store.Note(PAYMENT, "undone")], refusal=CANCELLED)
    held.order = await orders.move(tx, held.order, "cancelled", payment_status="refunded")
