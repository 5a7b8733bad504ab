"""The story of an order or a payment: everything that belongs together, in one order, whichever id one has."""

from __future__ import annotations

import uuid

import pytest
from tests.factories import ScriptedCards, ScriptedNeighbour, Till, open_shop, world

from kassa import checkout, collect, orders, timeline, webhooks
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules, saga
from kassa.checkout.wishes import MoveWish
from kassa.events import events_of
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.orders import Order
from kassa.timeline import Entry, StoryMissing
from kassa.webhooks import Endpoint, Wish


async def story(till: Till, wanted: uuid.UUID) -> list[Entry]:
    """All entries, after a look at their numbers and times."""
    found = await timeline.read_story(till.db, till.merchant_id, wanted)
    assert [entry.number for entry in found.entries] == list(range(1, len(found.entries) + 1))
    times = [entry.at for entry in found.entries]
    assert times == sorted(times)
    return list(found.entries)


async def endpoint(till: Till, *events: str) -> Endpoint:
    async with till.db.transaction("endpoint") as tx:
        wish = Wish("https://shop.example/hook?token=in-the-query", tuple(events) or ("*",))
        made, _ = await webhooks.add_endpoint(tx, till.ctx.keys, till.merchant_id, wish)
    return made


async def shipped(till: Till) -> Order:
    """An order that was paid by a link and sent off; then its parcel got another number."""
    order = await till.shop.order("7", {"mouse": 2}, method="link:stripe")
    await till.report(order.payment_id)
    await till.rest()
    order = await till.shop.move(await till.shop.order_of(order.order_id), "processing", note="call +55 11 5555 before you come")
    for number in ("TRACK-1", "TRACK-2"):
        wish = MoveWish(till.merchant_id, order.order_id, "shipped", by_staff=True, tracking_number=number, carrier="Correios")
        await checkout.move_order(till.ctx, wish, lambda _: (200, b""))
    await till.rest()
    return await till.shop.order_of(order.order_id)


async def test_an_orders_story_is_told_from_its_beginning_to_the_parcel(till: Till) -> None:
    order = await shipped(till)
    lines = await story(till, order.order_id)
    titles = [entry.title for entry in lines if entry.kind != "notice"]
    assert titles == [
        "The purchase began",
        "Stock: done",
        "Payment: done",
        f"Order {order.order_number} was placed",
        "199.80 INR was asked for",
        "The buyer can pay at the provider",
        "Order: done",
        "The purchase ended with an order",
        "The order is paid",
        "199.80 INR was paid",
        "The order is being made ready",
        "The order is on its way",
        "The order's tracking data changed",
    ]
    assert lines[-1].details | {"type": ""} == {
        "type": "", "order_number": order.order_number, "status": "shipped", "payment_status": "paid", "total": "199.80",
        "currency": "INR", "tracking_number": "TRACK-2", "carrier": "Correios",
    }  # fmt: skip
    assert (lines[-1].subject, lines[-1].sequence) == (f"order:{order.order_id}", 5)


async def test_every_id_of_a_family_leads_to_the_same_story(till: Till) -> None:
    order = await shipped(till)
    told = await story(till, order.order_id)
    assert await story(till, order.payment_id) == told
    assert await story(till, order.checkout_id) == told
    found = await timeline.read_story(till.db, till.merchant_id, order.payment_id)
    assert (found.order_id, found.checkout_id, list(found.payment_ids)) == (order.order_id, order.checkout_id, [order.payment_id])
    for wanted in (order.order_id, order.payment_id, order.checkout_id):
        assert await timeline.whose(till.db, wanted) == till.merchant_id


async def test_what_is_told_keeps_its_number_when_more_happens(till: Till) -> None:
    order = await till.shop.order("7", {"mouse": 1}, method="link:stripe")
    before = await story(till, order.order_id)
    await till.report(order.payment_id)
    await till.rest()
    after = await story(till, order.order_id)
    assert [(entry.number, entry.subject, entry.sequence, entry.kind) for entry in after[: len(before)]] == [
        (entry.number, entry.subject, entry.sequence, entry.kind) for entry in before
    ]
    assert len(after) > len(before)


