"""Undo a checkout backwards: order, inventory, money; own stock last. Each act exactly once, however often it is tried.

No answer means: again with the same key after 1, 2, 5, 15, 30 s, then every minute, after an hour every 15 minutes; after
24 h the checkout is parked for a person and tried on. A neighbour without the route makes the act `stuck` at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from kassa import catalog, orders, payments
from kassa.checkout import store
from kassa.checkout.finish import close_undone
from kassa.checkout.held import Held, keep_answer, look_again, seconds_until
from kassa.checkout.journal import advance
from kassa.checkout.model import PAYMENT, Step
from kassa.checkout.refunds import note_refund, send_refund
from kassa.checkout.steps import Neighbours, Outcome, do, undo
from kassa.kit.context import Context
from kassa.payments import Providers

AGAIN_S = (1, 2, 5, 15, 30)
MINUTELY_S, SLOWLY_S, SLOW_AFTER_S, PARK_AFTER_S = 60, 900, 3600, 86400
ASK_LIMIT_S = 120
KeepLease = Callable[[Context, Held, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


async def undo_next(ctx: Context, held: Held, keep_lease: KeepLease) -> bool:
    """Undo the last act that still stands; with none left, close. False when there is nothing more to do now.

    An act whose undo got no answer waits for its next turn and holds up nobody: least of all the buyer's money.
    """
    waits_s: list[float] = []
    for act in held.to_undo():
        if act == PAYMENT:
            wait = await _give_money_back(ctx, held, keep_lease)
        elif (wait := _due_in(held.steps[act], held)) <= 0:
            return await _undo(ctx, held, act, keep_lease)
        if wait is None:
            return True
        waits_s.append(wait)
    return await _wait(ctx, held, min(waits_s), keep_lease) if waits_s else await _close(ctx, held)


async def _undo(ctx: Context, held: Held, act: str, keep_lease: KeepLease) -> bool:
    if held.steps[act].status in {"running", "unknown"}:
        return await _find_out(ctx, held, act, keep_lease)
    outcome: Outcome = await keep_lease(ctx, held, undo(ctx.port(Neighbours), held, act))
    return await _note_undo(ctx, held, act, outcome)


async def _close(ctx: Context, held: Held) -> bool:
    """Nothing is left that could be undone now: undone, or parked where something is stuck."""
    stuck = any(step.status == "stuck" for step in held.steps.values())
    match held.checkout.status:
        case "completed" | "undone" as ended:
            async with ctx.db.transaction("checkout.close") as tx:
                await advance(tx, held, ended, store.OVER)
        case _ if stuck:
            await _park(ctx, held, store.OVER)
        case _:
            async with ctx.db.transaction("checkout.close") as tx:
                await advance(tx, held, "undone", store.OVER, undo_stock=True)
                await close_undone(ctx, tx, held)
    return False


async def _park(ctx: Context, held: Held, when: store.Next) -> None:
    """Leave the rest to a person: own stock is let go all the same, and the caller's answer is final."""
    async with ctx.db.transaction("checkout.park") as tx:
        await advance(tx, held, "parked", when, undo_stock=True)
        await catalog.release(tx, held.checkout.merchant_id, held.checkout.checkout_id)
        await keep_answer(ctx, tx, held)


async def _give_money_back(ctx: Context, held: Held, keep_lease: KeepLease) -> float | None:
    """Refund the whole capture under the one key of this checkout's undo. Seconds to wait, or None when something changed."""
    if held.payment.status not in {"paid", "refunding"} or held.payment.captured_minor == 0:
        await _mark(ctx, held, "undone")
        return None
    key = held.key("refund")
    refunds = await payments.refunds_of(ctx.db, held.checkout.merchant_id, held.payment.payment_id)
    refund = next((each for each in refunds if each.provider_key == key), None)
    if refund is None:
        await _begin_refund(ctx, held, key)
        return None
    if refund.status in {"pending", "parked"} and refund.next_at is not None and refund.next_at <= refund.read_at:
        try:
            refund = await keep_lease(ctx, held, send_refund(ctx, refund))
        except payments.RefundTaken:
            return 1.0
        await _refresh_payment(ctx, held)
    if refund.status == "succeeded":
        await _mark(ctx, held, "undone")
        return None
    if refund.next_at is None:
        await _stick(ctx, held, PAYMENT, refund.message or "the refund needs a person")
        return None
    if refund.status == "parked":
        await _park_failing(ctx, held, PAYMENT, refund.message)
    return max(0.1, seconds_until(refund.next_at, refund.read_at) or 0.0)


