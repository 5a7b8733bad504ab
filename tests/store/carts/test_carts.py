"""A buyer's cart: one line a product, every edit counts, the version moves by one, and a version is taken once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.factories import Shop, at_once, open_shop

from kassa import carts, catalog
from kassa.carts import (
    Cart,
    CartChanged,
    CartFull,
    LineMissing,
    NotEnough,
    TooMany,
)
from kassa.carts.model import ReturnedLine
from kassa.catalog import Offer
from kassa.kit.database import DatabaseAway
from kassa.kit.ids import new_id
from kassa.kit.money import Money


def offer(product_id: str, stock: int | None = None, price: int = 100) -> Offer:
    return Offer(product_id, product_id, product_id.title(), Money(price, "INR"), (), stock)


async def add(
    shop: Shop,
    product_id: str,
    quantity: int = 1,
    *,
    version: int | None = None,
    buyer: str = "ann",
    alone: bool = False,
    here: bool = False,
    **how: Any,
) -> Cart:
    """Add as surfaces do: once more for as long as the cart has moved meanwhile. With `here` the statement reads the offer itself."""
    offered: Any = catalog.offer_here(shop.ctx, shop.channel) if here else offer(product_id, **how)
    edit = (shop.merchant_id, "shop", buyer, product_id, offered, quantity, version)
    while True:
        try:
            if alone or here:
                return (await carts.add_line_alone(shop.ctx, *edit))[0]
            async with shop.db.transaction("cart.add") as tx:
                return (await carts.add_line(tx, *edit))[0]
        except carts.CartMoved:
            continue


async def remove(shop: Shop, cart: Cart, place: int = 0, version: int | None = None) -> Cart:
    async with shop.db.transaction("cart.remove") as tx:
        return await carts.remove_line(tx, shop.merchant_id, "shop", "ann", cart.lines[place].line_id, version)


async def clear(shop: Shop, version: int | None = None) -> Cart:
    async with shop.db.transaction("cart.clear") as tx:
        return await carts.clear(tx, shop.merchant_id, "shop", "ann", version)


async def change(shop: Shop, product_id: str, quantity: int, version: int | None = None, **how: Any) -> Cart:
    async with shop.db.transaction("cart.change") as tx:
        cart = await carts.lock_for_change(tx, shop.merchant_id, "shop", "ann", version)
        line = next(line for line in cart.lines if line.product_id == product_id)
        cart, _ = await carts.change_line(tx, cart, line.line_id, offer(product_id, **how), quantity)
    return cart


async def take(shop: Shop, cart: Cart) -> bool:
    try:
        async with shop.db.transaction("cart.take") as tx:
            await carts.take_lines(tx, cart)
    except carts.CartMoved:
        return False
    return True


async def give_back(shop: Shop, cart: Cart, *lines: tuple[str, int]) -> None:
    returned = [ReturnedLine(product_id, quantity, 100, product_id.title(), None) for product_id, quantity in lines]
    async with shop.db.transaction("cart.give_back") as tx:
        await carts.return_lines(tx, shop.merchant_id, cart.cart_id, returned)


async def shown(shop: Shop, buyer: str = "ann") -> tuple[int, list[tuple[str, int]]]:
    """The version, and the lines in order."""
    cart = await shop.cart(buyer)
    return cart.version, [(line.product_id, line.quantity) for line in cart.lines]


async def test_a_cart_is_made_at_first_use_and_is_empty(shop: Shop) -> None:
    assert await shown(shop) == (0, [])


async def test_fifty_first_uses_at_once_make_one_cart(shop: Shop) -> None:
    found = await at_once(*(shop.cart("bob") for _ in range(50)))
    assert len({cart.cart_id for cart in found}) == 1


async def test_a_product_has_one_line_which_keeps_its_id_and_its_place(shop: Shop) -> None:
    first = await add(shop, "mouse", 2)
    await add(shop, "lamp")
    await add(shop, "mouse", 3)
    assert await shown(shop) == (3, [("mouse", 5), ("lamp", 1)])
    assert (await shop.cart("ann")).cart_id == first.cart_id


async def test_a_line_remembers_what_the_buyer_saw_last(shop: Shop) -> None:
    await add(shop, "mouse", price=100)
    await add(shop, "mouse", price=120)
    assert (await shop.cart("ann")).lines[0].seen_price_minor == 120
    await change(shop, "mouse", 1, price=90)
    assert (await shop.cart("ann")).lines[0].seen_price_minor == 90


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_a_hundred_adds_at_once_all_count(shop: Shop, *, alone: bool) -> None:
    cart = await add(shop, "mouse", alone=alone)
    answers = await at_once(*(add(shop, ["mouse", "lamp"][n % 2], 1 + n % 3, alone=alone) for n in range(100)))
    assert not [each for each in answers if isinstance(each, BaseException)]
    expected = {"mouse": 1 + sum(1 + n % 3 for n in range(0, 100, 2)), "lamp": sum(1 + n % 3 for n in range(1, 100, 2))}
    version, lines = await shown(shop)
    assert dict(lines) == expected
    assert version == 101
    assert len({each.version for each in answers}) == 100, "each edit had a version of its own"
    assert {each.cart_id for each in answers} == {cart.cart_id}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_a_hundred_products_fit_and_the_next_one_does_not(shop: Shop, *, alone: bool) -> None:
    for n in range(100):
        await add(shop, f"product-{n}", alone=alone)
    with pytest.raises(CartFull):
        await add(shop, "one-more", alone=alone)
    version, lines = await shown(shop)
    assert (version, len(lines)) == (100, 100)
    await add(shop, "product-7", alone=alone)
    assert (await shown(shop))[0] == 101, "more of a product that is there already still fits"


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_many_at_once_never_get_more_than_a_hundred_products_in(shop: Shop, *, alone: bool) -> None:
    answers = await at_once(*(add(shop, f"product-{n}", alone=alone) for n in range(110)))
    assert sum(isinstance(each, CartFull) for each in answers) == 10
    assert len((await shown(shop))[1]) == 100


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_999_pieces_of_a_product_fit_and_one_more_does_not(shop: Shop, *, alone: bool) -> None:
    await add(shop, "mouse", 500, alone=alone)
    await add(shop, "mouse", 499, alone=alone)
    with pytest.raises(TooMany):
        await add(shop, "mouse", 1, alone=alone)
    assert await shown(shop) == (2, [("mouse", 999)])
    with pytest.raises(TooMany):
        await change(shop, "mouse", 1000)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_more_than_is_left_is_refused_by_what_the_line_would_become(shop: Shop, *, alone: bool) -> None:
    await add(shop, "mouse", 6, stock=10, alone=alone)
    with pytest.raises(NotEnough) as refused:
        await add(shop, "mouse", 5, stock=10, alone=alone)
    assert refused.value.details == {"productId": "mouse", "requested": 11, "available": 10}
    assert await shown(shop) == (1, [("mouse", 6)])


async def test_an_offer_of_our_own_catalogue_is_read_by_the_edit_itself(shop: Shop) -> None:
    await shop.db.execute("UPDATE products SET images = '{/mouse.png,/back.png}' WHERE product_id = 'mouse'")
    asked = await shop.offer("mouse")
    await add(shop, "mouse", 2, here=True)
    await add(shop, "mouse", 97, here=True)
    (line,) = (await shop.cart("ann")).lines
    assert (line.product_id, line.quantity, line.seen_price_minor, line.seen_name, line.seen_image) == (
        "mouse", 99, asked.price.minor, asked.name, "/mouse.png",
    )  # fmt: skip
    with pytest.raises(NotEnough) as refused:
        await add(shop, "mouse", 5, here=True)
    assert refused.value.details == {"productId": "mouse", "requested": 104, "available": 100}
    with pytest.raises(CartChanged):
        await add(shop, "mouse", 1, version=7, here=True)
    assert (await shown(shop))[0] == 2


@pytest.mark.parametrize("buyer", ["ann", "new"])
async def test_what_is_not_sold_does_not_get_into_a_cart(shop: Shop, buyer: str) -> None:
    await add(shop, "lamp", here=True)
    await shop.db.execute("UPDATE products SET sold = false WHERE merchant_id = $1 AND product_id = 'mouse'", shop.merchant_id)
    for product_id in ("mouse", "unicorn"):
        with pytest.raises(catalog.UnknownProduct):
            await add(shop, product_id, version=7, buyer=buyer, here=True)
    assert await shown(shop) == (1, [("lamp", 1)])
    assert await shop.db.value("SELECT count(*) FROM carts WHERE merchant_id = $1", shop.merchant_id) == 1


async def test_a_cart_holds_nothing_back_from_other_buyers(shop: Shop) -> None:
    await shop.add("ann", "poster")
    await shop.add("bob", "poster")
    assert await shop.level("poster") == (1, 0)


@pytest.mark.parametrize("edit", ["add", "change", "remove", "clear"])
async def test_an_edit_of_another_version_is_refused_with_the_present_one(shop: Shop, edit: str) -> None:
    cart = await add(shop, "mouse", 2)
    cart = await shop.cart("ann")
    edits = {
        "add": lambda: add(shop, "mouse", version=7),
        "change": lambda: change(shop, "mouse", 1, version=7),
        "remove": lambda: remove(shop, cart, version=7),
        "clear": lambda: clear(shop, version=7),
    }
    with pytest.raises(CartChanged) as refused:
        await edits[edit]()
    assert refused.value.details == {"version": 1}
    assert await shown(shop) == (1, [("mouse", 2)])


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
async def test_of_many_edits_of_one_version_one_is_made(shop: Shop, *, alone: bool) -> None:
    await add(shop, "mouse", alone=alone)
    answers = await at_once(*(add(shop, "mouse", version=1, alone=alone) for _ in range(20)))
    assert sum(isinstance(each, CartChanged) for each in answers) == 19
    assert await shown(shop) == (2, [("mouse", 2)])


async def test_removing_a_line_moves_the_version_and_removing_it_again_does_not(shop: Shop) -> None:
    await add(shop, "mouse")
    await add(shop, "lamp")
    cart = await shop.cart("ann")
    after = await remove(shop, cart)
    assert (after.version, [line.product_id for line in after.lines]) == (3, ["lamp"])
    with pytest.raises(LineMissing):
        await remove(shop, cart)
    assert await shown(shop) == (3, [("lamp", 1)])


async def test_a_strangers_line_is_missing(shop: Shop) -> None:
    await add(shop, "mouse", buyer="bob")
    with pytest.raises(LineMissing):
        await remove(shop, await shop.cart("bob"))
    assert await shown(shop, "bob") == (1, [("mouse", 1)])


async def test_the_same_buyer_of_another_merchant_has_another_cart(shop: Shop) -> None:
    await add(shop, "mouse")
    assert await shown(await open_shop(shop.ctx, mouse=1)) == (0, [])


async def test_clearing_twice_moves_the_version_once(shop: Shop) -> None:
    await add(shop, "mouse")
    assert (await clear(shop)).version == 2
    assert (await clear(shop)).version == 2
    assert await shown(shop) == (2, [])


async def test_a_version_is_taken_once_however_many_press_the_button(shop: Shop) -> None:
    await add(shop, "mouse", 2)
    cart = await shop.cart("ann")
    assert (await at_once(*(take(shop, cart) for _ in range(50)))).count(True) == 1
    assert await shown(shop) == (2, [])


async def test_what_was_added_meanwhile_is_not_taken_with_it(shop: Shop) -> None:
    await add(shop, "mouse", 2)
    cart = await shop.cart("ann")
    for _ in range(10):
        before, _ = await shown(shop)
        taken, added = await at_once(take(shop, cart), add(shop, "lamp"))
        assert not isinstance(added, BaseException)
        version, lines = await shown(shop)
        assert dict(lines).get("lamp"), "an edit that was answered stays"
        assert version == before + 1 + taken
        await clear(shop)
        await add(shop, "mouse", 2)
        cart = await shop.cart("ann")


async def test_lines_that_come_back_are_summed_with_what_is_there_and_cut_at_999(shop: Shop) -> None:
    await add(shop, "mouse", 500)
    cart = await add(shop, "lamp", 1)
    await give_back(shop, cart, ("lamp", 2), ("mouse", 600), ("desk", 1), ("chair", 999))
    assert await shown(shop) == (3, [("mouse", 999), ("lamp", 3), ("desk", 1), ("chair", 999)])


async def test_lines_come_back_even_into_a_full_cart(shop: Shop) -> None:
    for n in range(100):
        cart = await add(shop, f"product-{n}")
    await give_back(shop, cart, ("mouse", 1), ("lamp", 1))
    assert len((await shown(shop))[1]) == 102


async def test_nothing_that_comes_back_moves_nothing(shop: Shop) -> None:
    cart = await add(shop, "mouse")
    await give_back(shop, cart)
    assert await shown(shop) == (1, [("mouse", 1)])


async def test_lines_that_come_back_and_edits_at_the_same_time_never_block_each_other_for_good(shop: Shop) -> None:
    cart = await add(shop, "mouse")
    for _ in range(5):
        works = [give_back(shop, cart, ("mouse", 1), ("lamp", 1)) for _ in range(6)] + [add(shop, "mouse") for _ in range(6)]
        answers = await at_once(*works, *(add(shop, "lamp") for _ in range(6)))
        assert not [each for each in answers if isinstance(each, DatabaseAway)]
    version, lines = await shown(shop)
    assert dict(lines) == {"mouse": 61, "lamp": 60}
    assert version == 1 + 5 * 18


async def test_a_reader_beside_busy_writers_sees_lines_that_belong_to_the_version(shop: Shop) -> None:
    await add(shop, "mouse")
    stop = asyncio.Event()

    async def read() -> None:
        while not stop.is_set():
            cart = await shop.cart("ann")
            assert sum(line.quantity for line in cart.lines) == cart.version

    reading = asyncio.create_task(read())
    await asyncio.gather(*(add(shop, f"product-{n % 5}") for n in range(50)))
    stop.set()
    await reading


async def test_a_line_id_that_nobody_knows_is_missing(shop: Shop) -> None:
    with pytest.raises(LineMissing):
        carts.line_of(await shop.cart("ann"), new_id())