async def test_a_delivery_stands_behind_its_event_and_says_how_far_it_is(till: Till) -> None:
    first, second = await endpoint(till), await endpoint(till, "payment.paid")
    payment = await till.paid("A-1")
    await till.db.execute(
        """
        UPDATE deliveries SET status = 'retrying', attempts = 3, tries = 3, last_status_code = 500, last_error = 'status',
               next_at = kassa_now() + interval '1 hour'
         WHERE merchant_id = $1 AND endpoint_id = $2
        """,
        till.merchant_id, second.endpoint_id,
    )  # fmt: skip
    lines = await story(till, payment.payment_id)
    assert [(entry.kind, entry.title) for entry in lines] == [
        ("payment", "100.00 INR was asked for"),
        ("delivery", "payment.created is to be sent to the merchant"),
        ("payment", "The buyer can pay at the provider"),
        ("delivery", "payment.waiting waits for its turn at the merchant"),
        ("payment", "100.00 INR was paid"),
        ("delivery", "payment.paid waits for its turn at the merchant"),
        ("delivery", "payment.paid was not taken by the merchant; it is sent again"),
    ]
    to_second = lines[-1].details
    assert to_second["endpoint_id"] == str(second.endpoint_id)
    assert (to_second["status"], to_second["attempts_made"], to_second["last_error"]) == ("retrying", 3, "status")
    assert lines[-2].details["endpoint_id"] == str(first.endpoint_id)
    assert lines[-1].sequence == lines[-3].sequence == 3
    assert "in-the-query" not in str(lines)
    told = await timeline.tellings_of(till.db, till.merchant_id, payment.payment_id)
    assert [each.event_type for each in told] == ["payment.created", "payment.waiting", "payment.paid", "payment.paid"]
    assert sorted(each.status for each in told) == ["blocked", "blocked", "pending", "retrying"]


async def test_refunds_are_lines_of_their_own(till: Till) -> None:
    payment = await till.paid("A-1")
    till.links.refunds = ["failed", "succeeded"]
    for _ in range(2):
        await till.given_back(payment, 2_500, reason="Ana Souza broke it")
    lines = [entry for entry in await story(till, payment.payment_id) if entry.kind == "refund"]
    assert [entry.title for entry in lines] == [
        "25.00 INR is to be given back",
        "25.00 INR could not be given back",
        "25.00 INR is to be given back",
        "25.00 INR was given back",
    ]
    assert lines[-1].details["refunded"] == "25.00"
    assert "Ana" not in str(lines)


async def test_a_link_that_was_refused_and_money_that_came_after_all(till: Till) -> None:
    till.links.begins = ["refused"]
    with pytest.raises(collect.ProviderLinkFailed):
        await till.request("C-1")
    [payment] = await till.payments("C-1")
    assert await till.told(payment) == ["payment.created", "payment.declined"]
    await till.report(payment)
    lines = await story(till, payment.payment_id)
    assert [entry.title for entry in lines] == ["100.00 INR was asked for", "The payment was declined", "100.00 INR was paid"]
    assert lines[1].details["reason"] == "provider_link_failed"


async def test_a_whole_refund_that_fails_leaves_the_payment_paid(till: Till) -> None:
    payment = await till.paid("A-1")
    till.links.refunds = ["failed"]
    await till.given_back(payment)
    *_, begun, failed = await events_of(till.db, till.merchant_id, f"payment:{payment.payment_id}")
    assert (begun.type, begun.data["state"], begun.data["status"]) == ("refund.created", "refunding", 6)
    assert (failed.type, failed.data["state"], failed.data["status"]) == ("refund.failed", "paid", 2)
    assert (begun.data["refund"]["refundable"], failed.data["refund"]["refundable"]) == ("0.00", "100.00")
    assert failed.data["refund"]["status"] == "failed"


