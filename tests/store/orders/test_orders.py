"""Orders: frozen when placed, moved by the table from the version that was read, every change a line of the timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.factories import ADDRESS, Shop, at_once, open_shop

from kassa import orders
from kassa.kit.database import Tx
from kassa.kit.errors import NotFound
from kassa.kit.ids import new_id
from kassa.kit.moves import IllegalMove
from kassa.orders import Line, Order, OrderMoved
from kassa.orders.model import Placement

LINES = (Line("lamp", "Lamp", 250, 2, 500, "lamp.jpg"), Line("mouse", "Mouse", 100, 3, 300))


async def place(shop: Shop, buyer: str = "ann", **changes: Any) -> Order:
    placement = {
        "merchant_id": shop.merchant_id, "order_id": new_id(), "checkout_id": new_id(), "payment_id": new_id(), "channel": "shop",
        "buyer_id": buyer, "payment_method": "credit_card", "currency": "INR", "lines": LINES, "shipping_address": ADDRESS,
        "delivery": timedelta(days=5),
    }  # fmt: skip
    async with shop.db.transaction("place") as tx:
        return await orders.place(tx, orders.draft(Placement(**({"at": await tx.now()} | placement | changes))))


async def move(shop: Shop, order: Order, to: str, **how: Any) -> Order:
    async with shop.db.transaction("move") as tx:
        return await orders.move(tx, order, to, **how)


async def walked(shop: Shop, *to: str) -> Order:
    order = await place(shop)
    for status in to:
        order = await move(shop, order, status)
    return order


async def timeline(shop: Shop, order: Order) -> list[tuple[int, str, str, bool]]:
    found = await orders.happenings(shop.db, order.merchant_id, order.order_id)
    return [(each.sequence, each.status, each.payment_status, each.moved) for each in found]


async def test_an_order_reads_as_it_was_placed(shop: Shop) -> None:
    order = await place(shop)
    found = await orders.find(shop.db, shop.merchant_id, order.order_id)
    assert found == order
    assert (order.status, order.payment_status, order.version, order.total_minor) == ("pending", "pending", 1, 800)
    assert order.lines == LINES
    assert order.shipping_address == ADDRESS
    assert order.estimated_delivery - order.created_at == timedelta(days=5)
    assert await orders.find_by_checkout(shop.db, shop.merchant_id, order.checkout_id) == order


async def test_an_address_keeps_the_order_of_its_members(shop: Shop) -> None:
    address = {"zip": "1", "street": "2", "aaa": "3"}
    order = await place(shop, shipping_address=address)
    found = await orders.find(shop.db, shop.merchant_id, order.order_id)
    assert found is not None
    assert list((found.shipping_address or {}).items()) == list(address.items())


async def test_order_numbers_have_their_form_and_are_all_different(shop: Shop) -> None:
    numbers = {(await place(shop)).order_number for _ in range(20)}
    assert len(numbers) == 20
    for number in numbers:
        word, day, rest = number.split("-")
        assert (word, len(day), len(rest)) == ("ORD", 8, 8)
        assert set(rest) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


async def test_another_merchants_order_is_not_there(shop: Shop) -> None:
    order, stranger = await place(shop), await open_shop(shop.ctx)
    assert await orders.find(shop.db, stranger.merchant_id, order.order_id) is None
    assert await orders.happenings(shop.db, stranger.merchant_id, order.order_id) == []
    with pytest.raises(NotFound):
        async with shop.db.transaction("lock") as tx:
            await orders.lock(tx, stranger.merchant_id, order.order_id)


async def test_one_checkout_has_one_order(shop: Shop) -> None:
    order = await place(shop)
    with pytest.raises(asyncpg.UniqueViolationError):
        await place(shop, checkout_id=order.checkout_id)


async def test_an_order_whose_sums_are_wrong_cannot_be_written(shop: Shop) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await place(shop, lines=[Line("mouse", "Mouse", 100, 3, 299)])


async def test_every_change_is_one_line_of_the_timeline_and_one_event_under_one_number(shop: Shop) -> None:
    order = await place(shop)
    order = await move(shop, order, "paid", payment_status="paid")
    order = await move(shop, order, "processing")
    async with shop.db.transaction("note") as tx:
        order = await orders.note_tracking(tx, order, tracking_number="1Z999", carrier="DHL", note="packed")
    order = await move(shop, order, "shipped", note="gone")
    assert await timeline(shop, order) == [
        (1, "pending", "pending", True),
        (2, "paid", "paid", True),
        (3, "processing", "paid", True),
        (4, "processing", "paid", False),
        (5, "shipped", "paid", True),
    ]
    assert await shop.events(f"order:{order.order_id}") == [
        (1, "order.created"), (2, "order.paid"), (3, "order.processing"), (4, "order.updated"), (5, "order.shipped"),
    ]  # fmt: skip
    assert order.version == 5
    happened = await orders.happenings(shop.db, shop.merchant_id, order.order_id)
    assert [(each.note, each.tracking_number, each.carrier) for each in happened[3:]] == [
        ("packed", "1Z999", "DHL"),
        ("gone", "1Z999", "DHL"),
    ]


async def test_a_reader_goes_on_after_the_last_number_it_has_seen(shop: Shop) -> None:
    order = await walked(shop, "paid", "processing")
    after = await orders.happenings_after(shop.db, shop.merchant_id, order.order_id, 1)
    assert [each.sequence for each in after] == [2, 3]
    assert await orders.happenings_after(shop.db, shop.merchant_id, order.order_id, 3) == []


async def test_a_move_that_the_table_forbids_changes_nothing(shop: Shop) -> None:
    order = await walked(shop, "paid", "processing", "shipped")
    for to in ("pending", "paid", "processing", "cancelled", "shipped"):
        with pytest.raises(IllegalMove):
            await move(shop, order, to)
    assert len(await timeline(shop, order)) == 4


async def test_a_move_from_a_reading_that_is_old_is_refused(shop: Shop) -> None:
    order = await place(shop)
    await move(shop, order, "paid")
    with pytest.raises(OrderMoved):
        await move(shop, order, "cancelled")
    assert [line[1] for line in await timeline(shop, order)] == ["pending", "paid"]


async def test_of_twenty_moves_at_once_one_is_made(shop: Shop) -> None:
    order = await walked(shop, "paid", "processing")
    answers = await at_once(*(move(shop, order, ["cancelled", "shipped"][n % 2]) for n in range(20)))
    assert sum(isinstance(each, OrderMoved) for each in answers) == 19
    assert len(await timeline(shop, order)) == 4


async def test_another_merchants_reading_moves_nothing(shop: Shop) -> None:
    order, stranger = await place(shop), await open_shop(shop.ctx)
    with pytest.raises(OrderMoved):
        await move(shop, replace(order, merchant_id=stranger.merchant_id), "paid")


async def test_what_is_new_about_the_payment_is_told_and_what_is_not_is_no_event(shop: Shop) -> None:
    order = await place(shop)
    async with shop.db.transaction("note") as tx:
        order = await orders.note_payment(tx, order, "paid")
    async with shop.db.transaction("note") as tx:
        assert await orders.note_payment(tx, order, "paid") is order
    assert await timeline(shop, order) == [(1, "pending", "pending", True), (2, "pending", "paid", False)]


async def test_tracking_data_that_says_nothing_new_is_no_event(shop: Shop) -> None:
    order = await place(shop)

    async def note(tx: Tx, order: Order, **given: Any) -> Order:
        return await orders.note_tracking(tx, order, **{"tracking_number": None, "carrier": None, "note": None, **given})

    async with shop.db.transaction("note") as tx:
        assert await note(tx, order) is order
        order = await note(tx, order, tracking_number="1Z999")
        assert await note(tx, order, tracking_number="1Z999") is order
        order = await note(tx, order, note="called the buyer")
    assert order.version == 3


async def test_the_link_to_pay_stands_while_the_order_is_pending_only(shop: Shop) -> None:
    order = await place(shop, payment_method="link:stripe")
    async with shop.db.transaction("note") as tx:
        order = await orders.note_url(tx, order, "https://pay.example/1")
    assert order.version == 1, "not an event of its own"
    found = await orders.find(shop.db, shop.merchant_id, order.order_id)
    assert found is not None
    assert found.payment_url == "https://pay.example/1"
    assert (await move(shop, order, "cancelled")).payment_url is None
    async with shop.db.transaction("note") as tx:
        await orders.note_url(tx, order, "https://pay.example/2")
    found = await orders.find(shop.db, shop.merchant_id, order.order_id)
    assert found is not None
    assert found.payment_url is None


async def test_a_buyer_sees_own_orders_newest_first_page_by_page(shop: Shop) -> None:
    placed = [(await place(shop)).order_id for _ in range(5)]
    await place(shop, buyer="bob")
    seen = []
    for page in (1, 2, 3, 4):
        found = await orders.page_of_buyer(shop.db, shop.merchant_id, "shop", "ann", page, 2, None)
        assert (found.page, found.limit, found.total) == (page, 2, 5)
        seen += [order.order_id for order in found.orders]
    assert seen == placed[::-1]


async def test_a_page_shows_one_status_if_asked_and_lines_of_each_order(shop: Shop) -> None:
    paid = await walked(shop, "paid")
    await place(shop)
    found = await orders.page_of_buyer(shop.db, shop.merchant_id, "shop", "ann", 1, 20, "paid")
    assert [order.order_id for order in found.orders] == [paid.order_id]
    assert found.total == 1
    assert found.orders[0].lines == LINES


async def test_what_rolls_back_has_told_nothing(shop: Shop) -> None:
    order = await place(shop)
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("move") as tx:
            await orders.move(tx, order, "paid")
            raise ZeroDivisionError
    assert len(await timeline(shop, order)) == len(await shop.events(f"order:{order.order_id}")) == 1
