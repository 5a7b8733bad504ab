"""Cancel an order, in the caller's transaction, judged by its checkout and payment. Undone exactly once, however often asked."""

from __future__ import annotations

from kassa import catalog, orders, payments
from kassa.checkout import store
from kassa.checkout.finish import CASH, cancel_order, close_undone
from kassa.checkout.held import Held, load
from kassa.checkout.journal import advance
from kassa.checkout.model import PAYMENT, STOCK, Refusal, is_remote
from kassa.checkout.settle import return_lines_to_cart
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import Providers, Verdict

CANCELLED = Refusal("Payment processing failed", "cancelled", "The order was cancelled.")


async def cancel(ctx: Context, tx: Tx, order: orders.Order, note: str | None) -> orders.Order:
    """Cancel `order`. Raises `IllegalMove`, `OrderMoved`, `Overtaken`; the caller looks again after the latter two."""
    if not orders.MOVES.allows(order.status, "cancelled"):
        raise orders.illegal(order.status, "cancelled")
    checkout = await store.find(tx, order.merchant_id, order.checkout_id)
    assert checkout is not None
    held = await load(tx, checkout, leads=False)
    if held.order.version != order.version:
        raise orders.OrderMoved
    await return_lines_to_cart(tx, held)
    if checkout.status == "completed":
        await cancel_completed(ctx, tx, held, note)
    else:
        await _before_completion(ctx, tx, held, note)
    return held.order


async def cancel_completed(ctx: Context, tx: Tx, held: Held, note: str | None) -> None:
    """Paid (or to be paid in cash): the stock comes back now; the money, unless it has gone back already, is owed from now on."""
    remote = [store.Note(act, "undoing") for act in held.checkout.acts if is_remote(act) and held.status_of(act) == "done"]
    await advance(tx, held, "completed", store.Next(0 if remote else None, "keep"), remote)
    payment_status = "refunded" if held.payment.captured_minor else "failed"
    held.order = await orders.move(tx, held.order, "cancelled", payment_status=payment_status, note=note)
    if held.checkout.method == CASH and held.payment.status == "opened":
        held.payment = (await payments.settle(tx, held.payment, Verdict("cancelled"))).payment
    elif held.payment.status == "paid" and held.payment.refundable_minor:
        await _owe(ctx, tx, held)
    await orders.give_back_bought(tx, held.order)
    if STOCK in held.checkout.acts:
        await catalog.give_back(tx, held.checkout.merchant_id, held.checkout.checkout_id)


async def _owe(ctx: Context, tx: Tx, held: Held) -> None:
    key = held.key("refund")
    held.payment, refund = await payments.begin_refund(tx, held.payment, owed=True, reason="order cancelled", provider_key=key)
    provider = ctx.port(Providers).of(held.payment)
    if provider.local and held.payment.provider != CASH:
        await payments.conclude_refund(tx, held.payment, refund, await provider.refund(held.payment, refund))


async def _before_completion(ctx: Context, tx: Tx, held: Held, note: str | None) -> None:
    """The order is pending: the checkout ends here, except for what has happened already and is undone after this."""
    begun = any(is_remote(act) and act in held.steps for act in held.checkout.acts)
    if held.payment.captured_minor or (begun and held.checkout.status in {"paid", "reserved"}):
        await advance(tx, held, "undoing", store.Next(0, "keep"), refusal=CANCELLED)
        await cancel_order(tx, held, note)
        return
    payment, provider = held.payment, ctx.port(Providers).of(held.payment)
    if payment.held_by is not None:
        raise orders.illegal(held.order.status, "cancelled")
    may_be_charged = payment.status == "opened" and not (provider.local or provider.begins_again)
    in_flight = payment.status in {"unknown", "parked"} or may_be_charged
    when = store.Next(0 if in_flight else None, "keep")
    step = "unknown" if in_flight else "refused"
    await advance(tx, held, "undone", when, [store.Note(PAYMENT, step)], refusal=CANCELLED, undo_stock=True)
    held.order = await orders.move(tx, held.order, "cancelled", payment_status="failed", note=note)
    verdict = Verdict("unknown", ask_in_s=0) if in_flight else Verdict("cancelled")
    if payment.status != "parked":
        held.payment = (await payments.settle(tx, payment, verdict)).payment
    await close_undone(ctx, tx, held)
