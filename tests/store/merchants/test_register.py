"""Merchants are taken in once; a house that so far only had a shop gets its address."""

from __future__ import annotations

from tests.factories import Shop, at_once

from kassa import merchants
from kassa.kit.ids import new_id
from kassa.merchants import Plan


async def add(shop: Shop, merchant_id: str, email: str | None, currency: str = "EUR") -> bool:
    async with shop.db.transaction("merchants") as tx:
        return await merchants.add_merchant(tx, merchant_id, "A merchant", email, currency)


async def test_a_merchant_is_added_once_however_often_and_by_however_many(shop: Shop) -> None:
    merchant_id = new_id().hex
    answers = await at_once(*(add(shop, merchant_id, f"{n}@example.com") for n in range(10)))
    assert sorted(answers) == [False] * 9 + [True]
    found = await merchants.find(shop.db, merchant_id)
    assert found is not None
    assert (found.name, found.currency) == ("A merchant", "EUR")
    assert not await add(shop, merchant_id, "later@example.com", "USD")
    assert await merchants.find(shop.db, merchant_id) == found


async def test_a_house_with_a_shop_gets_its_address_and_currency_once(shop: Shop) -> None:
    assert not await add(shop, shop.merchant_id, None)
    assert await add(shop, shop.merchant_id, "house@example.com", "KWD")
    assert not await add(shop, shop.merchant_id, "other@example.com", "JPY")
    found = await merchants.find(shop.db, shop.merchant_id)
    assert found is not None
    assert (found.email, found.currency, found.name) == ("house@example.com", "KWD", "A shop")


async def test_a_plan_stands_as_it_was_first_offered_and_what_was_bought_too(shop: Shop) -> None:
    plan_id = new_id().hex
    async with shop.db.transaction("plans") as tx:
        assert await merchants.add_plan(tx, Plan(plan_id, "First", 999, "USD", 10))
        assert not await merchants.add_plan(tx, Plan(plan_id, "Second", 1, "EUR", 99))
        bought = await merchants.subscribe(tx, shop.merchant_id, plan_id)
    assert (bought.name, bought.price_minor, bought.currency, bought.tokens_total) == ("First", 999, "USD", 10)
    await shop.db.execute("UPDATE plans SET name = 'Renamed', price_minor = 5 WHERE plan_id = $1", plan_id)
    assert await merchants.subscriptions_of(shop.db, shop.merchant_id) == [bought]


async def test_numbers_are_listed_as_numbers_are(shop: Shop) -> None:
    for merchant_id in ("9", "10", "2"):
        await add(shop, merchant_id, None)
    listed = [each.merchant_id for each in await merchants.find_all(shop.db)]
    assert [each for each in listed if each in {"2", "9", "10"}] == ["2", "9", "10"]
