"""Search by anything: each thing is found by what people have of it, and nothing of another merchant ever is."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.factories import CARD, Till

from kassa import desk
from kassa.audit import Hand
from kassa.checkout import forget
from kassa.checkout.wishes import Bought
from kassa.desk.model import Found
from kassa.desk.question import read_question
from kassa.kit import clock
from kassa.kit.reseal import reseal
from kassa.kit.secrets import Keys
from kassa.notices.address import RECIPIENTS
from kassa.orders import Order


async def find(till: Till, typed: str, *, keys: Keys | None = None) -> Found:
    now = await clock.now(till.db)
    return await desk.find(till.db, keys or till.ctx.keys, till.merchant_id, read_question(typed, now.date()), now)


async def hits(till: Till, typed: str) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in (await find(till, typed)).hits}


async def bought(till: Till) -> Order:
    made = await till.shop.buy({"mouse": 2}, card=CARD)
    assert isinstance(made, Bought)
    found = await till.shop.checkout_of(made.view.checkout_id)
    return await till.shop.order_of(found.order_id)


async def test_an_order_and_its_payment_are_found_by_what_is_known_of_them(till: Till, other: Till) -> None:
    order = await bought(till)
    payment = await till.payment(order.payment_id)
    the_order, the_payment = ("order", str(order.order_id)), ("payment", str(order.payment_id))
    wanted = {
        str(order.order_id): the_order,
        str(order.order_id).upper(): the_order,
        order.order_number: the_order,
        order.order_number.lower(): the_order,
        str(order.payment_id): the_payment,
        payment.provider_key: ("checkout", str(order.checkout_id)),
        payment.provider_ref or "": the_payment,
        "guest@example.com": the_order,
        " Guest@Example.com ": the_order,
        "1111": the_payment,
        "1111 today": the_payment,
        "199.80": the_payment,
        "199.8 INR today": the_payment,
    }
    for typed, hit in wanted.items():
        assert hit in await hits(till, typed), typed
        assert await hits(other, typed) == set(), f"{typed} is another merchant's"


@pytest.mark.parametrize(
    "typed", ["1111 yesterday", "199.80 yesterday", "199.80 USD", "199.81", "1112", "nobody@example.com", "ORD-20261121-XXXXXXXX"]
)
async def test_what_does_not_fit_is_not_found(till: Till, typed: str) -> None:
    await bought(till)
    found = await find(till, typed)
    assert found.hits == []
    assert found.looked_for, "it says what it looked for"


async def test_merchants_references_refunds_deliveries_and_buyers(till: Till, other: Till) -> None:
    payment = await till.paid("Invoice 77/b")
    refund = await till.given_back(payment, 1_000)
    order = await till.shop.order("buyer-9", {"lamp": 1})
    for typed, hit in {
        "Invoice 77/b": ("payment", str(payment.payment_id)),
        str(refund.refund_id): ("payment", str(refund.refund_id)),
        refund.provider_key: ("payment", str(payment.payment_id)),
        "buyer-9": ("order", str(order.order_id)),
    }.items():
        found = await hits(till, typed)
        assert hit in found or ("payment", str(payment.payment_id)) in found, typed
        assert await hits(other, typed) == set(), typed


async def test_a_registered_buyer_is_found_by_the_address_that_only_its_key_can_tell(till: Till) -> None:
    order = await bought(till)
    [row] = await till.db.rows("SELECT sealed, email_key FROM notice_recipients WHERE order_id = $1", order.order_id)
    assert b"guest" not in bytes(row["email_key"])
    await till.db.execute("UPDATE checkouts SET customer_email = NULL WHERE order_id = $1", order.order_id)
    assert ("order", str(order.order_id)) in await hits(till, "GUEST@example.com")
    other_secret = Keys(b"another secret of thirty-two byte")
    assert (await find(till, "guest@example.com", keys=other_secret)).hits == []
    rotated = Keys(b"another secret of thirty-two byte", b"a secret of thirty-two bytes, ok")
    assert [each.name for each in (await find(till, "guest@example.com", keys=rotated)).hits] == [str(order.order_id)]


async def test_after_a_rotation_the_address_is_found_under_the_new_secret_alone(till: Till) -> None:
    order = await bought(till)
    await till.db.execute("UPDATE checkouts SET customer_email = NULL WHERE order_id = $1", order.order_id)
    new = b"a new secret of thirty-two bytes!"
    rotating = Keys(new, b"a secret of thirty-two bytes, ok")
    await reseal(replace(till.ctx, keys=rotating), RECIPIENTS)
    assert [each.name for each in (await find(till, "guest@example.com", keys=Keys(new))).hits] == [str(order.order_id)]


async def test_whoever_was_forgotten_is_not_found_by_the_address(till: Till) -> None:
    order = await bought(till)
    await till.db.execute("UPDATE orders SET status = 'delivered' WHERE order_id = $1", order.order_id)
    done = await forget.forget_buyer(till.ctx, till.merchant_id, forget.Person(email="guest@example.com"), Hand(till.ctx.keys))
    assert done.in_the_way == ()
    assert await hits(till, "guest@example.com") == set()
    assert await till.db.value("SELECT email_key FROM notice_recipients WHERE order_id = $1", order.order_id) is None


async def test_an_old_reference_is_found_with_its_day(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await bought(till)
    ref = (await till.payment(order.payment_id)).provider_ref or ""
    day = (await clock.now(till.db) - timedelta(days=60)).date()
    await till.db.execute(
        "UPDATE payments SET created_at = created_at - interval '60 days' WHERE payment_id = $1", order.payment_id
    )
    assert ("payment", str(order.payment_id)) in await hits(till, f"{ref} {day.isoformat()}")
    assert await hits(till, f"{ref} today") == set()
    monkeypatch.setattr("kassa.desk.search._NEWEST", 0)
    assert await hits(till, ref) == set(), "among the newest payments it is not"


async def test_odd_words_are_words(till: Till) -> None:
    for typed in ("' OR 1=1 --", "%", "a'b\"c", "😀", "..", "null", str(uuid.UUID(int=0)), "9" * 18, "0", "-1"):
        assert (await find(till, typed)).hits == [], typed