async def test_the_payments_of_one_reference_are_told_together(till: Till) -> None:
    old = await till.requested("B-7")
    await till.report(old, "failed")
    new = await till.requested("B-7")
    await till.report(old)
    lines = await story(till, new.payment_id)
    assert {entry.subject for entry in lines} == {f"payment:{old.payment_id}", f"payment:{new.payment_id}"}
    assert await story(till, old.payment_id) == lines
    cancelled = next(entry for entry in lines if entry.title == "The payment was cancelled")
    assert (cancelled.subject, cancelled.details["reason"]) == (f"payment:{new.payment_id}", "superseded")
    other = await till.requested("B-8")
    assert {entry.subject for entry in await story(till, other.payment_id)} == {f"payment:{other.payment_id}"}


async def test_what_was_undone_is_told_with_each_act(till: Till, market: Database) -> None:
    inventory, service = ScriptedNeighbour(), ScriptedNeighbour({"order_service": ["no"]})
    rules = Rules(payment_service=True, inventory_service=True, order_service=True)
    near = Neighbours(inventory, service, None)  # type: ignore[arg-type]
    ctx = world(market, providers=[ScriptedCards()], neighbours=near, rules=rules, source=OwnSource(counted=False))
    shop = await open_shop(ctx, mouse=5)
    held = await shop.begin({"mouse": 1})
    await saga.drive(ctx, held)
    found = await timeline.read_story(market, shop.merchant_id, held.checkout.checkout_id)
    steps = {entry.details["step"]: (entry.title, entry.details["status"]) for entry in found.entries if entry.kind == "step"}
    assert steps == {
        "payment": ("Payment: undone", "undone"),
        "inventory": ("Inventory service: undone", "undone"),
        "order_service": ("Order service: refused", "refused"),
    }
    assert found.entries[0].title == "The purchase began"
    assert "The purchase ended with nothing owed" in [entry.title for entry in found.entries]


async def test_what_the_buyer_is_told_belongs_to_the_story(till: Till) -> None:
    order = await shipped(till)
    notices = [entry for entry in await story(till, order.order_id) if entry.kind == "notice"]
    assert [(entry.details["type"], entry.sequence) for entry in notices] == [
        ("order_confirmation", 1), ("payment_confirmation", 2), ("status_update", 3), ("status_update", 4),
    ]  # fmt: skip
    assert notices[0].title == "Order confirmation is to be sent to the buyer"


async def test_a_purchase_that_was_refused_at_once_has_a_story_without_an_order(till: Till) -> None:
    await till.shop.buy({"mouse": 999})
    checkout_id = await till.db.value(
        "SELECT checkout_id FROM checkouts WHERE merchant_id = $1 ORDER BY created_at DESC LIMIT 1", till.merchant_id
    )
    found = await timeline.read_story(till.db, till.merchant_id, checkout_id)
    assert (found.order_id, list(found.payment_ids)) == (None, [])


async def test_strangers_find_nothing(till: Till, market: Database) -> None:
    order, payment = await shipped(till), await till.paid("A-1")
    stranger = await open_shop(till.ctx, mouse=1)
    for wanted in (order.order_id, order.payment_id, order.checkout_id, payment.payment_id, new_id()):
        with pytest.raises(StoryMissing):
            await timeline.read_story(market, stranger.merchant_id, wanted)
    assert await timeline.whose(market, new_id()) is None


async def test_no_story_repeats_peoples_words(till: Till) -> None:
    order = await shipped(till)
    told = str(await story(till, order.order_id))
    for canary in ("Rua das Flores", "São Paulo", "5555", "Mouse", "'7'"):
        assert canary not in told, canary
    assert len(await orders.happenings(till.db, till.merchant_id, order.order_id)) == 5
