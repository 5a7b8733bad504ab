"""A cart version becomes one purchase with one link at frozen prices (section 5)."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter

import httpx2
from tests import rig

from .ambassadors import fails
from .journeys import (
    CHECKOUT,
    CLOSED,
    PAYME_ID,
    Buyer,
    Json,
    Shop,
    a_transaction,
    at_once,
    eventually,
    good,
    link_of,
    refusal,
    unavailable,
)


def rows(shop: Shop) -> int:
    """How many checkouts the shop has seen."""
    [found] = shop.server.sql("SELECT count(*) AS n FROM purchases.payments")
    n: int = found["n"]
    return n


def test_the_answer_is_a_purchase_and_its_link(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(5000000, 2500000)
    purchase = buyer.buy(one, two)
    assert list(purchase) == CHECKOUT
    assert purchase["amount"] == 7500000
    assert purchase["purchase_id"] != purchase["payment_id"]
    host, pairs = link_of(purchase["payment_url"])
    assert host == "https://test.paycom.uz"
    assert pairs == [f"m={PAYME_ID}", f"ac.order_id={purchase['purchase_id']}", "a=7500000"]
    assert shop.payme.allows(purchase)
    assert buyer.in_cart() == [one, two]  # until it is paid
    assert buyer.purchases() == {"purchases": [], "total": 0}


def test_a_body_is_ignored(shop: Shop, buyer: Buyer) -> None:
    purchase = buyer.buy(*shop.agency.hire(100))
    for body in (b"", b"{}", b"[]", b'{"amount": 1, "ambassador_id": 5, "user_id": 1}'):
        assert good(buyer.check_out(content=body), 201) == purchase


def test_nothing_can_be_bought_with_an_empty_cart(shop: Shop, buyer: Buyer) -> None:
    refusal(buyer.check_out(), 400, "cart_empty")
    buyer.cart()
    refusal(buyer.check_out(), 400, "cart_empty")
    buyer.add(*(hired := shop.agency.hire(100)))
    buyer.drop(*hired)
    refusal(buyer.check_out(), 400, "cart_empty")


def test_invalid_ambassadors_stop_it_and_nothing_is_written(shop: Shop, buyer: Buyer) -> None:
    hired = shop.agency.hire(10, 20, 30, 40)
    buyer.add(*reversed(hired))
    shop.agency.fire(hired[2], hired[0])
    before = rows(shop)
    body = refusal(buyer.check_out(), 409, "ambassadors_invalid", "invalid_ids")
    assert body["invalid_ids"] == [hired[0], hired[2]]
    assert rows(shop) == before
    for gone in (hired[0], hired[2]):
        assert buyer.drop(gone).status_code == 204  # the lines were still there
    assert good(buyer.check_out(), 201)["amount"] == 60


def test_the_same_version_again_is_the_same_answer_byte_for_byte(shop: Shop, buyer: Buyer) -> None:
    buyer.add(*shop.agency.hire(100, 200))
    before = rows(shop)
    first = buyer.check_out()
    good(first, 201)
    for _ in range(3):
        again = buyer.check_out()
        assert (again.status_code, again.content) == (201, first.content)
    assert rows(shop) == before + 1


def test_fifty_at_once_are_one_purchase(house: Shop) -> None:
    buyer = house.buyer()
    buyer.add(1, 4)
    answers = at_once(buyer, 50, "POST", "/checkout")
    assert Counter(answer.status_code for answer in answers) == {201: 50}
    assert len({answer.content for answer in answers}) == 1
    [cart] = house.server.sql("SELECT count(*) AS n FROM purchases.carts WHERE user_id::text = $1", str(buyer.user))
    assert cart["n"] == 1
    paid = good(answers[0], 201)
    assert house.payment(paid)["amount"] == 7500000
    house.payme.pay(paid)
    assert buyer.purchases()["total"] == 2


def test_thirty_buyers_at_once_do_not_mix(house: Shop) -> None:
    buyers = [house.buyer() for _ in range(30)]

    async def rush() -> list[Json]:
        limits = httpx2.Limits(max_connections=30)
        async with httpx2.AsyncClient(base_url=house.server.url, timeout=60, limits=limits, trust_env=False) as client:

            async def story(number: int, buyer: Buyer) -> Json:
                said = {"Authorization": f"Bearer {buyer.token}"}
                for ambassador in (1, 4)[number % 2 :]:
                    added = await client.post("/cart/items", json={"ambassador_id": ambassador}, headers=said)
                    assert added.status_code == 201, added.text
                return good(await client.post("/checkout", headers=said), 201)

            return list(await asyncio.gather(*(story(*one) for one in enumerate(buyers))))

    bought = rig.run_alone(rush)
    assert [purchase["amount"] for purchase in bought] == [7500000, 2500000] * 15
    assert len({purchase["purchase_id"] for purchase in bought}) == 30
    house.payme.pay(bought[0])
    assert [buyer.owns() for buyer in buyers] == [[1, 4]] + [[]] * 29


def test_prices_are_frozen_at_checkout(shop: Shop, buyer: Buyer) -> None:
    ambassador, other = shop.agency.hire(100, 10)
    purchase = buyer.buy(ambassador)
    shop.agency.prices[ambassador] = 250
    assert good(buyer.check_out(), 201) == purchase  # the first commit wins, also over its price
    assert eventually(lambda: buyer.cart()["total"] == 250, within=7)
    assert shop.payme.why_not({**purchase, "amount": 250}) == -31001
    assert shop.payme.allows(purchase)
    buyer.add(other)
    newer = good(buyer.check_out(), 201)
    assert newer["amount"] == 260
    shop.payme.pay(newer)
    assert {row["ambassador_id"]: row["price_paid"] for row in buyer.purchases()["purchases"]} == {ambassador: 250, other: 10}


def test_a_paid_price_is_the_frozen_one(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    purchase = buyer.buy(ambassador)
    transaction = shop.payme.create(purchase)
    shop.agency.prices[ambassador] = 999
    shop.payme.perform(transaction)
    assert [row["price_paid"] for row in buyer.purchases()["purchases"]] == [100]


def test_a_changed_cart_gets_a_new_purchase_and_the_older_is_cancelled(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    older = buyer.buy(one)
    newer = buyer.buy(two)
    assert newer["amount"] == 120
    assert not {older["purchase_id"], older["payment_id"]} & {newer["purchase_id"], newer["payment_id"]}
    assert shop.is_over(older)
    assert shop.payme.error("CreateTransaction", id=a_transaction(), time=shop.payme.clock(), **shop.payme.order(older)) == CLOSED
    assert shop.payme.allows(newer)
    assert buyer.drop(two).status_code == 204
    third = good(buyer.check_out(), 201)
    assert third["amount"] == 100
    assert third["purchase_id"] != older["purchase_id"]  # the same lines, but another version
    assert shop.is_over(newer)


def test_a_changed_cart_alone_touches_no_purchase(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    purchase = buyer.buy(one)
    buyer.add(two)
    assert shop.payme.allows(purchase)
    buyer.drop(one)
    assert shop.payme.allows(purchase)
    shop.payme.pay(purchase)
    assert buyer.owns() == [one]
    assert buyer.in_cart() == [two]


def test_a_held_purchase_outlives_a_newer_checkout(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    held = buyer.buy(one)
    transaction = shop.payme.create(held)
    newer = buyer.buy(two)
    assert newer["purchase_id"] != held["purchase_id"]
    assert shop.payme.state(transaction) == 1
    shop.payme.perform(transaction)
    assert buyer.owns() == [one]


def test_a_repeat_is_validated_too(shop: Shop, buyer: Buyer) -> None:
    stays, leaves = shop.agency.hire(100, 20)
    purchase = buyer.buy(stays, leaves)
    shop.agency.fire(leaves)
    body = refusal(buyer.check_out(), 409, "ambassadors_invalid", "invalid_ids")
    assert body["invalid_ids"] == [leaves]
    assert shop.is_over(purchase)
    assert buyer.drop(leaves).status_code == 204
    assert good(buyer.check_out(), 201)["amount"] == 100


def test_after_a_refused_repeat_the_same_lines_get_a_new_purchase(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    purchase = buyer.buy(ambassador)
    shop.agency.fire(ambassador)
    refusal(buyer.check_out(), 409, "ambassadors_invalid", "invalid_ids")
    shop.agency.prices[ambassador] = 150  # hired again, dearer
    newer = good(buyer.check_out(), 201)
    assert newer["amount"] == 150
    assert newer["purchase_id"] != purchase["purchase_id"]
    assert shop.payme.allows(newer)
    assert shop.is_over(purchase)


def test_a_repeat_of_a_held_purchase_is_answered_as_before(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    buyer.add(ambassador)
    first = buyer.check_out()
    purchase = good(first, 201)
    transaction = shop.payme.create(purchase)
    shop.agency.fire(ambassador)
    again = buyer.check_out()
    assert (again.status_code, again.content) == (201, first.content)
    shop.payme.perform(transaction)
    assert buyer.owns() == [ambassador]


def test_while_the_service_is_away_only_a_known_version_is_answered(shop: Shop, buyer: Buyer) -> None:
    known, new = shop.agency.hire(100, 20)
    buyer.add(known)
    first = buyer.check_out()
    good(first, 201)
    before = rows(shop)
    shop.agency.will(fails(), fails())
    again = buyer.check_out()
    assert (again.status_code, again.content) == (201, first.content)
    shop.agency.will()
    buyer.add(new)
    shop.agency.will(fails())
    unavailable(buyer.check_out())
    shop.agency.will()
    assert rows(shop) == before
    assert shop.payme.allows(good(first, 201))  # nothing was written: the older one was not cancelled
    assert good(buyer.check_out(), 201)["amount"] == 120


def test_a_checkout_that_races_with_a_change_is_one_of_the_two(shop: Shop) -> None:
    """Whatever wins, at the end one purchase of the latest version can be paid, and for what the cart holds."""
    one, two = shop.agency.hire(100, 20)

    async def race(buyer: Buyer) -> list[httpx2.Response]:
        said = {"Authorization": f"Bearer {buyer.token}"}
        async with httpx2.AsyncClient(base_url=shop.server.url, headers=said, timeout=60, trust_env=False) as client:
            acts = [client.post("/checkout"), client.post("/cart/items", json={"ambassador_id": two}), client.post("/checkout")]
            return list(await asyncio.gather(*acts))

    for _ in range(5):
        buyer = shop.buyer()
        buyer.add(one)
        answers = rig.run_alone(functools.partial(race, buyer))
        assert [answer.status_code for answer in answers] == [201, 201, 201]
        last = good(buyer.check_out(), 201)
        assert last["amount"] == 120
        payable = [
            purchase
            for purchase in {a.json()["purchase_id"]: a.json() for a in (answers[0], answers[2])}.values()
            if purchase["purchase_id"] != last["purchase_id"] and shop.payme.allows(purchase)
        ]
        assert payable == []
        assert shop.payme.allows(last)
