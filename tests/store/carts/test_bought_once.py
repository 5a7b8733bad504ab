"""A cart of things that are bought once: one line each, and the version moves only when the lines do."""

from __future__ import annotations

import pytest
from tests.factories import Shop, at_once

from kassa import carts
from kassa.carts import Cart, CartFull, CartLine, LineMissing
from kassa.catalog import Offer
from kassa.kit.money import Money


def offer(product_id: str, price: int = 100) -> Offer:
    return Offer(product_id, product_id, product_id.title(), Money(price, "INR"), (), None)


async def put(shop: Shop, product_id: str, *, price: int = 100, buyer: str = "ann") -> tuple[Cart, CartLine, bool]:
    async with shop.db.transaction("cart.add") as tx:
        return await carts.put_once(tx, shop.merchant_id, "shop", buyer, product_id, offer(product_id, price))


async def drop(shop: Shop, product_id: str, *, buyer: str = "ann") -> Cart:
    async with shop.db.transaction("cart.remove") as tx:
        return await carts.drop_product(tx, shop.merchant_id, "shop", buyer, product_id)


async def shown(shop: Shop) -> tuple[int, list[str]]:
    cart = await shop.cart("ann")
    return cart.version, [line.product_id for line in cart.lines]


async def test_what_is_there_already_stays_as_it_is(shop: Shop) -> None:
    first, line, is_new = await put(shop, "mouse", price=100)
    assert (first.version, line.quantity, line.seen_price_minor, is_new) == (1, 1, 100, True)
    again, same, is_new = await put(shop, "mouse", price=120)
    assert (again.version, same, is_new) == (1, line, False)
    assert again.cart_id == first.cart_id
    assert (await shop.cart("ann")).lines == (line,)


async def test_of_fifty_at_once_one_makes_the_line(shop: Shop) -> None:
    answers = await at_once(*(put(shop, "mouse") for _ in range(50)))
    assert sum(is_new for _, _, is_new in answers) == 1
    assert len({line for _, line, _ in answers}) == 1
    assert {cart.version for cart, _, _ in answers} == {1}
    assert await shown(shop) == (1, ["mouse"])


async def test_a_hundred_fit_and_one_that_is_there_still_does(shop: Shop) -> None:
    for n in range(100):
        await put(shop, f"product-{n}")
    with pytest.raises(CartFull):
        await put(shop, "one-more")
    assert not (await put(shop, "product-7"))[2]
    version, lines = await shown(shop)
    assert (version, len(lines)) == (100, 100)


async def test_of_many_at_once_a_hundred_fit(shop: Shop) -> None:
    answers = await at_once(*(put(shop, f"product-{n}") for n in range(108)))
    assert sum(isinstance(each, CartFull) for each in answers) == 8
    assert len((await shown(shop))[1]) == 100


async def test_lines_stand_in_the_order_in_which_they_were_added(shop: Shop) -> None:
    for product_id in ("b", "c", "a"):
        await put(shop, product_id)
    await put(shop, "b")
    assert await shown(shop) == (3, ["b", "c", "a"])
    added = [line.added_at for line in (await shop.cart("ann")).lines]
    assert added == sorted(added)
    cart = await shop.cart("ann")
    assert cart.created_at <= added[0]
    assert cart.updated_at >= added[-1]


async def test_a_line_that_was_removed_comes_back_as_a_new_one(shop: Shop) -> None:
    _, first, _ = await put(shop, "mouse")
    await put(shop, "lamp")
    assert (await drop(shop, "mouse")).version == 3
    _, second, is_new = await put(shop, "mouse")
    assert is_new
    assert second.line_id != first.line_id
    assert await shown(shop) == (4, ["lamp", "mouse"])


async def test_what_is_not_there_cannot_be_removed_and_nothing_moves(shop: Shop) -> None:
    for _ in range(2):
        with pytest.raises(LineMissing):
            await drop(shop, "mouse")
    assert await carts.read_cart(shop.db, shop.merchant_id, "shop", "ann") is None, "and no cart was made for it"
    await put(shop, "mouse")
    with pytest.raises(LineMissing):
        await drop(shop, "lamp")
    with pytest.raises(LineMissing):
        await drop(shop, "mouse", buyer="bob")
    assert await shown(shop) == (1, ["mouse"])


async def test_of_fifty_who_remove_it_at_once_one_finds_it(shop: Shop) -> None:
    await put(shop, "mouse")
    answers = await at_once(*(drop(shop, "mouse") for _ in range(50)))
    assert sum(isinstance(each, LineMissing) for each in answers) == 49
    assert await shown(shop) == (2, [])


async def test_adding_and_removing_at_the_same_time_leaves_what_the_version_says(shop: Shop) -> None:
    for _ in range(5):
        answers = await at_once(*(put(shop, "mouse") for _ in range(10)), *(drop(shop, "mouse") for _ in range(10)))
        assert {type(each) for each in answers} <= {tuple, Cart, LineMissing}
        version, lines = await shown(shop)
        assert version > 0
        assert version % 2 == len(lines), "each time that it came and went moved the version by one"
