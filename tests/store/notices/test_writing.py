"""Which events call for a message, and who is noted to be told: in the statement of the event, and so that no thief can read it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.factories import SECRET, open_shop, open_world

from kassa.events import FanOut
from kassa.kit.secrets import Keys
from kassa.notices import NOTICE_WRITTEN, Contact, send_due

from .telling import ASHA, Talk

CREATED, PAID, PROCESSING = "order.created", "order.paid", "order.processing"


async def test_each_step_of_an_order_is_one_message(talk: Talk) -> None:
    order = await talk.order()
    for status in ("processing", "shipped", "delivered"):
        order = await talk.shop.move(order, status)
    assert [(row["event_type"], row["type"]) for row in await talk.notices(order)] == [
        ("order.created", "order_confirmation"),
        ("order.paid", "payment_confirmation"),
        ("order.processing", "status_update"),
        ("order.shipped", "status_update"),
        ("order.delivered", "status_update"),
    ]


async def test_cash_is_confirmed_and_prepared(talk: Talk) -> None:
    order = await talk.order(method="cash_on_delivery")
    assert [name for name, _ in await talk.shown(order)] == [CREATED, PROCESSING]


async def test_a_cancelled_order_and_its_money_are_two_messages(talk: Talk) -> None:
    order = await talk.shop.move(await talk.order(), "cancelled")
    last = (await talk.notices(order))[2:]
    assert sorted((row["event_type"], row["amount"]) for row in last) == [
        ("order.cancelled", None),
        ("payment.refunded", "99.90"),
    ]


async def test_a_part_that_is_given_back_is_a_message_and_the_rest_is_one(talk: Talk) -> None:
    order = await talk.order()
    payment = await talk.shop.payment_of(order.payment_id)
    await talk.till.given_back(payment, 4000)
    await talk.till.given_back(payment)
    told = [(row["event_type"], row["amount"]) for row in await talk.notices(order)]
    assert told[2:] == [("refund.succeeded", "40.00"), ("payment.refunded", "99.90")]


async def test_money_of_a_merchants_own_orders_is_not_ours_to_tell_of(talk: Talk) -> None:
    ours = await talk.order()
    before = await talk.notices()
    for reference in ("A-1", "not a uuid", str(ours.order_id), str(ours.payment_id)):
        payment = await talk.till.paid(reference)
        await talk.till.given_back(payment, 100)
        await talk.till.given_back(payment)
    assert await talk.notices() == before


async def test_writing_messages_costs_no_statement(talk: Talk) -> None:
    async def statements() -> int:
        before = talk.db.statements
        await talk.order()
        await talk.buy("guest@example.com")
        return talk.db.statements - before

    await statements()
    with_messages = await statements()
    parts = talk.db.ports.pop(FanOut)
    try:
        assert await statements() == with_messages
    finally:
        talk.db.ports[FanOut] = parts


async def test_where_nobody_is_told_nothing_is_kept_of_a_buyer(kassa_dsn: str) -> None:
    async with open_world(kassa_dsn, size=4) as ctx:
        shop = await open_shop(ctx, mouse=10)
        await shop.order("7", {"mouse": 1})
        assert await shop.db.value("SELECT count(*) FROM notice_recipients WHERE merchant_id = $1", shop.merchant_id) == 0
        assert await shop.db.value("SELECT count(*) FROM notices WHERE merchant_id = $1", shop.merchant_id) == 0


async def test_a_buyer_is_told_where_the_token_says_and_a_guest_where_the_form_says(talk: Talk) -> None:
    bought = [
        await talk.order(),
        await talk.buy("guest@example.com"),
        await talk.buy("other@example.com", buyer_id="7", name="Asha"),
    ]
    await talk.send()
    found = {notice.order_id: contact for notice, contact in talk.way.told}
    assert [found[order.order_id] for order in bought] == [
        ASHA,
        Contact(None, "guest@example.com", None),
        Contact("7", "other@example.com", "Asha"),
    ]


async def test_a_buyer_is_written_to_in_the_language_of_the_order(talk: Talk) -> None:
    russian, uzbek = replace(ASHA, language="ru"), Contact(None, "guest@example.com", None, language="uz")
    spoken = {(await talk.order(russian)).order_id: "ru", (await talk.buy("guest@example.com", language="uz")).order_id: "uz"}
    spoken[(await talk.order()).order_id] = "en"
    await talk.send()
    assert {notice.order_id: contact.language for notice, contact in talk.way.told} == spoken
    assert russian in [contact for _, contact in talk.way.told]
    assert uzbek in [contact for _, contact in talk.way.told]


@pytest.mark.parametrize("language", ["xx", "", "../ru"])
async def test_a_language_that_nobody_writes_is_english(talk: Talk, language: str) -> None:
    await talk.order(replace(ASHA, language=language))
    await talk.send()
    assert {contact.language for _, contact in talk.way.told} == {"en"}


async def test_who_was_placed_before_languages_were_noted_is_written_to_in_english(talk: Talk) -> None:
    await talk.order(replace(ASHA, language="ru"))
    await talk.db.execute("UPDATE notice_recipients SET language = DEFAULT")
    await talk.send()
    assert [contact for _, contact in talk.way.told] == [ASHA, ASHA]


@pytest.mark.parametrize("email", ["asha@example.com\r\nBcc: all@example.com", "a@b@c", None])
async def test_an_address_that_is_none_is_not_kept(talk: Talk, email: str | None) -> None:
    await talk.order(Contact("7", email, "Asha"))
    await talk.send()
    assert {contact for _, contact in talk.way.told} == {Contact("7", None, "Asha")}


async def test_no_address_stands_readable_in_any_row(talk: Talk) -> None:
    await talk.order()
    await talk.send()
    for table in ("notices", "notice_recipients", "events", "orders", "cases"):
        rows = await talk.db.rows(f"SELECT t::text AS row FROM {table} t")
        assert not any("asha" in row["row"].lower() for row in rows), table
    [row] = await talk.db.rows("SELECT sealed FROM notice_recipients")
    assert b"asha" not in bytes(row["sealed"]).lower()


async def test_a_sealed_address_belongs_to_its_order_alone(talk: Talk) -> None:
    await talk.order()
    await talk.order(Contact("8", "bob@example.com", "Bob"))
    await talk.db.execute(
        "UPDATE notice_recipients SET sealed = (SELECT sealed FROM notice_recipients WHERE buyer_id = '8') WHERE buyer_id = '7'"
    )
    await talk.send()
    assert {contact for _, contact in talk.way.told if contact.buyer_id == "7"} == {Contact("7", locked=True)}


async def test_a_new_secret_opens_what_the_old_one_sealed(talk: Talk) -> None:
    await talk.order()
    await send_due(replace(talk.ctx, keys=Keys(b"another secret of 32 bytes or so", SECRET)))
    assert [contact for _, contact in talk.way.told] == [ASHA]


def test_what_is_written_needs_no_parameter_but_the_merchant() -> None:
    assert set(re.findall(r"\$\d+", NOTICE_WRITTEN)) <= {"$1"}
