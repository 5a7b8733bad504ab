"""Buy explicit items with a card in one call (checkout contract).

A refusal is a checkout too: it has an id, it can be asked for, and a repeat of its key gets the same answer. The request
waits 10 s at most; what is not decided by then goes on without it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping

from kassa import catalog
from kassa.catalog import Offer
from kassa.checkout import start, store
from kassa.checkout.answers import wait_for_answer
from kassa.checkout.card_tries import admit_card, note_card
from kassa.checkout.held import Held, idempotency_key, view_of
from kassa.checkout.model import CheckoutView, Refusal
from kassa.checkout.read import read_checkout
from kassa.checkout.rules import MethodUnavailable, Rules
from kassa.checkout.saga import drive
from kassa.checkout.wishes import Bought, ItemsWish, Replayed, Replies
from kassa.kit import once
from kassa.kit.context import Context, request_id
from kassa.kit.database import Broken
from kassa.kit.errors import KassaError
from kassa.kit.ids import unguessable
from kassa.kit.money import major_text
from kassa.notices import Contact
from kassa.payments import Providers
from kassa.payments.model import Card, CardTrace

BUDGET_S = 10.0


async def buy_items(ctx: Context, wish: ItemsWish) -> Bought | Replayed:
    """Buy, and say how it ended; `final` False when the caller's time is over and the end is not known yet.

    Never raises for the contract's six refusals. Raises `InProgress`, `KeyReused`, `ProductsUnavailable`, `TooManyTries`.
    """
    until = time.monotonic() + BUDGET_S
    try:
        held = await _begin(ctx, wish, until)
    except once.Claimed as claimed:
        assert wish.key is not None
        return await _repeat(ctx, wish.key, claimed.found)
    except KassaError:
        if wish.key is not None and (found := await once.find(ctx.db, ctx.keys, wish.key)) is not None:
            return await _repeat(ctx, wish.key, found)
        raise
    if isinstance(held, CheckoutView):
        return Bought(held, final=True)
    leading = ctx.background.spawn(_lead(ctx, held), name=f"checkout {held.checkout.checkout_id}")
    await asyncio.wait({leading}, timeout=max(0.0, until - time.monotonic()))
    held.card = None
    return await _outcome(ctx, held, done=leading.done() and not leading.cancelled() and leading.exception() is None)


async def _lead(ctx: Context, held: Held) -> None:
    await drive(ctx, held)
    note_card(held.tried, held)


async def _begin(ctx: Context, wish: ItemsWish, until: float) -> Held | CheckoutView:
    """Everything up to the first commit: a held checkout, or the refusal that was written instead."""
    offers = await catalog.offers_of(ctx, wish.channel, [item.product_id for item in wish.items])
    refusal = _refusal(ctx, wish, offers)
    if refusal is not None:
        return await _refuse(ctx, wish, refusal)
    try:
        provider = ctx.port(Rules).provider_of_card()
    except MethodUnavailable as error:
        return await _refuse(ctx, wish, Refusal("Payment processing failed", error.code, error.message))
    purchase = start.Purchase(
        channel=wish.channel,
        surface="checkout",
        buyer_id=wish.buyer_id,
        method=wish.card.type,
        provider=provider,
        lines=[(offers[item.product_id], item.quantity) for item in wish.items],
        shipping_address=wish.shipping_address,
        card=_trace(ctx, wish.card),
        email=wish.email,
        contact=Contact(wish.buyer_id, wish.email, wish.name, language=wish.language),
        key=wish.key,
        keeps_answer=True,
        at=next(offer.at for offer in offers.values()),
    )
    try:
        held = await _hold(ctx, wish, purchase)
    except start.Short as short:
        items = [
            {"product_id": each.product_id, "requested": each.requested, "available": each.available} for each in short.shortages
        ]
        return await _refuse(ctx, wish, Refusal("Insufficient stock", "stock_insufficient", _few(items), items))
    held.card, held.until = wish.card, until
    return held


async def _hold(ctx: Context, wish: ItemsWish, purchase: start.Purchase) -> Held:
    """The beginning of a purchase whose card may be tried: counted first, and not counted where nothing was begun."""
    card, tried = purchase.card.fingerprint, None
    if card is not None and not ctx.port(Providers).by_name[purchase.provider].local:
        merchant_id = wish.channel.merchant_id
        tried = await admit_card(ctx, merchant_id, card, buyer_id=wish.buyer_id, email=wish.email, address=wish.address)
    try:
        try:
            held = await _start(ctx, wish, purchase)
        except catalog.StockMoved:
            held = await _start(ctx, wish, purchase, carefully=True)
        except Broken:
            held = await _start(ctx, wish, purchase)  # under the same ids: it cannot begin twice
    except BaseException:
        if tried is not None:
            tried.never_was()
        raise
    held.tried = tried
    return held


async def _start(ctx: Context, wish: ItemsWish, purchase: start.Purchase, *, carefully: bool = False) -> Held:
    """The first commit. In one statement as a rule; `carefully` asks under the locks what is short."""
    async with start.starting(ctx, purchase) as tx:
        if wish.key is not None:
            await once.claim_later(tx, ctx.keys, wish.key, str(purchase.checkout_id))
        return await start.begin(ctx, tx, purchase, carefully=carefully)


def _refusal(ctx: Context, wish: ItemsWish, offers: Mapping[str, Offer]) -> Refusal | None:
    """What stands against the purchase before anything is held, in the contract's order."""
    unknown = [item.product_id for item in wish.items if item.product_id not in offers]
    if unknown:
        return Refusal("Unknown product", "unknown_product", f"Not sold here: {', '.join(sorted(unknown))}."[:300])
    changed = [item for item in wish.items if item.price is not None and item.price != offers[item.product_id].price]
    if changed:
        items = [{"product_id": item.product_id, "price_minor": offers[item.product_id].price.minor} for item in changed]
        first = offers[changed[0].product_id]
        price = major_text(first.price.minor, first.price.currency)
        return Refusal("Price changed", "price_changed", f"{first.product_id} costs {price} now.", items)
    if ctx.port(Rules).stock_counted_by("checkout") == "inventory":
        return None
    short = [
        {"product_id": item.product_id, "requested": item.quantity, "available": stock}
        for item in wish.items
        if (stock := offers[item.product_id].stock) is not None and stock < item.quantity
    ]
    return Refusal("Insufficient stock", "stock_insufficient", _few(short), short) if short else None


