"""What Payme's calls do to purchases, carts, the history and the merchants' feed (section 6)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .ambassadors import fails
from .journeys import (
    CLOSED,
    IMPOSSIBLE,
    PAID,
    Buyer,
    Json,
    Shop,
    events_of,
    eventually,
    good,
    refusal,
    told_of,
)


def test_asking_changes_nothing(shop: Shop, buyer: Buyer) -> None:
    purchase = buyer.buy(*shop.agency.hire(100))
    before, told = shop.payment(purchase), told_of(shop, purchase)
    assert all(shop.payme.allows(purchase) for _ in range(3))
    assert shop.payment(purchase) == before
    assert told_of(shop, purchase) == told
    assert buyer.cart()["total"] == 100


def test_a_paid_purchase_is_the_buyers(shop: Shop, buyer: Buyer) -> None:
    one, two, later = shop.agency.hire(100, 20, 3)
    purchase = buyer.buy(one, two)
    transaction = shop.payme.create(purchase)
    assert buyer.owns() == []
    assert shop.status(purchase) == "pending"
    buyer.add(later)
    shop.payme.perform(transaction)
    assert buyer.owns() == sorted([one, two])
    assert buyer.in_cart() == [later]  # added since
    assert shop.status(purchase) == "completed"
    assert shop.payme.why_not(purchase) == PAID
    assert good(buyer.check_out(), 201)["amount"] == 3


def test_a_line_that_was_removed_and_added_again_has_been_added_since(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    purchase = buyer.buy(one, two)
    assert buyer.drop(one).status_code == 204
    buyer.add(one)
    shop.payme.pay(purchase)
    assert buyer.owns() == sorted([one, two])
    assert buyer.in_cart() == [one]


def test_an_emptied_cart_stays_and_can_be_used_again(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    first = buyer.buy(ambassador)
    cart = buyer.cart()["id"]
    shop.payme.pay(first)
    assert (buyer.cart()["items"], buyer.cart()["total"], buyer.cart()["id"]) == ([], 0, cart)
    refusal(buyer.check_out(), 400, "cart_empty")
    second = buyer.buy(ambassador)  # a buyer may buy the same ambassador again
    assert second["purchase_id"] != first["purchase_id"]
    shop.payme.pay(second)
    assert buyer.owns() == [ambassador, ambassador]


def test_paying_cancels_the_other_unpaid_purchases_of_the_cart(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    held = buyer.buy(one)
    transaction = shop.payme.create(held)
    open_one = buyer.buy(two)
    shop.payme.perform(transaction)
    assert shop.is_over(open_one)
    assert buyer.in_cart() == [two]
    assert good(buyer.check_out(), 201)["amount"] == 20


def test_two_held_purchases_can_both_be_paid(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    first = buyer.buy(one)
    holds_first = shop.payme.create(first)
    second = buyer.buy(two)
    holds_second = shop.payme.create(second)
    shop.payme.perform(holds_first)
    assert shop.status(second) == "pending"
    shop.payme.perform(holds_second)
    assert buyer.owns() == sorted([one, one, two])
    assert buyer.in_cart() == []


def test_after_a_cancelled_attempt_the_same_link_is_payable_again(shop: Shop, buyer: Buyer) -> None:
    purchase = buyer.buy(*shop.agency.hire(100))
    for _ in range(3):
        assert shop.payme.cancel(shop.payme.create(purchase)) == -1
        assert shop.payme.allows(purchase)
        assert good(buyer.check_out(), 201) == purchase
    assert shop.status(purchase) == "pending"
    shop.payme.pay(purchase)
    assert buyer.purchases()["total"] == 1


def test_a_cancelled_attempt_of_an_older_purchase_closes_it(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    older = buyer.buy(one)
    transaction = shop.payme.create(older)
    newer = buyer.buy(two)
    assert shop.payme.cancel(transaction) == -1
    assert shop.is_over(older)
    assert shop.payme.allows(newer)
    assert good(buyer.check_out(), 201) == newer


def test_a_cart_that_changed_without_a_checkout_does_not_close_the_latest_purchase(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    purchase = buyer.buy(one)
    transaction = shop.payme.create(purchase)
    buyer.add(two)
    assert shop.payme.cancel(transaction) == -1
    assert shop.payme.allows(purchase)


def test_money_given_back_takes_the_rows_and_leaves_the_cart(shop: Shop, buyer: Buyer) -> None:
    one, two, later = shop.agency.hire(100, 20, 3)
    kept = buyer.buy(one)
    shop.payme.pay(kept)
    purchase = buyer.buy(two)
    transaction = shop.payme.pay(purchase)
    buyer.add(later)
    cart = buyer.cart()
    assert shop.payme.cancel(transaction, 5) == -2
    assert buyer.owns() == [one]
    assert buyer.purchases()["total"] == 1
    assert buyer.cart() == cart
    assert shop.status(purchase) == "cancelled"
    assert shop.payme.why_not(purchase) == CLOSED
    assert shop.payme.cancel(transaction, 5) == -2
    newer = good(buyer.check_out(), 201)
    assert newer["purchase_id"] != purchase["purchase_id"]
    assert newer["amount"] == 3


def test_no_call_of_payme_asks_the_source(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    purchase = buyer.buy(ambassador)
    shop.agency.fire(ambassador)  # judged at checkout, by events and by the sweep, never here
    with shop.agency.misbehaving(fails()), shop.agency.watched() as calls:
        assert shop.payme.allows(purchase)
        assert shop.payme.cancel(shop.payme.create(purchase)) == -1
        transaction = shop.payme.pay(purchase)
        assert shop.payme.cancel(transaction) == -2
    assert calls == []


def test_repeated_calls_have_one_effect(shop: Shop, buyer: Buyer) -> None:
    purchase = buyer.buy(*shop.agency.hire(100))
    transaction = shop.payme.create(purchase)
    with ThreadPoolExecutor(10) as hands:
        results = list(hands.map(lambda _: shop.payme.perform(transaction), range(10)))
    assert all(result == results[0] for result in results)
    assert buyer.purchases()["total"] == 1
    assert told_of(shop, purchase).count("payment.paid") == 1


@pytest.mark.parametrize("attempt", range(3))
def test_a_checkout_and_a_hold_that_race_leave_one_truth(shop: Shop, attempt: int) -> None:
    """The newer checkout cancels the older purchase, or Payme holds it: never both, never neither."""
    one, two = shop.agency.hire(100, 20)
    buyer = shop.buyer()
    older = buyer.buy(one)
    buyer.add(two)
    order = shop.payme.order(older)
    with ThreadPoolExecutor(2) as hands:
        holding = hands.submit(shop.payme.call, "CreateTransaction", id=f"{attempt}" * 24, time=shop.payme.clock(), **order)
        newer = good(hands.submit(buyer.check_out).result(), 201)
        said = holding.result()
    if "result" in said:
        assert shop.status(older) == "pending"
        shop.payme.perform(f"{attempt}" * 24)
        assert buyer.owns() == [one]
    else:
        assert said["error"]["code"] == CLOSED
        assert shop.is_over(older)
        assert shop.payme.allows(newer)


def test_paying_and_giving_up_at_once_end_as_one_of_them(shop: Shop) -> None:
    for _ in range(3):
        buyer = shop.buyer()
        purchase = buyer.buy(*shop.agency.hire(100))
        transaction = shop.payme.create(purchase)
        with ThreadPoolExecutor(2) as hands:
            paying = hands.submit(shop.payme.call, "PerformTransaction", id=transaction)
            ending = hands.submit(shop.payme.call, "CancelTransaction", id=transaction, reason=3)
            paid, ended = paying.result(), ending.result()
        if "result" in paid:
            assert ended["result"]["state"] == -2
            assert shop.status(purchase) == "cancelled"
        else:
            assert paid["error"]["code"] == IMPOSSIBLE
            assert ended["result"]["state"] == -1
            assert shop.payme.allows(purchase)
        assert buyer.owns() == []


def named(events: list[Json], kind: str) -> Json:
    """The one event of this type."""
    [found] = [event for event in events if event["type"] == kind]
    return found


def of_orders(events: list[Json]) -> list[Json]:
    return [event for event in events if event["type"].startswith("order.")]


def test_each_transition_is_told_once(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    buyer.add(one, two)
    for _ in range(3):
        purchase = good(buyer.check_out(), 201)
    transaction = shop.payme.create(purchase)
    for _ in range(3):
        shop.payme.perform(transaction)
    subjects = f"order:{purchase['purchase_id']}", f"payment:{purchase['payment_id']}"
    assert eventually(lambda: "payment.paid" in told_of(shop, purchase))
    events = events_of(shop, *subjects)
    for kind in ("order.created", "payment.waiting", "payment.paid", "order.paid"):
        named(events, kind)
    for _ in range(3):
        shop.payme.cancel(transaction, 5)
    events = events_of(shop, *subjects)
    for kind in ("payment.paid", "order.paid", "payment.refunded", "order.cancelled"):
        named(events, kind)
    for event in of_orders(events):
        assert {"id", "type", "version", "subject", "sequence", "occurred_at", "data"} <= set(event)
        data = event["data"]
        assert (data["purchase_id"], data["payment_id"]) == (purchase["purchase_id"], purchase["payment_id"])
        assert (data["user_id"], data["amount"], data["currency"]) == (buyer.user, 120, "UZS")
        items = [(item["ambassador_id"], item["price_paid"]) for item in data["items"]]
        assert items == [(one, 100), (two, 20)]
    for subject in subjects:
        counted = [event["sequence"] for event in events if event["subject"] == subject]
        assert counted == list(range(1, len(counted) + 1))


def test_a_checkout_is_announced(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    before = len(started(shop))
    purchase = buyer.buy(ambassador)
    buyer.check_out()
    assert len(started(shop)) == before + 1
    assert told_of(shop, purchase).count("order.created") == 1


def started(shop: Shop) -> list[str]:
    """All checkouts that merchant 1 was told of."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        query = {"type": "checkout.started", "limit": "500", **after}
        page = good(shop.http.get("/api/v1/events", params=query, headers={"X-Api-Key": "sk_demo_1"}))
        found += [event["id"] for event in page["items"]]
        if not page["has_next"]:
            return found
        after = {"after": page["next_after"]}


def test_a_replaced_purchase_is_announced_as_cancelled(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    older = buyer.buy(one)
    buyer.buy(two)
    told = told_of(shop, older)
    assert told.count("order.cancelled") == 1
    assert "order.paid" not in told
    assert "payment.paid" not in told


def test_the_books_agree(shop: Shop, buyer: Buyer) -> None:
    """After purchases that were paid, given back, given up, held and replaced."""
    one, two = shop.agency.hire(100, 20)
    shop.payme.pay(buyer.buy(one))
    shop.payme.cancel(shop.payme.pay(buyer.buy(two)), 5)
    shop.payme.cancel(shop.payme.create(buyer.buy(one)))
    shop.payme.create(good(buyer.check_out(), 201))
    buyer.buy(two)
    shop.books_agree()
