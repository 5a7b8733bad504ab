"""A payment service that was silent and answers again is asked at once about everything that waits, not an hour later by the plan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest_asyncio
from tests.factories import ScriptedCards, Shop, open_shop, world
from tests.rig import DatabaseServer

from kassa import payments
from kassa.checkout import Neighbours, ask_again, saga
from kassa.kit.breaker import Breaker
from kassa.kit.database import Database
from kassa.kit.neighbour import Neighbour


@pytest_asyncio.fixture(loop_scope="session")
async def shop(database_server: DatabaseServer) -> AsyncIterator[Shop]:
    """A shop that has a database alone: what is asked again is everybody's."""
    db = await Database.connect(database_server.fresh(), size=8)
    yield await open_shop(world(db), mouse=100)
    await db.close()


def breaker(*, is_open: bool = False, was_open: bool = True) -> Breaker:
    """One whose pause is over at once, as far as a test waits."""
    made = Breaker(failures=1, pause_s=0)
    if is_open:
        made.silent()
    made.was_open = was_open
    return made


def beside(shop: Shop, cards: ScriptedCards, breaker: Breaker) -> Shop:
    """The same shop with these cards, and a service with this breaker."""
    made = Neighbour("payment", "http://nowhere.invalid", None, breaker=breaker)  # type: ignore[arg-type]
    return replace(shop, ctx=world(shop.db, providers=[cards], neighbours=Neighbours(payment=made)))


class Listening(ScriptedCards):
    """Cards that tell a breaker whether they answered, as a neighbour does."""

    hears: Breaker

    async def ask(self, payment: payments.Payment) -> payments.Verdict:
        verdict = await super().ask(payment)
        self.hears.answered() if verdict.final else self.hears.silent()
        return verdict


async def in_doubt(shop: Shop, cards: ScriptedCards, how_many: int = 3) -> list[Any]:
    """Charges that were booked and not answered, and whose next question is an hour away."""
    cards.begins, cards.asks = ["silent_paid"] * how_many, ["silent"] * how_many
    shop = replace(shop, ctx=world(shop.db, providers=[cards]))
    found = []
    for _ in range(how_many):
        held = await shop.begin({"mouse": 1})
        held.fresh = "payment"
        await saga.drive(shop.ctx, held)
        found.append(held.payment.payment_id)
    later = "kassa_now() + interval '1 hour'"
    await shop.db.execute(f"UPDATE payments SET next_ask_at = {later} WHERE status = 'unknown'")
    await shop.db.execute(f"UPDATE checkouts SET next_at = {later} WHERE status = 'paying'")
    assert {(await shop.payment_of(each)).status for each in found} == {"unknown"}
    return found


async def statuses(shop: Shop, found: list[Any]) -> list[str]:
    return [(await shop.payment_of(each)).status for each in found]


async def test_all_are_asked_about_once_it_answers_again(shop: Shop) -> None:
    cards = ScriptedCards()
    found = await in_doubt(shop, cards)
    asked = cards.asked
    shop = beside(shop, cards, breaker())
    assert await ask_again(shop.ctx) == 3
    await shop.ctx.background.drain(5)
    assert await statuses(shop, found) == ["paid"] * 3
    assert {charges for _, charges, _ in cards.summary()} == {1}
    assert (await ask_again(shop.ctx), cards.asked - asked) == (0, 3)


async def test_while_it_is_silent_one_is_asked_about_a_turn(shop: Shop) -> None:
    cards = Listening()
    cards.hears = Breaker()
    found = await in_doubt(shop, cards)
    asked, cards.hears = cards.asked, breaker(is_open=True)
    cards.asks = ["silent"]
    shop = beside(shop, cards, cards.hears)
    assert await ask_again(shop.ctx) == 0
    assert (cards.asked - asked, await statuses(shop, found)) == (1, ["unknown"] * 3)
    assert await ask_again(shop.ctx) == 2, "one was the probe"
    await shop.ctx.background.drain(5)
    assert await statuses(shop, found) == ["paid"] * 3


async def test_a_service_that_was_never_silent_is_asked_by_the_plan(shop: Shop) -> None:
    cards = ScriptedCards()
    found = await in_doubt(shop, cards)
    asked = cards.asked
    shop = beside(shop, cards, breaker(was_open=False))
    assert (await ask_again(shop.ctx), cards.asked - asked, await statuses(shop, found)) == (0, 0, ["unknown"] * 3)


async def test_refunds_that_wait_are_sent_again_too(shop: Shop) -> None:
    cards = ScriptedCards(refunds=["silent"])
    shop = beside(shop, cards, breaker())
    held = await shop.begin({"mouse": 1}, surface="orders")
    held.fresh = "payment"
    await saga.drive(shop.ctx, held)
    await shop.move(await shop.order_of(held.order.order_id), "cancelled")
    await shop.ctx.background.drain(5)
    (refund,) = await payments.refunds_of(shop.db, shop.merchant_id, held.payment.payment_id)
    assert refund.status == "pending"
    await shop.db.execute("UPDATE refunds SET next_at = kassa_now() + interval '15 min'")
    assert await ask_again(shop.ctx) == 1
    (refund,) = await payments.refunds_of(shop.db, shop.merchant_id, held.payment.payment_id)
    assert (refund.status, len(cards.returned)) == ("succeeded", 1)