async def _begin_refund(ctx: Context, held: Held, key: str) -> None:
    async with ctx.db.transaction("checkout.refund") as tx:
        await advance(tx, held, held.checkout.status, held.go_on(), [store.Note(PAYMENT, "undoing", undo=True)])
        held.order = await orders.note_payment(tx, held.order, "refunded")
        reason = held.checkout.error_code or "order cancelled"
        held.payment, refund = await payments.begin_refund(tx, held.payment, owed=True, reason=reason, provider_key=key)
        provider = ctx.port(Providers).of(held.payment)
        if provider.local:
            await note_refund(tx, held.payment, refund, await provider.refund(held.payment, refund))
    await _refresh_payment(ctx, held)


async def _refresh_payment(ctx: Context, held: Held) -> None:
    found = await payments.find(ctx.db, held.checkout.merchant_id, held.payment.payment_id)
    held.payment = found or held.payment


async def _mark(ctx: Context, held: Held, status: str) -> None:
    async with ctx.db.transaction("checkout.undo") as tx:
        await advance(tx, held, held.checkout.status, held.go_on(), [store.Note(PAYMENT, status)])


async def _find_out(ctx: Context, held: Held, act: str, keep_lease: KeepLease) -> bool:
    """Whether an act happened is not known: the same request with the same key tells, for two minutes."""
    outcome: Outcome = await keep_lease(ctx, held, do(ctx.port(Neighbours), held, act))
    step = held.steps[act]
    began = step.first_sent_at or step.began_at
    if outcome.kind in {"done", "refused"}:
        await _note(ctx, held, store.Note(act, outcome.kind, outcome.ref))
    elif (held.checkout.read_at - began).total_seconds() >= ASK_LIMIT_S:
        await _stick(ctx, held, act, outcome.message)
    else:
        await _note(ctx, held, store.Note(act, "unknown", sent=True))
    return True


async def _note_undo(ctx: Context, held: Held, act: str, outcome: Outcome) -> bool:
    if outcome.kind == "no_route":
        await _stick(ctx, held, act, outcome.message)
    elif outcome.kind == "done":
        await _note(ctx, held, store.Note(act, "undone", undo=True))
    else:
        await _note(ctx, held, store.Note(act, "undoing", undo=True))
        if _tried_for(held.steps[act], held) > PARK_AFTER_S:
            await _park_failing(ctx, held, act, outcome.message)
    return True


async def _park_failing(ctx: Context, held: Held, act: str, message: str | None) -> None:
    """A day without an answer: a person looks, and it is tried on."""
    await store.open_case(ctx.db, held.checkout, "undo_failing", act, message, held.checkout.total_minor)
    if held.checkout.status in {"undoing", "returning"}:
        await _park(ctx, held, held.go_on())


async def _note(ctx: Context, held: Held, note: store.Note) -> None:
    async with ctx.db.transaction("checkout.undo") as tx:
        await advance(tx, held, held.checkout.status, held.go_on(), [note])


async def _stick(ctx: Context, held: Held, act: str, message: str | None) -> None:
    async with ctx.db.transaction("checkout.park") as tx:
        await advance(tx, held, held.checkout.status, held.go_on(), [store.Note(act, "stuck")])
        await store.open_case(tx, held.checkout, "undo_stuck", act, message, held.checkout.total_minor)


async def _wait(ctx: Context, held: Held, wait: float, keep_lease: KeepLease) -> bool:
    async with ctx.db.transaction("checkout.undo") as tx:
        await advance(tx, held, held.checkout.status, held.when(wait))
    if not held.stays_for(wait):
        return False
    await keep_lease(ctx, held, asyncio.sleep(wait))
    return await look_again(ctx.db, held)


def _due_in(step: Step, held: Held) -> float:
    """Seconds until an act is to be undone, or asked about, once more."""
    passed = (held.checkout.read_at - step.updated_at).total_seconds()
    if step.status == "unknown":
        return AGAIN_S[min(step.sends, len(AGAIN_S)) - 1] - passed
    if step.status == "undoing" and step.undos:
        return _wait_before(step, held) - passed
    return 0.0


def _tried_for(step: Step, held: Held) -> float:
    return (held.checkout.read_at - step.undo_since).total_seconds() if step.undo_since else 0.0


def _wait_before(step: Step, held: Held) -> float:
    if step.undos <= len(AGAIN_S):
        return AGAIN_S[step.undos - 1]
    return MINUTELY_S if _tried_for(step, held) < SLOW_AFTER_S else SLOWLY_S