def _few(items: list[dict[str, object]]) -> str:
    parts = [f"only {item['available']} of {item['product_id']} left" for item in items]
    text = ", ".join(parts)[:290]
    return text[:1].upper() + text[1:] + "."


async def _refuse(ctx: Context, wish: ItemsWish, refusal: Refusal) -> CheckoutView:
    """Write a refused checkout: nothing was held and nothing was asked of anybody."""
    new = store.NewCheckout(
        merchant_id=wish.channel.merchant_id,
        checkout_id=unguessable(),
        channel=wish.channel.channel,
        surface="checkout",
        buyer_id=wish.buyer_id,
        status="undone",
        method=wish.card.type,
        acts=[],
        currency=wish.channel.currency,
        total_minor=None,
        request_id=request_id.get() or None,
        lease_s=ctx.lease_s,
        idempotency=start.scope_of(wish.key) if wish.key else None,
        refusal=refusal,
    )
    async with ctx.db.transaction("checkout.refused") as tx:
        if wish.key is not None:
            found = await once.claim(tx, ctx.keys, wish.key, str(new.checkout_id))
            if found is not None:
                raise once.Claimed(found)
        view = view_of(await store.insert(tx, new, (), await tx.now()), None, [])
        if wish.key is not None:
            await once.answer(tx, ctx.keys, wish.key, *ctx.port(Replies).checkout(view))
    return view


async def _outcome(ctx: Context, held: Held, *, done: bool) -> Bought:
    """How the checkout stands when the request ends. A promise (202) or an early 422 is noted under the key."""
    view = held.view()
    if done and held.checkout.is_over:
        return Bought(view, final=True)
    current = await read_checkout(ctx, held.checkout.merchant_id, held.checkout.checkout_id)
    view = current or view
    final = view.status in {"completed", "failed"} or view.error is not None
    if held.checkout.idempotency is not None and view.status not in {"completed", "failed"}:
        key = idempotency_key(held.checkout)
        async with ctx.db.transaction("checkout.answer") as tx:
            if final:
                await once.answer(tx, ctx.keys, key, *ctx.port(Replies).checkout(view))
            else:
                await once.accept(tx, key)
    return Bought(view, final=final)


async def _repeat(ctx: Context, key: once.Key, found: once.Found) -> Bought | Replayed:
    """The final answer of the first one; a promise again where it got one; else `InProgress`."""
    replayed = await wait_for_answer(ctx, key, found)
    if replayed is not None:
        return replayed
    current = await once.find(ctx.db, ctx.keys, key) or found
    if current.subject is None:
        raise once.InProgress
    view = await read_checkout(ctx, key.merchant_id, uuid.UUID(current.subject))
    # A first caller whose process died was never told anything: its checkout goes on, and this caller may be told so.
    if view is None or (current.state != "accepted" and current.age_s < once.DEAD_AFTER_S):
        raise once.InProgress
    return Bought(view, final=view.status in {"completed", "failed"} or view.error is not None)


def _trace(ctx: Context, card: Card) -> CardTrace:
    return CardTrace(
        brand=card.brand,
        first6=card.number[:6],
        last4=card.number[-4:],
        fingerprint=ctx.keys.fingerprint(card.number.encode()),
    )
