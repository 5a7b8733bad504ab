"""Lead a checkout as far as it goes: pay, the neighbours' acts, finish; or undo backwards.

`drive` is called by the request that began the checkout and, after a crash or a wait, by a worker that took its lease.
It reads the journal, does the next act, notes the outcome, and starts over. Every act has three beats: intent committed,
call with no transaction open, outcome committed. Silence is never repeated for a charge: it is asked about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from kassa import events, payments
from kassa.checkout import store
from kassa.checkout.finish import CASH, cancel_order, finish
from kassa.checkout.held import MOVED, Held, load, look_again, seconds_until
from kassa.checkout.journal import advance
from kassa.checkout.model import ORDER_SERVICE, PAYMENT, TAKE, Checkout, Refusal
from kassa.checkout.settle import conclude, release_stock, return_lines_to_cart, wait_for_link
from kassa.checkout.steps import Neighbours, Outcome, do
from kassa.checkout.undo import undo_next
from kassa.kit import trace
from kassa.kit.context import Context, concerns, request_id
from kassa.payments import Providers, Verdict

T = TypeVar("T")
SERVICE_AGAIN_S = (1, 2, 5, 15, 30, 60)
SERVICE_GIVE_UP_S = 120
TAKE_AGAIN_S = (1, 5, 30, 120, 600)
_UNSENT = ("opened",)
HELD_LOOK_S = 600
"""Seconds after which a checkout whose payment is held is looked at again; it need not be, so this only shows that it lives."""


async def drive(ctx: Context, held: Held) -> Held:
    """Lead `held` until it is over, sleeps, or belongs to somebody else; returns it as it was last seen.

    Driving a checkout twice does no harm: each step is fenced by the lease and by the status it expects.
    """
    request_id.set(held.checkout.request_id or "")
    concerns(
        merchant_id=held.checkout.merchant_id,
        checkout_id=held.checkout.checkout_id,
        order_id=held.order.order_id,
        payment_id=held.payment.payment_id,
    )
    with trace.span("checkout") as span:
        goes_on = True
        while goes_on:
            try:
                goes_on = await _step(ctx, held)
            except MOVED:
                goes_on = await look_again(ctx.db, held)
        span.say(status=held.checkout.status)
    return held


async def resume(ctx: Context, checkout: Checkout) -> Held:
    """Lead a checkout whose lease was just taken, in the trace in which it began."""
    if checkout.order_id is None:
        raise AssertionError("a refused checkout has nothing to resume")
    kept = await events.trace_of(ctx.db, checkout.merchant_id, f"checkout:{checkout.checkout_id}", "checkout.started")
    with trace.go_on("checkout taken up", kept):
        return await drive(ctx, await load(ctx.db, checkout, lease_s=ctx.lease_s))


async def _step(ctx: Context, held: Held) -> bool:
    """Do the next act; False when the leader has nothing more to do now."""
    status, payment = held.checkout.status, held.payment.status
    if status in {"reserved", "paid"}:
        return await _forward(ctx, held)
    asked = {"opened", "waiting", "unknown", "declined", "parked"}
    if (status in {"paying", "undone", "parked"} and payment in asked) or (status == "undoing" and payment == "unknown"):
        return await _pay(ctx, held)
    if status == "parked" and held.checkout.error is None:
        # An act at a neighbour is not known and everything stays as it stands, until a person decides.
        await store.let_go(ctx.db, held.checkout)
        return False
    return await undo_next(ctx, held, keep_lease)


async def _pay(ctx: Context, held: Held) -> bool:
    """Get the next word about the payment: charge, ask, wait for the buyer, or give up waiting."""
    payment, provider = held.payment, ctx.port(Providers).of(held.payment)
    if held.is_late() and held.stock_is_held() and payment.status in {"unknown", "parked"}:
        await release_stock(ctx, held)
        return await look_again(ctx.db, held) and held.checkout.status != "parked"
    if held.checkout.status == "parked" or held.checkout.method == CASH:
        return False
    if held.fresh == PAYMENT or (payment.status in _UNSENT and (provider.local or (provider.begins_again and not held.is_late()))):
        held.fresh = None
        with trace.span("charge") as span:
            verdict = await keep_lease(ctx, held, payments.take(ctx, payment, held.card, held.checkout.customer_email))
            span.say(provider=payment.provider, attempt=payment.sends, outcome=verdict.kind, code=verdict.code)
    elif payment.held_by is not None:
        return await _leave_alone(ctx, held)
    elif provider.begins_again:
        if not held.is_late():
            return await _sleep(ctx, held, seconds_until(held.checkout.deadline, held.checkout.read_at))
        verdict = Verdict("closed")
    else:
        wait = seconds_until(payment.next_ask_at, payment.read_at)
        if wait is None and payment.status == "declined":
            return False
        if wait:
            return await _sleep(ctx, held, wait)
        with trace.span("ask") as span:
            verdict = await keep_lease(ctx, held, payments.ask(ctx, payment))
            span.say(provider=payment.provider, attempt=payment.asks + 1, outcome=verdict.kind, code=verdict.code)
        if verdict.never_seen and await _send_again(ctx, held):
            return True
    return await _conclude(ctx, held, verdict)


async def _leave_alone(ctx: Context, held: Held) -> bool:
    """The buyer is paying at this moment: whoever holds the payment goes on, and closes what is late when it lets go."""
    left_s = seconds_until(held.checkout.deadline, held.checkout.read_at) or HELD_LOOK_S
    async with ctx.db.transaction("checkout.wait") as tx:
        await advance(tx, held, held.checkout.status, store.Next(left_s, "release"))
    return False


async def _conclude(ctx: Context, held: Held, verdict: Verdict) -> bool:
    """Note a verdict; if somebody moved the checkout meanwhile, look again and judge the same verdict anew."""
    while True:
        try:
            await conclude(ctx, held, verdict)
        except MOVED:
            if not await look_again(ctx.db, held):
                return False
            if held.payment.held_by is not None and verdict.kind != "paid":
                return True  # its provider has begun to take the money: there is nothing to judge now
            continue
        if held.checkout.is_over and held.payment.next_ask_at is None:
            return False
        if verdict.kind == "unknown" and held.payment.status == "opened":  # there is no link yet: it is asked for at its time
            return await _sleep(ctx, held, wait_for_link(held.checkout.tries - 1))
        return held.checkout.status != "parked"


async def _send_again(ctx: Context, held: Held) -> bool:
    """The provider never saw the charge and the request still holds the card: send it once more, under the same key."""
    if held.card is None or held.payment.sends > 1 or not held.stays_for(0):
        return False
    async with ctx.db.transaction("checkout.send_again") as tx:
        await advance(tx, held, "paying", held.go_on(), [store.Note(PAYMENT, "running", sent=True)])
        held.payment = await payments.note_sending(tx, held.payment)
    held.fresh = PAYMENT
    return True


async def _forward(ctx: Context, held: Held) -> bool:
    """Do the next act at a neighbour, or finish when there is none."""
    act = held.next_act()
    if act is None:
        async with ctx.db.transaction("checkout.finish") as tx:
            await finish(ctx, tx, held, [])
        return False
    step = held.steps.get(act)
    if step is not None and step.status in {"refused", "stuck"}:
        return await _refuse(ctx, held, act, Outcome("refused"))
    if step is None:
        async with ctx.db.transaction("checkout.intend") as tx:
            await advance(tx, held, held.checkout.status, held.go_on(), [store.Note(act, "running", sent=True)])
        held.fresh = act
        return True
    fresh, held.fresh = held.fresh == act, None
    outcome = await keep_lease(ctx, held, do(ctx.port(Neighbours), held, act))
    while True:
        try:
            return await _note(ctx, held, act, outcome, fresh=fresh)
        except MOVED:
            # Cancelled meanwhile: what the neighbour did is noted all the same, so that it is undone.
            if not await look_again(ctx.db, held):
                return False
            if held.checkout.status not in {"reserved", "paid"}:
                return await _note_only(ctx, held, act, outcome)


async def _note(ctx: Context, held: Held, act: str, outcome: Outcome, *, fresh: bool) -> bool:
    if outcome.kind == "done":
        return await _done(ctx, held, act, outcome)
    if outcome.kind == "refused" or (outcome.kind == "unavailable" and fresh):
        return await _refuse(ctx, held, act, outcome)
    wait = _wait_before(act, held)
    if wait is None:
        return await _give_up(ctx, held, act, outcome)
    async with ctx.db.transaction("checkout.unknown") as tx:
        await advance(tx, held, held.checkout.status, held.when(wait), [store.Note(act, "unknown", sent=True)])
    return await _sleep(ctx, held, wait)


async def _done(ctx: Context, held: Held, act: str, outcome: Outcome) -> bool:
    done = store.Note(act, "done", outcome.ref)
    following = held.next_act(besides=act)
    async with ctx.db.transaction("checkout.forward") as tx:
        if following is None:
            await finish(ctx, tx, held, [done])
            return False
        await advance(tx, held, held.checkout.status, held.go_on(), [done, store.Note(following, "running", sent=True)])
    held.fresh = following
    return True


async def _refuse(ctx: Context, held: Held, act: str, outcome: Outcome, *, stuck: bool = False) -> bool:
    """The neighbour says no: the order is cancelled at once, everything done before is undone backwards."""
    async with ctx.db.transaction("checkout.refuse") as tx:
        await return_lines_to_cart(tx, held)
        note = store.Note(act, "stuck" if stuck else "refused")
        await advance(tx, held, "undoing", held.go_on(), [note], refusal=_refusal(act, outcome))
        await cancel_order(tx, held)
        if stuck:
            await store.open_case(tx, held.checkout, "act_unknown", act, outcome.message, held.checkout.total_minor)
    return True


async def _give_up(ctx: Context, held: Held, act: str, outcome: Outcome) -> bool:
    """Asked long enough, the act is left to a person.

    After an inventory or order service the money goes back; after a product service everything stays as it stands.
    """
    if not act.startswith(TAKE):
        return await _refuse(ctx, held, act, outcome, stuck=True)
    if held.checkout.status == "reserved":
        return await _refuse(ctx, held, act, outcome, stuck=True)
    async with ctx.db.transaction("checkout.park") as tx:
        await advance(tx, held, "parked", store.OVER, [store.Note(act, "stuck")])
        await store.open_case(tx, held.checkout, "act_unknown", act, outcome.message, held.checkout.total_minor)
    return False


async def _note_only(ctx: Context, held: Held, act: str, outcome: Outcome) -> bool:
    status = {"done": "done", "refused": "refused", "unavailable": "refused"}.get(outcome.kind, "unknown")
    async with ctx.db.transaction("checkout.note") as tx:
        note = store.Note(act, "undoing" if status == "done" and held.checkout.status == "completed" else status, outcome.ref)
        await advance(tx, held, held.checkout.status, held.go_on(), [note])
    return True


def _refusal(act: str, outcome: Outcome) -> Refusal:
    sentence, word = ("Order failed", "order") if act == ORDER_SERVICE else ("Inventory failed", "inventory")
    code = f"{word}_refused" if outcome.kind == "refused" else f"{word}_unavailable"
    ours = f"The {word} service {'refused' if outcome.kind == 'refused' else 'did not answer'}."
    return Refusal(sentence, code, (outcome.kind == "refused" and outcome.message) or ours)


def _wait_before(act: str, held: Held) -> float | None:
    """Seconds before the same request is sent again; None when it was tried long enough."""
    step = held.steps[act]
    if act.startswith(TAKE):
        return TAKE_AGAIN_S[step.sends - 1] if step.sends <= len(TAKE_AGAIN_S) else None
    began = step.first_sent_at or step.began_at
    if (held.checkout.read_at - began).total_seconds() >= SERVICE_GIVE_UP_S:
        return None
    return SERVICE_AGAIN_S[min(step.sends, len(SERVICE_AGAIN_S)) - 1]


async def _sleep(ctx: Context, held: Held, wait_s: float | None) -> bool:
    """Wait inside the request if its time allows it; else leave the checkout to whoever looks when it is due."""
    if wait_s is not None and held.stays_for(wait_s):
        await keep_lease(ctx, held, asyncio.sleep(wait_s))
        return await look_again(ctx.db, held)
    await store.let_go(ctx.db, held.checkout)
    return False


async def keep_lease(ctx: Context, held: Held, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, renewing the lease while it takes its time.

    A leader that slept past its lease makes sure first that nobody else leads now; else `Overtaken`, and nothing is sent.
    """
    if held.leads and time.monotonic() - held.leased_at > held.lease_s / 2 and not await _renew(ctx, held):
        work.close()
        raise store.Overtaken
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=held.lease_s / 3))[0]:
        if held.leads:
            await _renew(ctx, held)
    return task.result()


async def _renew(ctx: Context, held: Held) -> bool:
    before = time.monotonic()
    renewed = await store.renew(ctx.db, held.checkout, held.lease_s)
    if renewed:
        held.leased_at = before
    return renewed
