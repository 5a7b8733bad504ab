"""One open cart per buyer, with live prices (section 4)."""

from __future__ import annotations

from collections import Counter

from .ambassadors import fails
from .journeys import DEMO_PRICES, Buyer, Shop, at_once, fill, good, refusal


def test_the_demo_ambassadors_have_their_prices(plain: Shop) -> None:
    buyer = plain.buyer()
    buyer.add(*DEMO_PRICES)
    cart = buyer.cart()
    assert {item["ambassador_id"]: item["price"] for item in cart["items"]} == DEMO_PRICES
    assert (cart["total"], cart["invalid_ids"]) == (sum(DEMO_PRICES.values()), [])


def test_a_look_makes_the_cart(shop: Shop, buyer: Buyer) -> None:
    empty = buyer.cart()
    assert (empty["user_id"], empty["items"], empty["total"], empty["invalid_ids"]) == (buyer.user, [], 0, [])
    buyer.add(*shop.agency.hire(100))
    assert (buyer.cart()["id"], buyer.cart()["created_at"]) == (empty["id"], empty["created_at"])


def test_fifty_first_looks_make_one_cart(house: Shop) -> None:
    buyer = house.buyer()
    assert len({good(answer)["id"] for answer in at_once(buyer, 50, "GET", "/cart")}) == 1
    [found] = house.server.sql("SELECT count(*) AS n FROM purchases.carts WHERE user_id::text = $1", str(buyer.user))
    assert found["n"] == 1


def test_items_stand_in_the_order_they_were_added(shop: Shop, buyer: Buyer) -> None:
    hired = shop.agency.hire(500, 300, 900, 100, 700)
    order = [hired[3], hired[0], hired[4], hired[2], hired[1]]
    items = buyer.add(*order)
    assert buyer.cart()["items"] == items
    assert buyer.cart()["total"] == 2500
    assert buyer.drop(hired[4]).status_code == 204
    again = good(buyer.put(hired[4]), 201)
    assert again["id"] not in {item["id"] for item in items}
    assert buyer.in_cart() == [hired[3], hired[0], hired[2], hired[1], hired[4]]


def test_the_same_ambassador_again_is_the_same_item_at_the_current_price(shop: Shop, buyer: Buyer) -> None:
    [ambassador, other] = shop.agency.hire(100, 50)
    item, _ = buyer.add(ambassador, other)
    purchase = good(buyer.check_out(), 201)
    shop.agency.prices[ambassador] = 250
    assert good(buyer.put(ambassador)) == {**item, "price": 250}
    assert buyer.in_cart() == [ambassador, other]
    assert good(buyer.check_out(), 201) == purchase  # the version did not move


def test_fifty_at_once_are_one_line(house: Shop) -> None:
    buyer = house.buyer()
    answers = at_once(buyer, 50, "POST", "/cart/items", json={"ambassador_id": 1})
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.content for answer in answers}) == 1
    assert buyer.in_cart() == [1]


def test_fifty_removals_at_once_remove_once(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    buyer.add(ambassador)
    answers = at_once(buyer, 50, "DELETE", "/cart/items", params={"ambassador_id": ambassador})
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 49}


def test_a_cart_holds_a_hundred(shop: Shop, buyer: Buyer) -> None:
    hired = shop.agency.hire(*range(1000, 1102))
    answers = fill(buyer, hired[:99])
    assert {answer.status_code for answer in answers} == {201}
    racing = fill(buyer, hired[99:101])
    assert sorted(answer.status_code for answer in racing) == [201, 409]
    refusal(buyer.put(hired[101]), 409, "cart_full")
    assert good(buyer.put(hired[0]))["ambassador_id"] == hired[0]  # one that is there already is no 101st
    assert len(buyer.in_cart()) == 100
    assert buyer.drop(hired[0]).status_code == 204
    buyer.add(hired[101])
    with shop.agency.watched() as calls:
        cart = buyer.cart()
        purchase = good(buyer.check_out(), 201)
    assert len(calls) <= 2
    assert all(len(set(call.ids)) == len(call.ids) == 100 for call in calls)
    assert cart["total"] == purchase["amount"] == sum(shop.agency.prices[one] for one in buyer.in_cart())


def test_a_full_cart_says_not_found_for_nobody(shop: Shop, buyer: Buyer) -> None:
    answer = buyer.put(9223372036854775807)
    refusal(answer, 404, "ambassador_not_found")
    assert buyer.cart()["items"] == []


def test_a_line_is_removed_by_body_or_by_address(shop: Shop, buyer: Buyer) -> None:
    one, two, three = shop.agency.hire(100, 200, 300)
    buyer.add(one, two, three)
    by_body = buyer.drop(one)
    assert (by_body.status_code, by_body.content) == (204, b"")
    by_address = buyer.send("DELETE", f"/cart/items?ambassador_id={two}")
    assert (by_address.status_code, by_address.content) == (204, b"")
    refusal(buyer.drop(one), 404, "not_in_cart")
    refusal(buyer.send("DELETE", f"/cart/items?ambassador_id={two}"), 404, "not_in_cart")
    assert buyer.in_cart() == [three]
    nothing_in_pieces: list[bytes] = []
    answer = buyer.send("DELETE", f"/cart/items?ambassador_id={three}", content=iter(nothing_in_pieces))
    assert answer.status_code == 204


def test_the_address_counts_only_without_a_body(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 200)
    buyer.add(one, two)
    said = {"ambassador_id": one}
    assert buyer.send("DELETE", f"/cart/items?ambassador_id={two}", json=said).status_code == 204
    assert buyer.in_cart() == [two]


def test_a_removal_asks_nobody(shop: Shop, buyer: Buyer) -> None:
    gone, left = shop.agency.hire(100, 200)
    buyer.add(gone, left)
    shop.agency.fire(gone)
    with shop.agency.misbehaving(fails()), shop.agency.watched() as calls:
        assert buyer.drop(gone).status_code == 204
        assert buyer.drop(left).status_code == 204
        refusal(buyer.drop(left), 404, "not_in_cart")
    assert calls == []
    assert buyer.in_cart() == []


def test_the_greatest_ids_and_prices_fit(shop: Shop, buyer: Buyer) -> None:
    greatest = 9223372036854775806
    shop.agency.prices[greatest] = 10**13
    [other] = shop.agency.hire(10**13)
    buyer.add(greatest, other)
    assert buyer.cart()["total"] == 2 * 10**13
    purchase = good(buyer.check_out(), 201)
    shop.payme.pay(purchase)
    assert [row["price_paid"] for row in buyer.purchases()["purchases"]] == [10**13, 10**13]
