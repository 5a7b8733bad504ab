"""A street of shops in which everything has happened once: each story by its name, with the ids it left."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tests import factories
from tests.factories import (
    CURRENCY,
    ScriptedCards,
    ScriptedLinks,
    ScriptedNeighbour,
    Shop,
    Till,
    open_shop,
    open_till,
    settle,
    subscribe,
    world,
)
from tests.store.payme.desk import Desk, open_desk, open_goods, selling

from kassa import audit, checkout, collect, payments
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules, saga, store
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.orders import Order
from kassa.payments import Payment, Verdict

DECLINED = replace(factories.CARD, number="4000000000000002")


@dataclass(frozen=True)
class Story:
    """What one purchase left behind."""

    merchant: str
    checkout: str | None = None
    order: str | None = None
    payment: str | None = None


class Street:
    """Plays the stories and remembers them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.stories: dict[str, Story] = {}
        self.cards, self.links = ScriptedCards(), ScriptedLinks()
        self.inventory, self.orders, self.products = ScriptedNeighbour(), ScriptedNeighbour(), ScriptedNeighbour()

    def note(self, name: str, row: Any, merchant: str) -> None:
        """Remember a story by its checkout, order or payment."""
        order = str(row.order_id) if getattr(row, "order_id", None) else None
        self.stories[name] = Story(merchant, str(row.checkout_id), order, str(row.payment_id) if row.payment_id else None)

    async def play(self) -> None:
        """Everything, one after the other. What needs a later hour comes late, because the clock is the whole database's."""
        await self.guests()
        await self.buyers()
        await self.cash()
        await self.cards_by_wire()
        await self.neighbours()
        await self.link_payers()
        await self.later()
        await self.outside()
        await self.merchants()
        await self.at_payme()
        await self.by_hand()

    async def shop(self, ctx: Context | None = None) -> Shop:
        return await open_shop(ctx or world(self.db, providers=[self.cards, self.links]), mouse=100, lamp=50, gift=None)

    async def guests(self) -> None:
        shop = await self.shop(world(self.db))
        await self.bought("bought", shop, {"mouse": 2, "lamp": 1, "gift": 1}, key="the-first-key")
        await self.bought("repeated", shop, {"mouse": 2, "lamp": 1, "gift": 1}, key="the-first-key")
        await self.bought("declined", shop, {"mouse": 1}, card=DECLINED, key="the-second-key")
        await self.bought("too many", shop, {"mouse": 101}, key="the-third-key")
        await self.bought("unknown product", shop, {"nothing": 1})

    async def bought(self, name: str, shop: Shop, items: dict[str, int], **how: Any) -> None:
        await shop.buy(items, **how)
        await shop.ctx.background.drain(5)
        newest = await shop.db.value(
            "SELECT checkout_id FROM checkouts WHERE merchant_id = $1 ORDER BY created_at DESC LIMIT 1", shop.merchant_id
        )
        self.note(name, await shop.checkout_of(newest), shop.merchant_id)

    async def buyers(self) -> None:
        shop = await self.shop()
        self.note("paid", await shop.order("ann", {"mouse": 1, "lamp": 2}), shop.merchant_id)
        delivered = await shop.order("bob", {"mouse": 1})
        for status in ("processing", "shipped", "delivered"):
            delivered = await shop.move(delivered, status, note="on its way")
        self.note("delivered", delivered, shop.merchant_id)
        returned = await shop.order("cid", {"mouse": 3})
        self.note("cancelled", await shop.move(returned, "cancelled", by_staff=False), shop.merchant_id)
        self.note("order declined", await shop.order("dee", {"mouse": 1}, last4="0002"), shop.merchant_id)
        free = await open_shop(shop.ctx, price=0, sample=5)
        self.note("free", await free.order("eve", {"sample": 1}), free.merchant_id)
        self.note("free cancelled", await free.move(await free.order("fay", {"sample": 1}), "cancelled"), free.merchant_id)

    async def cash(self) -> None:
        shop = await self.shop()
        for name, moves in {
            "cash": (),
            "cash shipped": ("shipped",),
            "cash delivered": ("shipped", "delivered"),
            "cash cancelled": ("cancelled",),
        }.items():
            order = await shop.order(f"buyer of {name}", {"mouse": 1}, method="cash_on_delivery")
            for status in moves:
                order = await shop.move(order, status)
            self.note(name, order, shop.merchant_id)

    async def cards_by_wire(self) -> None:
        shop = await self.shop()
        for name, begins, asks in (
            ("charged", ["paid"], []),
            ("refused", ["declined"], []),
            ("asked and paid", ["silent_paid"], []),
            ("asked and refused", ["silent_declined"], []),
            ("cannot be asked", ["silent_paid"], ["no_route"] * 9),
            ("not known", ["silent_paid"], ["silent"] * 9),
            ("given up", ["silent"], []),
        ):
            self.cards.begins, self.cards.asks = begins, asks
            held = await shop.begin({"mouse": 1, "lamp": 1})
            for _ in range(6):
                await saga.drive(shop.ctx, held)
                await shop.db.execute(
                    "UPDATE payments SET next_ask_at = kassa_now() WHERE next_ask_at IS NOT NULL AND status = 'unknown'"
                )
                await shop.db.execute("UPDATE payments SET last_sent_at = last_sent_at - interval '20 s' WHERE status = 'unknown'")
                if name == "not known" or not await self.look_again(shop, held):
                    break
            self.note(name, await shop.checkout_of(held.checkout.checkout_id), shop.merchant_id)

    async def look_again(self, shop: Shop, held: Any) -> bool:
        claimed = await store.claim(shop.db, shop.merchant_id, held.checkout.checkout_id, 8)
        if claimed is None:
            return False
        held.checkout, held.payment = claimed, await shop.payment_of(held.payment.payment_id)
        return held.payment.status == "unknown"

    async def neighbours(self) -> None:
        near = Neighbours(self.inventory, self.orders, None)  # type: ignore[arg-type]
        rules = Rules(payment_service=True, inventory_service=True, order_service=True)
        ctx = world(self.db, providers=[self.cards], neighbours=near, rules=rules, source=OwnSource(counted=False))
        shop = await self.shop(ctx)
        for name, inventory, orders, refunds in (
            ("three services", {}, {}, []),
            ("no inventory", {"inventory": ["no"]}, {}, []),
            ("no order", {}, {"order_service": ["no"]}, []),
            ("stuck refund", {}, {"order_service": ["no"]}, ["impossible"]),
            ("stuck restock", {"restock": ["no_route"]}, {"order_service": ["no"]}, []),
        ):
            self.inventory.script, self.orders.script, self.cards.refunds = inventory, orders, refunds
            held = await shop.begin({"mouse": 1, "lamp": 1})
            await saga.drive(ctx, held)
            self.note(name, held.checkout, shop.merchant_id)
        self.inventory.script, self.orders.script = {"restock": ["no_route"]}, {"order_service": ["no"]}
        held = await shop.begin({"mouse": 1}, provider="cash_on_delivery")
        await saga.drive(ctx, held)
        self.note("cash stuck", held.checkout, shop.merchant_id)
        self.inventory.script, self.orders.script, self.cards.refunds = {}, {}, []
        held = await shop.begin({"mouse": 1, "lamp": 1})
        await saga.drive(ctx, held)
        await shop.move(await shop.order_of(held.order.order_id), "cancelled")
        self.note("services cancelled", held.checkout, shop.merchant_id)

    async def outside(self) -> None:
        shop = await self.shop()
        for name, verdict in (("outside paid", "paid"), ("outside declined", "declined"), ("outside refunded", "paid")):
            payment = (await settle(shop, await factories.open_payment(shop, provider="simulated"), verdict)).payment
            self.stories[name] = Story(shop.merchant_id, payment=str(payment.payment_id))
        for amount, verdict in ((3_000, "succeeded"), (1_000, "failed"), (2_000, "pending")):
            async with shop.db.transaction("refund") as tx:
                payment, refund = await payments.begin_refund(
                    tx, payment, provider_key=str(new_id()), owed=False, reason=None, amount=Money(amount, CURRENCY)
                )
                await payments.conclude_refund(tx, payment, refund, payments.model.RefundVerdict(verdict))

    async def merchants(self) -> None:
        """Whoever asks for payments of its own orders, and a shop that gives lines back."""
        till = await open_till(world(self.db, providers=[self.cards, self.links]), tokens=10, mouse=100, lamp=50)

        def note(name: str, payment: Payment | uuid.UUID) -> None:
            payment_id = payment.payment_id if isinstance(payment, Payment) else payment
            self.stories[name] = Story(till.merchant_id, payment=str(payment_id))

        note("asked", await till.requested("asked", key="a-merchants-key"))
        note("asked and paid by link", await till.paid("paid"))
        self.links.begins = ["silent"]
        with contextlib.suppress(collect.ProviderUnreachable):
            await till.request("no link", key="another-key")
        note("no link", (await till.payments("no link"))[0])
        note("asked anew", await till.requested("no link", key="another-key"))
        for name, first in (("superseded", "old"), ("late", "new")):
            old = await till.requested(name)
            await settle(till.shop, old, "closed")
            new = await till.requested(name)
            for which in (old, new) if first == "old" else (new, old):
                await till.report(which)
                await till.rest()
            note(f"{name}, the older", old)
            note(f"{name}, the newer", new)
        for word in ("pending", "impossible"):
            self.links.refunds = [word]
            payment = await till.paid(f"given back, {word}")
            await till.given_back(payment, 2_500)
            note(f"given back, {word}", payment)
        made = await collect.request_by_key(
            till.ctx, collect.KeyedWish(till.merchant_id, Money(700, "USD"), "o", "a-services-key", {})
        )
        await collect.sweep_payments(till.ctx)
        note("by key", made.payment_id)
        await till.report(new_id())
        await self.lines(till)

    async def lines(self, till: Till) -> None:
        order = await till.shop.order("who gives lines back", {"mouse": 3, "lamp": 1}, method="link:stripe")
        await till.report(order.payment_id)
        await till.rest()
        paid = await till.payment(order.payment_id)
        await till.given_back(paid, lines=[collect.LineAsked("mouse", 2, restock=True), collect.LineAsked("lamp", 1)])
        self.note("lines given back", order, till.merchant_id)

    async def by_hand(self) -> None:
        """Three acts of staff at one merchant, two at another."""
        shop = await self.shop()
        for name, acts in (("three acts", 3), ("two acts", 2)):
            self.stories[name] = Story(merchant := new_id().hex)
            for number in range(acts):
                async with self.db.transaction("an act") as tx:
                    audit.note(tx, audit.Hand(shop.ctx.keys), merchant, "case.close", f"case:{number}")

    async def at_payme(self) -> None:
        """Ambassadors and goods that are paid at Payme, in all the ways that this ends or goes on."""
        desk = await open_desk(selling(self.db, providers=[self.links]))

        def note(name: str, order: Order) -> None:
            self.note(f"payme {name}", order, desk.merchant_id)

        note("waits", await desk.ordered("1", "2"))
        held = await desk.ordered("1", "2")
        await desk.created(held)
        note("held", held)
        paid = await desk.ordered("1", "2")
        await desk.performed(paid)
        note("paid", paid)
        returned = await desk.ordered("3")
        await desk.cancel(await desk.performed(returned), 5)
        note("returned", returned)
        cancelled = await desk.ordered("3")
        await desk.performed(cancelled)
        await desk.move(cancelled)
        await desk.rest()
        note("cancelled", cancelled)
        let_go = await desk.ordered("4")
        await desk.cancel(await desk.created(let_go), 2)
        note("let go", let_go)
        older = await desk.ordered("4")
        await desk.put(older.buyer_id or "", "5")
        newer = await desk.purchase(older.buyer_id or "")
        await desk.performed(newer)
        note("older", older)
        note("newer", newer)
        gone = await desk.ordered("4")
        await checkout.withdraw(desk.ctx, desk.merchant_id, ["4"])
        note("gone", gone)
        await self.goods_at_payme(desk)

    async def goods_at_payme(self, desk: Desk) -> None:
        goods = await open_goods(desk, mouse=20)
        order = await goods.order("who pays goods at Payme", {"mouse": 2}, method="payme")
        await desk.performed(order)
        self.note("payme goods", order, desk.merchant_id)
        await subscribe(desk.ctx, desk.merchant_id, 10)
        made = await desk.asked("outside")
        await desk.performed(made)
        self.stories["payme outside"] = Story(desk.merchant_id, payment=str(made.payment_id))

    async def link_payers(self) -> None:
        shop = await self.shop()
        for name in ("waiting", "link paid", "link cancelled", "paid too late", "expires"):
            order = await shop.order(f"payer of {name}", {"mouse": 1}, method="link:stripe")
            if name in {"link cancelled", "paid too late"}:
                order = await shop.move(order, "cancelled", by_staff=False)
            if name in {"link paid", "paid too late"}:
                await checkout.bring_verdict(shop.ctx, shop.merchant_id, order.payment_id, Verdict("paid", ref="t-1"))
                await shop.ctx.background.drain(5)
            self.note(name, order, shop.merchant_id)
        self.links.silences = 9
        self.note("no link yet", await shop.order("payer without a link", {"mouse": 1}, method="link:stripe"), shop.merchant_id)
        self.links.silences = 0

    async def later(self) -> None:
        await clock.move(self.db, timedelta(minutes=31))
        shop = await self.shop()
        for _ in range(4):
            await checkout.sweep_checkouts(shop.ctx)
            await checkout.sweep_refunds(shop.ctx)
            await shop.ctx.background.drain(5)
        self.note("waits", await shop.order("who waits", {"mouse": 1}, method="link:stripe"), shop.merchant_id)
        self.cards.begins, self.cards.asks = ["silent_paid"], ["silent"] * 9
        held = await shop.begin({"mouse": 1})
        await saga.drive(shop.ctx, held)
        self.note("silent", held.checkout, shop.merchant_id)
