"""After a day on which everything happened: each event fits its published schema, and none carries what people said of themselves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio
from tests.factories import CARD, Till, open_till, render_order, settle, world
from tests.rig import DatabaseServer
from tests.store.verify.street import Street

from kassa import checkout, collect, webhooks
from kassa.checkout.wishes import CartWish, ItemAsked, ItemsWish, MoveWish, Placed
from kassa.events import FanOut, Recorded, record
from kassa.events.catalogue import TYPES
from kassa.events.schemas import PAYMENT_BODY, schema_of
from kassa.kit.database import Database
from kassa.kit.money import Money
from kassa.notices import NOTICE_WRITTEN
from kassa.payments import Verdict
from kassa.payments.model import CardTrace
from kassa.webhooks import DELIVERY_MADE, Wish
from kassa.webhooks.delivery.note import disabling

HOME = {"street": "Canary Street", "city": "Canaryville", "zip_code": "CANARY-1"}
MAIL = "canary@example.com"
WORDS = (
    "canary",
    CARD.number,
    CARD.number[:6],
    "Rua das Flores",
    "São Paulo",
    "guest@example.com",
    "@",
    "whsec_",
    "https://",
    "sk_",
)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def busy(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """A street of shops in which everything has happened, and one more shop whose buyers say a lot."""
    db = await Database.connect(database_server.fresh(), size=8)
    db.ports[FanOut] = FanOut((NOTICE_WRITTEN, DELIVERY_MADE))
    street = Street(db)
    await street.play()
    street.links.begins, street.links.refunds, street.cards.begins, street.cards.asks = [], [], [], []
    till = await open_till(world(db, providers=[street.cards, street.links]), tokens=3, mouse=100, lamp=50)
    await talk(till)
    await ask(till)
    await tell(till)
    await till.rest()
    yield db
    await db.close()


async def talk(till: Till) -> None:
    """Buyers and staff who say who and where they are."""
    ctx, channel = till.ctx, till.shop.channel
    await checkout.buy_items(ctx, ItemsWish(channel, None, MAIL, HOME, [ItemAsked("mouse", 1)], CARD))
    await till.shop.add("9", "lamp", 2)
    wish = CartWish(channel, "9", MAIL, HOME, "link:stripe", CardTrace(last4="1111"), (b"asked",))
    placed = await checkout.order_from_cart(ctx, wish, render_order)
    assert isinstance(placed, Placed)
    order_id, payment_id = placed.order.order_id, placed.order.payment_id
    await till.rest()
    await till.report(payment_id)
    for to in ("processing", "shipped", "shipped"):
        move = MoveWish(till.merchant_id, order_id, to, by_staff=True, note="canary note", tracking_number=f"T-{to}", carrier="C")
        await checkout.move_order(ctx, move, render_order)
    move = MoveWish(till.merchant_id, order_id, "shipped", by_staff=True, tracking_number="T-9", carrier="C")
    await checkout.move_order(ctx, move, render_order)
    await till.given_back(await till.payment(payment_id), lines=[collect.LineAsked("lamp", 1, restock=True)])
    await till.given_back(await till.payment(payment_id))


async def ask(till: Till) -> None:
    """A merchant who spends all tokens, a caller with words of its own, and a provider that takes money back."""
    for number in range(3):
        await till.paid(f"M-{number}")
    made = collect.KeyedWish(till.merchant_id, Money(700, "USD"), "o", "a-key-of-a-service", {"who": "canary"})
    await collect.request_by_key(till.ctx, made)
    await settle(till.shop, (await till.payments("M-0"))[0], Verdict("reversed"))


async def tell(till: Till) -> None:
    """An endpoint that asks for a test and is gone soon after."""
    async with till.db.transaction("endpoint") as tx:
        wish = Wish("https://canary.example/hook?token=canary", ("*",), description="canary")
        endpoint, _ = await webhooks.add_endpoint(tx, till.ctx.keys, till.merchant_id, wish)
    await webhooks.send_test(till.ctx, till.merchant_id, endpoint.endpoint_id)
    async with till.db.transaction("gone") as tx:
        record(tx, disabling(till.merchant_id, endpoint.endpoint_id, "gone"))


async def recorded(db: Database) -> list[Recorded]:
    rows = await db.rows(
        """
        SELECT merchant_id, event_id, subject, sequence, type, version, occurred_at, data::text AS data FROM events
         ORDER BY merchant_id, subject, sequence
        """
    )
    return [Recorded(**dict(row.items())) for row in rows]


def closed(schema: Any) -> Any:
    """The same schema without room for members that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return {**inner, "additionalProperties": False} if schema.get("type") == "object" and "properties" in schema else inner


async def test_everything_has_happened(busy: Database) -> None:
    assert {event.type for event in await recorded(busy)} == set(TYPES)


@pytest.mark.parametrize("event_type", TYPES)
async def test_each_event_fits_its_schema_and_has_no_member_beside(busy: Database, event_type: str) -> None:
    judge = jsonschema_rs.Draft202012Validator(closed(schema_of(event_type)), validate_formats=True)
    found = [event for event in await recorded(busy) if event.type == event_type]
    assert found
    for event in found:
        envelope = json.loads(event.envelope())
        assert [str(error) for error in judge.iter_errors(envelope)] == [], envelope
        assert len(event.envelope()) <= 20_480


async def test_each_payment_fits_the_older_body_too(busy: Database) -> None:
    judge = jsonschema_rs.Draft202012Validator(closed(PAYMENT_BODY), validate_formats=True)
    for event in await recorded(busy):
        if event.type.startswith("payment."):
            body = json.loads(event.payment())
            assert [str(error) for error in judge.iter_errors(body)] == [], body
            assert list(body) == list(PAYMENT_BODY["properties"])


async def test_no_event_carries_what_people_said_of_themselves(busy: Database) -> None:
    kept = await busy.value("SELECT count(*) FROM orders WHERE shipping_address::text LIKE '%Canary%'")
    assert kept == 2, "the canaries were let in"
    for event in await recorded(busy):
        text = event.envelope().decode()
        assert [word for word in WORDS if word.lower() in text.lower()] == [], text


async def test_a_refunds_event_is_the_refund_as_its_merchant_reads_it(busy: Database) -> None:
    told = [json.loads(event.data)["refund"] for event in await recorded(busy) if event.type == "refund.succeeded"]
    with_lines = [refund for refund in told if refund["lines"]]
    assert {"line_id": "lamp", "quantity": 1, "restock": True} in [line for refund in with_lines for line in refund["lines"]]
    last = with_lines[-1]
    assert set(last) == {
        "refund_id", "payment_id", "amount", "currency", "reason", "lines", "status", "created_at", "refunded", "refundable",
    }  # fmt: skip
