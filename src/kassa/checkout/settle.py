"""What a verdict about a payment means for its checkout: one transaction for payment, order, stock, cart and events.

Every verdict comes through here: the answer to a charge, a question, a webhook, a person. The first statement moves the
checkout and locks it; if somebody was first, `Overtaken` makes the bringer look again and judge anew with the same verdict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kassa import carts, catalog, orders, payments
from kassa.carts.model import ReturnedLine
from kassa.checkout import store
from kassa.checkout.finish import close_undone, finish
from kassa.checkout.held import Held
from kassa.checkout.journal import advance
from kassa.checkout.model import PAYMENT, PURCHASES, STOCK, Refusal
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import Verdict

LINK_AGAIN_S = (1, 2, 5, 10, 30)
LINK_MINUTELY_S = 60
TOO_LATE = Refusal("Payment processing failed", "payment_too_late", "The payment came after the stock had been released.")


def wait_for_link(asked: int) -> float:
    """Seconds before a link is asked for again that was asked for in vain `asked` times before the last one."""
    return LINK_AGAIN_S[asked] if asked < len(LINK_AGAIN_S) else LINK_MINUTELY_S


async def conclude(ctx: Context, held: Held, verdict: Verdict, note: Callable[[Tx], Awaitable[None]] | None = None) -> bool:
    """Apply `verdict` to the payment and everything that follows from it, and refresh `held`; whether the payment moved by it.

    `note` adds to the transaction, if it did.

    Raises `Overtaken` when the checkout has moved since it was read; nothing is written then.
    """
    async with ctx.db.transaction("checkout.settle") as tx:
        await conclude_in(ctx, tx, held, verdict)
        moved = payments.has_moved(tx, held.payment.payment_id)
        if note is not None and moved:
            await note(tx)
    return moved


async def conclude_in(ctx: Context, tx: Tx, held: Held, verdict: Verdict) -> None:
    """The same in the caller's transaction. Raises `Overtaken`, or `PaymentHeld` for a verdict that may not be had now."""
    match held.checkout.status:
        case "paying" | "parked":
            await _while_paying(ctx, tx, held, verdict)
        case "undoing" | "returning":
            await _while_undoing(tx, held, verdict)
        case "undone":
            await _after_giving_up(tx, held, verdict)
        case _:
            held.payment = (await payments.settle(tx, held.payment, verdict)).payment


async def _while_paying(ctx: Context, tx: Tx, held: Held, verdict: Verdict) -> None:
    match verdict.kind:
        case "paid" if not held.stock_is_held() and held.status_of(STOCK) is not None:
            await advance(tx, held, "undoing", held.go_on(), [store.Note(PAYMENT, "done", verdict.ref)], refusal=TOO_LATE)
            await _cancel_order(tx, held)
            held.payment = (await payments.settle(tx, held.payment, verdict)).payment
        case "paid":
            await _paid(ctx, tx, held, verdict)
        case "waiting":
            await _wait_for_buyer(tx, held, verdict)
        case "unknown" if held.checkout.method.startswith("link:") and held.payment.status == "opened":
            # Asking for a link moves no money: it is asked for again, with the same payment id, until the deadline.
            tries = held.checkout.tries
            await advance(tx, held, held.checkout.status, held.when(wait_for_link(tries)), tries=tries + 1)
        case "unknown":
            held_for = held.when(verdict.ask_in_s or 0)
            await advance(tx, held, held.checkout.status, held_for, [store.Note(PAYMENT, "unknown")])
            held.payment = (await payments.settle(tx, held.payment, verdict)).payment
        case "parked":
            left = max(0.0, (held.checkout.deadline - held.checkout.read_at).total_seconds()) if held.checkout.deadline else None
            when = store.Next(left if held.stock_is_held() else None, "release" if held.leads else "keep")
            await advance(tx, held, "parked", when, [store.Note(PAYMENT, "unknown")])
            await store.open_case(tx, held.checkout, "payment_unknown", PAYMENT, verdict.message, held.payment.amount_minor)
            held.payment = (await payments.settle(tx, held.payment, verdict)).payment
        case _:
            await _refused(ctx, tx, held, verdict)


async def _paid(ctx: Context, tx: Tx, held: Held, verdict: Verdict) -> None:
    act = held.next_act()
    if act is None:
        await finish(ctx, tx, held, [store.Note(PAYMENT, "done", verdict.ref)], verdict)
        return
    notes = [store.Note(PAYMENT, "done", verdict.ref), store.Note(act, "running", sent=True)]
    await advance(tx, held, "paid", held.go_on(), notes)
    held.order = await orders.note_payment(tx, held.order, "paid")
    held.payment = (await payments.settle(tx, held.payment, verdict)).payment
    held.fresh = act if held.leads else None


