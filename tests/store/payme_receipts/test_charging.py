"""A payment with a card's token: tried once, credited by Payme's Perform alone, asked about when nobody knows, and the token nowhere."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from tests.factories import ADDRESS, render_order
from tests.store.payme_receipts.conftest import No, Town

from kassa import checkout, orders
from kassa.checkout.wishes import CartWish, Placed
from kassa.collect import payme as calls
from kassa.kit.neighbour import BreakerOpen, NoAnswer, NotSent
from kassa.payments import payme
from kassa.payments.model import NO_CARD
from kassa.payments.payme.charge import charge

TOKEN = "a-token-that-only-this-test-knows"


class Buyer:
    """One who pays with a token, and the receipt that Payme makes of it."""

    def __init__(self, town: Town) -> None:
        self.town, self.receipt_id = town, secrets.token_hex(12)
        self.account = ""
        self.paid_with: list[str] = []

    def receipt(self, state: int) -> dict[str, Any]:
        account = [{"name": "order_id", "value": self.account}]
        return {"receipt": {"_id": self.receipt_id, "state": state, "amount": 1_500_000, "account": account}}

    async def make(self, params: dict[str, Any]) -> Any:
        self.account = params["account"]["order_id"]
        return self.receipt(0)

    def pays(self, after: Any, *, performs: bool) -> Callable[[dict[str, Any]], Any]:
        """What `receipts.pay` does: Payme creates and performs (or not), and answers a state, a no, or nothing."""

        async def pay(params: dict[str, Any]) -> Any:
            self.paid_with.append(params["token"])
            if performs:
                await self.performs()
            return self.receipt(after) if isinstance(after, int) else after

        return pay

    async def performs(self) -> None:
        order = await orders.find(self.town.db, self.town.merchant_id, uuid.UUID(self.account))
        assert order is not None
        await self.town.create(order, self.receipt_id)
        await calls.perform(self.town.ctx, self.town.box, self.receipt_id)

    async def orders(self, buyer_id: str = "buyer-with-a-card", token: str | None = TOKEN) -> orders.Order:
        """Order one mouse, and wait until nothing goes on in the background."""
        await self.town.shop.add(buyer_id, "mouse")
        wish = CartWish(self.town.shop.channel, buyer_id, None, ADDRESS, "payme", NO_CARD, (b"asked",), card_token=token)
        placed = await checkout.order_from_cart(self.town.ctx, wish, render_order)
        assert isinstance(placed, Placed)
        await self.town.ctx.background.drain(5)
        return await self.town.shop.order_of(placed.order.order_id)


@pytest.fixture
def buyer(town: Town) -> Buyer:
    buyer = Buyer(town)
    town.wire.says["receipts.create"] = buyer.make
    return buyer


async def swept(town: Town, after_s: float) -> None:
    await town.later(after_s)
    await payme.sweep_charges(town.ctx)


async def older(town: Town, order: orders.Order, minutes: int) -> None:
    """The charge was begun so long ago."""
    await town.db.execute(
        "UPDATE payme_charges SET created_at = created_at - make_interval(mins => $3) WHERE merchant_id = $1 AND payment_id = $2",
        town.merchant_id, order.payment_id, minutes,
    )  # fmt: skip


async def test_perform_is_the_credit(town: Town, buyer: Buyer) -> None:
    town.wire.says["receipts.pay"] = buyer.pays(4, performs=True)
    order = await buyer.orders()
    assert (order.status, (await town.payment(order)).status) == ("paid", "paid")
    assert (await town.payment(order)).provider_ref == buyer.receipt_id
    assert await town.charge(order) == ("paid", None)
    assert await town.shop.entries(order.payment_id) == [("capture", 1_500_000)]
    assert buyer.paid_with == [TOKEN]


async def test_the_answer_is_no_credit(town: Town, buyer: Buyer) -> None:
    town.wire.says |= {"receipts.pay": buyer.pays(4, performs=False), "receipts.check": {"state": 4}}
    order = await buyer.orders()
    assert (order.status, (await town.payment(order)).status) == ("pending", "waiting")
    assert await town.shop.entries(order.payment_id) == []
    await swept(town, 60)
    assert (await town.charge(order)) == ("paying", None), "Perform may be on its way"
    await older(town, order, 11)
    await swept(town, 60)
    assert await town.charge(order) == ("lost", "paid at Payme, and never performed here")
    assert await town.cases() == ["receipt_in_doubt"]
    assert await town.shop.entries(order.payment_id) == []


async def test_no_token_no_receipt(town: Town, buyer: Buyer) -> None:
    order = await buyer.orders(token=None)
    assert town.wire.asked == []
    assert await town.charge(order) is None


@pytest.mark.parametrize("no", [No(-31630), No(-32504)], ids=str)
@pytest.mark.parametrize("method", ["receipts.create", "receipts.pay"])
async def test_a_clear_no_leaves_the_link_payable(town: Town, buyer: Buyer, method: str, no: Exception) -> None:
    town.wire.says |= {"receipts.pay": buyer.pays(4, performs=False), method: no}
    order = await buyer.orders()
    assert await town.charge(order) == ("declined", f"Payme refused it ({no}): No")
    await town.create(order, other := secrets.token_hex(12))
    await calls.perform(town.ctx, town.box, other)
    assert (await town.payment(order)).provider_ref == other


@pytest.mark.parametrize("silence", [NoAnswer(), NotSent(), BreakerOpen()], ids=lambda each: type(each).__name__)
async def test_a_receipt_that_may_have_been_made_is_not_paid(town: Town, buyer: Buyer, silence: Exception) -> None:
    town.wire.says["receipts.create"] = silence
    order = await buyer.orders()
    assert await town.charge(order) == ("lost", "no receipt was made")
    assert town.wire.asked == ["receipts.create"]


@pytest.mark.parametrize("performs", [True, False])
@pytest.mark.parametrize("silence", [NoAnswer(), NotSent(), BreakerOpen()], ids=lambda each: type(each).__name__)
async def test_silence_is_asked_about_and_never_paid_again(town: Town, buyer: Buyer, silence: Exception, performs: bool) -> None:
    town.wire.says |= {"receipts.pay": buyer.pays(silence, performs=performs), "receipts.check": {"state": 4 if performs else 0}}
    order = await buyer.orders()
    assert (await town.charge(order)) == ("paying", None)
    for _ in range(3):
        await swept(town, 60)
    assert (await town.charge(order)) == (("paid", None) if performs else ("paying", None))
    await older(town, order, 16)
    await swept(town, 3600)
    assert (await town.charge(order)) == (("paid", None) if performs else ("lost", "it was never paid"))
    assert town.wire.asked.count("receipts.pay") == 1
    assert await town.cases() == []


@pytest.mark.parametrize(("state", "after"), [(50, ("declined", "cancelled at Payme")), (21, ("declined", "cancelled at Payme"))])
async def test_a_receipt_that_payme_has_cancelled_is_over(town: Town, buyer: Buyer, state: int, after: tuple[str, str]) -> None:
    town.wire.says |= {"receipts.pay": NoAnswer(), "receipts.check": {"state": state}}
    order = await buyer.orders()
    await swept(town, 60)
    assert await town.charge(order) == after


async def test_a_receipt_that_nobody_tells_about_is_a_persons_after_a_day(town: Town, buyer: Buyer) -> None:
    town.wire.says |= {"receipts.pay": NoAnswer(), "receipts.check": NoAnswer()}
    order = await buyer.orders()
    await swept(town, 60)
    assert (await town.charge(order)) == ("paying", None)
    await older(town, order, 25 * 60)
    await swept(town, 60)
    assert await town.charge(order) == ("lost", "Payme does not say what became of it")
    assert await town.cases() == ["receipt_in_doubt"]


async def test_another_attempt_that_was_quicker_is_the_only_one_paid(town: Town, buyer: Buyer) -> None:
    other = secrets.token_hex(12)

    async def pay(_params: Any) -> Any:
        order = await orders.find(town.db, town.merchant_id, uuid.UUID(buyer.account))
        assert order is not None
        await town.create(order, other)
        with pytest.raises(calls.PaymeRefusal):
            await buyer.performs()
        return No(-31051)

    town.wire.says["receipts.pay"] = pay
    order = await buyer.orders()
    await calls.perform(town.ctx, town.box, other)
    assert await town.attempt(other) == (2, None)
    assert await payme.find(town.db, town.merchant_id, buyer.receipt_id) is None
    assert await town.shop.entries(order.payment_id) == [("capture", 1_500_000)]


async def test_a_process_that_died_before_the_receipt_was_noted_paid_nothing(town: Town, buyer: Buyer) -> None:
    async def dies(params: dict[str, Any]) -> Any:
        await buyer.make(params)
        raise asyncio.CancelledError

    town.wire.says["receipts.create"] = dies
    order = await buyer.orders()
    assert (await town.charge(order)) == ("begun", None)
    await swept(town, 30)
    assert (await town.charge(order)) == ("begun", None), "it may be at it still"
    await swept(town, 90)
    assert await town.charge(order) == ("lost", "no receipt was made")
    assert town.wire.asked == ["receipts.create"]


async def test_a_process_that_died_while_it_paid_is_asked_about(town: Town, buyer: Buyer) -> None:
    async def dies(_params: Any) -> Any:
        await buyer.performs()
        raise asyncio.CancelledError

    town.wire.says["receipts.pay"] = dies
    order = await buyer.orders()
    assert (await town.charge(order)) == ("paying", None)
    await swept(town, 60)
    assert await town.charge(order) == ("paid", None)
    assert town.wire.asked.count("receipts.pay") == 1


async def test_a_charge_that_is_begun_again_pays_nothing(town: Town, buyer: Buyer) -> None:
    town.wire.says |= {"receipts.pay": NoAnswer(), "receipts.check": {"state": 0}}
    order = await buyer.orders()
    for _ in range(2):
        await charge(town.ctx, await town.payment(order), TOKEN)
    assert town.wire.asked.count("receipts.pay") == 1


async def test_without_a_cashbox_nothing_is_tried(town: Town, buyer: Buyer) -> None:
    order = await buyer.orders(token=None)
    async with town.db.transaction("payme.cashbox") as tx:
        await payme.drop_cashbox(tx, town.merchant_id)
        await town.db.execute(
            "INSERT INTO payme_charges (merchant_id, payment_id, state, next_at, created_at, updated_at)"
            " VALUES ($1, $2, 'begun', now(), now(), now())",
            town.merchant_id, order.payment_id,
        )  # fmt: skip
    await charge(town.ctx, await town.payment(order), TOKEN)
    assert await town.charge(order) == ("lost", "there is no cashbox that can be used")
    assert town.wire.asked == []


async def test_the_token_is_in_no_row(town: Town, buyer: Buyer) -> None:
    town.wire.says["receipts.pay"] = buyer.pays(NoAnswer(), performs=False)
    town.wire.says["receipts.check"] = {"state": 0}
    await buyer.orders()
    tables = await town.db.rows("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'")
    found = [
        row["name"] for row in tables if await town.db.rows(f"SELECT 1 FROM {row['name']} t WHERE strpos(t::text, $1) > 0", TOKEN)
    ]
    assert found == []
