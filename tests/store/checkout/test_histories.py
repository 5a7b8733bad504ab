"""The promise, hunted through thousands of histories: whatever fails whenever it fails, charged once or not at all.

A history is a shuffle of purchases, silent and lying neighbours, crashes in the middle of anything, stolen leases, cancelled
orders, repeated webhooks and hours that pass. At its end everybody answers again and time goes on; then every invariant must
hold, the provider's book must equal ours, and nobody may have been charged without getting an order.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.factories import RemoteShelf, ScriptedCards, ScriptedLinks, ScriptedNeighbour, Shop, open_shop, render_order, world
from tests.rig import DatabaseServer

from kassa import checkout, verify
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules, saga, start
from kassa.checkout.held import Held
from kassa.checkout.wishes import MoveWish
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.errors import KassaError
from kassa.payments import Verdict
from kassa.verify import Booked

BEGINS = st.sampled_from(["paid", "paid", "declined", "silent", "silent_paid", "silent_declined"])
ASKS = st.sampled_from(["truth", "silent", "no_route"])
REFUNDS = st.sampled_from(["succeeded", "silent", "impossible", "failed"])
ANSWERS = st.sampled_from(["yes", "no", "silent", "silent_yes", "error", "no_route"])
ACTS = st.sampled_from(["inventory", "order_service", "restock", "cancel", "take", "return"])
KINDS = st.sampled_from(["own", "services", "products"])
PULSE = "the database's pulse"
"""Looks on for a tenth of a second after whatever was asked: nothing that somebody sent."""
STEPS = st.one_of(st.none(), st.none(), st.integers(0, 150))
"""Turns of the loop after which a process dies; None: it lives."""
PASSES = st.sampled_from([1, 16, 125, 31 * 60, 2 * 3600, 25 * 3600, 73 * 3600])


class Town:
    """A database, and strangers that remember everything over all histories."""

    def __init__(self, dsn: str, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.db = self.run(Database.connect(dsn, size=6))
        self.cards, self.links = ScriptedCards(), ScriptedLinks()
        self.services = {name: ScriptedNeighbour() for name in ("inventory", "order", "product")}

    def run(self, work: Any) -> Any:
        """Run `work`, and whatever it left behind in flight: a call that was sent arrives although its sender died."""
        return self.loop.run_until_complete(self.and_what_it_left(work))

    async def and_what_it_left(self, work: Any) -> Any:
        try:
            return await work
        finally:
            left = {task for task in asyncio.all_tasks() if task.get_name() != PULSE} - {asyncio.current_task()}
            if left:
                await asyncio.wait(left, timeout=5)

    def world(self, kind: str) -> Context:
        near: dict[str, Any] = self.services
        how = {
            "own": {"rules": Rules(payment_service=True)},
            "services": {
                "rules": Rules(payment_service=True, inventory_service=True, order_service=True),
                "neighbours": Neighbours(near["inventory"], near["order"], None),
                "source": OwnSource(counted=False),
            },
            "products": {
                "rules": Rules(payment_service=True, product_service=True),
                "neighbours": Neighbours(None, None, near["product"]),
                "source": RemoteShelf({"mouse": 10**6, "lamp": 10**6}),
            },
        }[kind]
        return world(self.db, providers=[self.cards, self.links], **how)

    def everybody_behaves(self) -> None:
        self.cards.begins, self.cards.asks, self.cards.refunds = [], [], []
        self.links.silences, self.links.refunds = 0, []
        for service in self.services.values():
            service.script.clear()
            # Whoever refused to take something back may be talked round; what was refused at first stays refused.
            service.decided = {key: word for key, word in service.decided.items() if word == "yes" or not _is_undo(key)}


def _is_undo(key: str | None) -> bool:
    return key is not None and (key.endswith((":restock", ":cancel")) or ":return:" in key)


class Histories(RuleBasedStateMachine):
    """One history in one shop."""

    def __init__(self, town: Town) -> None:
        super().__init__()
        self.town, self.db = town, town.db
        self.leaders: list[tuple[Shop, Held]] = []
        self.orders: list[tuple[Shop, Any]] = []

    @initialize(kind=KINDS)
    def open(self, kind: str) -> None:
        self.kind = kind
        ctx = self.town.world(kind)
        self.shop: Shop = self.town.run(open_shop(ctx, mouse=20, lamp=8))

    # what buyers do

    @rule(
        provider=st.sampled_from(["card", "card", "card", "link", "cash_on_delivery"]),
        surface=st.sampled_from(["checkout", "orders"]),
        mice=st.integers(1, 2),
        lamps=st.integers(0, 1),
        told=st.fixed_dictionaries({"begins": st.lists(BEGINS, max_size=2), "asks": st.lists(ASKS, max_size=7),
                                    "refunds": st.lists(REFUNDS, max_size=3)}),
        acts=st.dictionaries(ACTS, st.lists(ANSWERS, min_size=1, max_size=4), max_size=3),
        steps=STEPS,
    )  # fmt: skip
    def buy(
        self,
        provider: str,
        surface: str,
        mice: int,
        lamps: int,
        told: dict[str, list[str]],
        acts: dict[str, list[str]],
        steps: int | None,
    ) -> None:
        """Begin a purchase and lead it on among strangers who were told what to do.

        The leader's process may die at any turn of its loop, or be paused at once (0).
        """
        self.strangers_are_told(told, acts)
        items = {"mouse": mice} | ({"lamp": lamps} if lamps else {})
        surface = "orders" if provider != "card" else surface
        try:
            held = self.town.run(self.shop.begin(items, provider=provider, surface=surface))
        except start.Short:
            return
        self.orders.append((self.shop, held.order))
        if steps == 0:
            self.leaders.append((self.shop, held))
        else:
            self.town.run(self.until(saga.drive(self.shop.ctx, held), steps))

    def strangers_are_told(self, told: dict[str, list[str]], acts: dict[str, list[str]]) -> None:
        cards = self.town.cards
        cards.begins, cards.asks, cards.refunds = (list(told[name]) for name in ("begins", "asks", "refunds"))
        self.town.links.silences = len(told["refunds"])
        for service in self.town.services.values():
            service.script = {act: list(words) for act, words in acts.items()}

    @precondition(lambda self: self.leaders)
    @rule(data=st.data(), steps=STEPS)
    def lead_on(self, data: st.DataObject, steps: int | None) -> None:
        """One that was paused goes on, though others may have led its checkout meanwhile."""
        shop, held = self.leaders.pop(data.draw(st.integers(0, len(self.leaders) - 1)))
        self.town.run(self.until(saga.drive(shop.ctx, held), steps))

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), to=st.sampled_from(["cancelled", "cancelled", "processing", "shipped", "delivered"]))
    def move(self, data: st.DataObject, to: str) -> None:
        shop, order = self.one_of(self.orders, data)
        try:
            self.town.run(self.moved(shop, order, to))
        except KassaError:
            return

    @staticmethod
    def one_of(things: list[Any], data: st.DataObject) -> Any:
        return things[data.draw(st.integers(0, len(things) - 1))]

    async def moved(self, shop: Shop, order: Any, to: str) -> None:
        await checkout.move_order(shop.ctx, MoveWish(shop.merchant_id, order.order_id, to, True), render_order)
        await shop.ctx.background.drain(5)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), kind=st.sampled_from(["paid", "paid", "declined", "closed"]), times=st.integers(1, 3))
    def a_webhook_comes(self, data: st.DataObject, kind: str, times: int) -> None:
        """Of a link only: what a card service knows stands in its book."""
        shop, order = self.one_of(self.orders, data)
        if order.payment_method != "link:stripe":
            return
        self.town.run(self.webhooks(shop, order, Verdict(kind, ref="w-1"), times))

    async def webhooks(self, shop: Shop, order: Any, verdict: Verdict, times: int) -> None:
        await asyncio.gather(*(checkout.bring_verdict(shop.ctx, shop.merchant_id, order.payment_id, verdict) for _ in range(times)))
        await shop.ctx.background.drain(5)

    # what time does

    @rule(seconds=PASSES)
    def time_passes(self, seconds: int) -> None:
        self.town.run(clock.move(self.db, timedelta(seconds=seconds)))

    @rule()
    def every_lease_is_lost(self) -> None:
        self.town.run(self.leases_end())

    @rule(steps=STEPS)
    def a_worker_sweeps(self, steps: int | None) -> None:
        self.town.run(self.until(self.swept(), steps))

    async def swept(self) -> int:
        ctx = self.town.world(self.kind)
        try:
            found = await checkout.sweep_checkouts(ctx) + await checkout.sweep_refunds(ctx)
        finally:
            await ctx.background.drain(0 if asyncio.current_task().cancelling() else 10)  # type: ignore[union-attr]
        return found

    async def leases_end(self) -> None:
        await self.db.execute("UPDATE checkouts SET lease_until = now() - interval '1 s' WHERE lease_until > now()")
        await self.db.execute("UPDATE refunds SET lease_until = now() - interval '1 s' WHERE lease_until > now()")

    async def until(self, work: Any, steps: int | None) -> None:
        task = asyncio.ensure_future(work)
        if steps is not None:
            for _ in range(steps):
                if task.done():
                    break
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    # how it ends

    def teardown(self) -> None:
        if not hasattr(self, "shop"):
            return
        self.town.everybody_behaves()
        self.town.run(self.the_end())

    async def the_end(self) -> None:
        quiet = 0
        for seconds in (1, 5, 20, 60, 130, 1900, 1900, 1900, 7200, 7200, 90_000, 90_000, 90_000, 90_000, 7200, 7200):
            await self.leases_end()
            while await self.swept():
                await self.leases_end()
            await clock.move(self.db, timedelta(seconds=seconds))
            quiet = 0 if await self.moving() else quiet + 1
            if quiet == 3:
                break
        moving = await self.moving()
        assert moving == [], f"it did not come to rest: {moving}"
        found = await verify.run(self.shop.ctx, book=self.book)
        mine = [breach for breach in found if breach.merchant_id in {self.shop.merchant_id, "-"}]
        assert mine == [], mine
        assert self.town.cards.without_card == 0, "a charge was sent after a restart"

    async def book(self) -> list[Booked]:
        return [Booked(*row) for row in self.town.cards.summary()]

    async def moving(self) -> list[Any]:
        rows = await self.db.rows(
            """
            SELECT c.checkout_id::text, c.status, p.status AS payment, c.method, c.next_at - kassa_now() AS next,
                   (SELECT string_agg(step || '=' || s.status, ' ') FROM checkout_steps s WHERE s.checkout_id = c.checkout_id) AS steps
              FROM checkouts c LEFT JOIN payments p USING (merchant_id, payment_id)
             WHERE merchant_id = $1 AND (c.status NOT IN ('completed', 'undone', 'parked') OR p.status IN ('unknown', 'waiting')
                OR (c.status = 'completed' AND c.next_at IS NOT NULL))
            """,
            self.shop.merchant_id,
        )
        return [dict(row) for row in rows]


def test_no_history_breaks_the_promise(database_server: DatabaseServer) -> None:
    loop = asyncio.new_event_loop()
    town = Town(database_server.fresh(), loop)
    try:
        run_state_machine_as_test(
            lambda: Histories(town), settings=settings(max_examples=40, stateful_step_count=20, deadline=None)
        )
    finally:
        town.run(town.db.close())
        loop.close()
