"""What a cart shows at live prices, and what would stop or change an order made from it."""

from __future__ import annotations

from tests.factories import NOON

from kassa.carts import Cart, CartLine, view
from kassa.catalog import Offer
from kassa.kit.ids import new_id
from kassa.kit.money import Money


def line(product_id: str, quantity: int = 1, seen: int = 100) -> CartLine:
    return CartLine(new_id(), product_id, quantity, seen, f"{product_id} as seen", None, NOON)


def cart(*lines: CartLine) -> Cart:
    return Cart("1", new_id(), "shop", "ann", 1, NOON, NOON, lines)


def offer(product_id: str, price: int = 100, stock: int | None = 10) -> Offer:
    return Offer(product_id, product_id, product_id.title(), Money(price, "INR"), ("a.jpg", "b.jpg"), stock)


def shown(*lines: CartLine, **offers: Offer) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    views, problems = view(cart(*lines), offers, "INR")
    return [(each.name, each.total.minor) for each in views], [(each.code, each.line.product_id) for each in problems]


def test_lines_stand_in_the_order_in_which_they_were_added_at_live_prices() -> None:
    assert shown(line("b", 2), line("a", 3), a=offer("a", 100), b=offer("b", 100)) == ([("B", 200), ("A", 300)], [])


def test_a_changed_price_is_used_and_told_with_both_prices() -> None:
    for price in (99, 101):
        views, problems = view(cart(line("a", 2)), {"a": offer("a", price)}, "INR")
        assert views[0].total == Money(2 * price, "INR")
        assert [(p.code, p.old_price, p.price) for p in problems] == [("price_changed", Money(100, "INR"), Money(price, "INR"))]


def test_fewer_in_stock_than_asked_for_is_told_with_what_is_left() -> None:
    _, problems = view(cart(line("a", 11)), {"a": offer("a", stock=10)}, "INR")
    assert [(p.code, p.available) for p in problems] == [("stock_insufficient", 10)]


def test_exactly_what_is_left_is_no_problem_and_an_uncounted_product_never_is() -> None:
    assert shown(line("a", 10), line("b", 999), a=offer("a", stock=10), b=offer("b", stock=None))[1] == []


def test_what_is_no_longer_sold_shows_its_last_known_name_and_price() -> None:
    views, problems = view(cart(line("a", 2, seen=70)), {}, "INR")
    assert (views[0].name, views[0].total, views[0].sold) == ("a as seen", Money(140, "INR"), False)
    assert [p.code for p in problems] == ["no_longer_sold"]


def test_a_line_may_have_two_problems_one_of_each_kind() -> None:
    assert shown(line("a", 11), a=offer("a", 150))[1] == [("price_changed", "a"), ("stock_insufficient", "a")]


def test_the_first_image_is_shown_if_there_is_one() -> None:
    assert offer("a").image == "a.jpg"
    assert Offer("a", "a", "A", Money(1, "INR"), (), None).image is None
