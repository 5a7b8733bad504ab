"""The two ends of a checkout: completed (stock consumed, order paid) and undone (stock free, nothing owed)."""

from __future__ import annotations

from collections.abc import Sequence

from kassa import catalog, orders, payments
from kassa.checkout import store
from kassa.checkout.held import Held, keep_answer
from kassa.checkout.journal import complete
from kassa.checkout.model import ORDER
from kassa.events import Event, record
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import Verdict

CASH = "cash_on_delivery"


async def finish(ctx: Context, tx: Tx, held: Held, notes: Sequence[store.Note], verdict: Verdict | None = None) -> None:
    """Complete the checkout: order paid (cash: processing), payment settled, stock consumed, answer kept; one transaction.

    `verdict` is the provider's yes when it has not been settled yet.
    """
    over = store.OVER if held.leads else store.Next(None, "keep")
    await complete(tx, held, over, [*notes, store.Note(ORDER, "done")])
    external = held.order_ref()
    external_id = external if external != str(held.order.order_id) else None
    if held.checkout.method == CASH:
        held.order = await orders.move_later(tx, held.order, "processing", external_id=external_id)
    else:
        held.order = await orders.move_later(tx, held.order, "paid", payment_status="paid", external_id=external_id)
    await orders.note_bought(tx, held.order)
    if verdict is not None:
        held.payment = await payments.settle_later(tx, held.payment, verdict)
    await catalog.consume(tx, held.checkout.merchant_id, held.checkout.checkout_id)
    announce(tx, held, "checkout.completed")
    await keep_answer(ctx, tx, held)


async def close_undone(ctx: Context, tx: Tx, held: Held) -> None:
    """The last acts of an undoing: own stock is let go, the end announced, the answer kept. The row has moved already."""
    await catalog.release(tx, held.checkout.merchant_id, held.checkout.checkout_id)
    announce(tx, held, "checkout.undone")
    await keep_answer(ctx, tx, held)


async def cancel_order(tx: Tx, held: Held, note: str | None = None) -> None:
    """Cancel the order in the middle of its checkout.

    Cash that nobody will collect now is closed with it; money that was paid is given back by the undoing.
    """
    cash = held.checkout.method == CASH and held.payment.status == "opened"
    held.order = await orders.move(tx, held.order, "cancelled", payment_status="failed" if cash else None, note=note)
    if cash:
        held.payment = (await payments.settle(tx, held.payment, Verdict("cancelled"))).payment


def announce(tx: Tx, held: Held, name: str) -> None:
    """Record a `checkout.*` event."""
    checkout = held.checkout
    data = {
        "checkout_id": str(checkout.checkout_id),
        "order_id": str(checkout.order_id),
        "payment_id": str(checkout.payment_id),
        "status": checkout.status,
        "error": checkout.error_code,
    }
    record(tx, Event(checkout.merchant_id, f"checkout:{checkout.checkout_id}", name, data))