async def _wait_for_buyer(tx: Tx, held: Held, verdict: Verdict) -> None:
    deadline, now = held.checkout.deadline, held.checkout.read_at
    wait = max(0.0, (deadline - now).total_seconds()) if deadline else None
    when = store.Next(wait, "release" if held.leads else "keep")
    await advance(tx, held, "paying", when, [store.Note(PAYMENT, "running")])
    held.order = await orders.note_url(tx, held.order, verdict.url)
    held.payment = (await payments.settle(tx, held.payment, verdict)).payment


async def _refused(ctx: Context, tx: Tx, held: Held, verdict: Verdict) -> None:
    """Not paid, for certain: nothing was done but the hold on the stock, so all of it ends here."""
    code = verdict.code or ("payment_expired" if verdict.kind == "closed" else "payment_declined")
    refusal = Refusal("Payment processing failed", code, verdict.message or "The payment was declined.")
    await return_lines_to_cart(tx, held)
    again = store.Next(verdict.ask_in_s, "release" if held.leads else "keep")
    await advance(tx, held, "undone", again, [store.Note(PAYMENT, "refused")], refusal=refusal, undo_stock=True)
    held.order = await orders.move(tx, held.order, "cancelled", payment_status="failed")
    held.payment = (await payments.settle(tx, held.payment, verdict)).payment
    await close_undone(ctx, tx, held)


async def _while_undoing(tx: Tx, held: Held, verdict: Verdict) -> None:
    """Under the row's lock the payment is judged first: a verdict that changes nothing must not change the journal either.

    It may be older than the money, such as the answer with a link that the buyer has paid meanwhile.
    """
    when = held.go_on() if verdict.kind != "unknown" else held.when(verdict.ask_in_s or 0)
    await advance(tx, held, held.checkout.status, when)
    settled = await payments.settle(tx, held.payment, verdict)
    held.payment = settled.payment
    if settled.moved:
        step = {"paid": "done", "unknown": "unknown", "parked": "stuck"}.get(verdict.kind, "refused")
        await advance(tx, held, held.checkout.status, when, [store.Note(PAYMENT, step, verdict.ref)])


async def _after_giving_up(tx: Tx, held: Held, verdict: Verdict) -> None:
    """The checkout had ended without the money. A late yes goes back; anything else only ends the asking."""
    if verdict.kind == "paid":
        await advance(tx, held, "returning", held.go_on(), [store.Note(PAYMENT, "done", verdict.ref)])
    else:
        lease = "release" if held.leads else "keep"
        again = verdict.ask_in_s if verdict.kind in {"unknown", "declined"} else None
        await advance(tx, held, "undone", store.Next(again, lease))
        if verdict.kind == "parked":
            await store.open_case(tx, held.checkout, "payment_unknown", PAYMENT, verdict.message, held.payment.amount_minor)
        if held.payment.status == "declined":
            held.payment = await payments.note_late_look(tx, held.payment, verdict.ask_in_s)
    held.payment = (await payments.settle(tx, held.payment, verdict)).payment


async def return_lines_to_cart(tx: Tx, held: Held) -> None:
    """Give the lines of an order that was never paid nor processing back to its cart (first, by the order of locks).

    A cart that has kept them moves on to its next version, so that they can be ordered anew.
    """
    checkout, order = held.checkout, held.order
    if checkout.cart_id is None or checkout.cart_version is None or order.status != "pending":
        return
    if checkout.surface == PURCHASES:
        await carts.leave_version(tx, checkout.merchant_id, checkout.cart_id, checkout.cart_version)
        return
    lines = [ReturnedLine(line.product_id, line.quantity, line.price_minor, line.product_name, line.image) for line in order.lines]
    await carts.return_lines(tx, checkout.merchant_id, checkout.cart_id, lines)


async def release_stock(ctx: Context, held: Held) -> None:
    """Let go of stock whose deadline has passed while the payment is still not known; a late yes is then refunded."""
    async with ctx.db.transaction("checkout.release") as tx:
        step = held.payment.next_ask_at
        wait = max(0.0, (step - held.checkout.read_at).total_seconds()) if step else None
        when = store.Next(wait, "release")
        await advance(tx, held, held.checkout.status, when, [store.Note(STOCK, "undone")])
        await catalog.release(tx, held.checkout.merchant_id, held.checkout.checkout_id)


async def _cancel_order(tx: Tx, held: Held) -> None:
    if orders.MOVES.allows(held.order.status, "cancelled"):
        held.order = await orders.move(tx, held.order, "cancelled")
