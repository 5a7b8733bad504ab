"""What a call does to the order, the money, the cart, the reports and the events (purchases contract, sections 5 to 7 and 9)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest

from .booking import PRICES, Booking, a_user, events_of
from .paycom import Cashbox, Purchase, a_tx, refused, result
from .texts import CLOSED, NOT_NOW


def data_of(booking: Booking, purchase: Purchase, type_: str) -> dict[str, object]:
    [event] = [event for event in events_of(booking.server, purchase) if event["type"] == type_]
    data: dict[str, object] = event["data"]
    return data


def test_a_checkout_is_announced_and_waits(booking: Booking) -> None:
    purchase = booking.buy(1, 4)
    books = booking.books(purchase)
    assert {"checkout.started", "order.created"} <= set(books.events)
    assert set(books.events.values()) == {1}
    assert books.report["status"] == "pending"
    assert books.report["payme_transaction_id"] is books.report["transaction_id"] is books.report["payme_state"] is None


def test_create_holds_the_purchase_and_moves_no_money(booking: Booking, payme: Cashbox) -> None:
    purchase, time = booking.buy(), payme.now()
    before = booking.books(purchase)
    tx = payme.created(purchase, time=time)
    books = booking.books(purchase)
    assert (books.order, books.captured, books.entries, books.rows) == ("pending", 0, 0, 0)
    assert books.events - before.events <= Counter({"payment.waiting": 1})
    report = books.report
    assert (report["status"], report["purchase_id"], report["amount"]) == ("pending", purchase.purchase_id, purchase.amount)
    assert (report["payme_transaction_id"], report["payme_state"], report["payme_reason"]) == (tx, 1, None)
    assert tx in str(report["transaction_id"])
    assert booking.cart(purchase.user) == [4]
    assert booking.bought(purchase.user) == {}


def test_perform_is_one_fact_in_all_books(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(2, 3)
    tx = payme.created(purchase)
    before = booking.books(purchase)
    payme.performed(tx)
    books = booking.books(purchase)
    assert books.truth == ("paid", "paid", 1, purchase.amount, 2)
    assert (books.captured, books.refunded) == (purchase.amount, 0)
    new = books.events - before.events
    assert new["payment.paid"] == new["order.paid"] == 1
    assert set(books.events.values()) == {1}, books.events
    assert (books.report["status"], books.report["payme_state"]) == ("completed", 2)
    assert booking.bought(purchase.user) == {2: PRICES[2], 3: PRICES[3]}
    for type_ in ("order.created", "order.paid"):
        data = data_of(booking, purchase, type_)
        assert (data["purchase_id"], data["payment_id"], data["user_id"]) == (
            purchase.purchase_id,
            purchase.payment_id,
            purchase.user,
        )
        assert (data["amount"], data["currency"]) == (purchase.amount, "UZS")
        items = data["items"]
        assert isinstance(items, list)
        assert [(item["ambassador_id"], item["price_paid"]) for item in items] == [(n, PRICES[n]) for n in (2, 3)]


def test_a_repeat_of_perform_or_cancel_adds_nothing(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.paid(purchase)
    books = booking.books(purchase)
    for _ in range(3):
        result(payme.perform(tx))
    assert booking.books(purchase) == books
    payme.cancelled(tx, 5, -2)
    books = booking.books(purchase)
    for _ in range(3):
        result(payme.cancel(tx, 9))
    refused(payme.perform(tx), NOT_NOW)
    assert booking.books(purchase) == books


def test_a_refund_turns_everything_back_once(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(1, 5)
    tx = payme.paid(purchase)
    booking.add(purchase.user, 2)
    before = booking.books(purchase)
    payme.cancelled(tx, 5, -2)
    books = booking.books(purchase)
    assert books.truth == ("cancelled", "refunded", 2, 0, 0)
    assert (books.captured, books.refunded) == (purchase.amount, purchase.amount)
    new = books.events - before.events
    assert new["payment.refunded"] == new["order.cancelled"] == 1
    assert set(books.events.values()) == {1}, books.events
    assert (books.report["status"], books.report["payme_state"], books.report["payme_reason"]) == ("cancelled", -2, 5)
    assert booking.bought(purchase.user) == {}
    assert booking.cart(purchase.user) == [2], "the cart stays as it is"


def test_a_cancelled_attempt_leaves_the_purchase_as_it_was(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    before = booking.books(purchase)
    payme.cancelled(payme.created(purchase), 2)
    books = booking.books(purchase)
    assert books.truth == before.truth
    assert not {"order.cancelled", "payment.expired", "payment.cancelled"} & set(books.events)
    assert (books.report["status"], books.report["payme_state"], books.report["payme_reason"]) == ("pending", -1, 2)
    assert booking.checkout(purchase.user) == purchase, "the same link"
    payme.paid(purchase)


def test_paid_lines_leave_the_cart_and_later_ones_stay(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(1, 2, 3)
    tx = payme.created(purchase)
    booking.add(purchase.user, 5)
    booking.remove(purchase.user, 2)
    payme.performed(tx)
    assert booking.cart(purchase.user) == [5]
    assert booking.bought(purchase.user) == {n: PRICES[n] for n in (1, 2, 3)}


def test_a_newer_checkout_closes_the_older_unpaid_one(booking: Booking, payme: Cashbox) -> None:
    old = booking.buy(1)
    booking.add(old.user, 2)
    payme.allowed(old)  # changing the cart alone touches nothing
    new = booking.checkout(old.user)
    assert new.purchase_id != old.purchase_id
    refused(payme.check_perform(old), CLOSED)
    refused(payme.create(old, a_tx()), CLOSED)
    books = booking.books(old)
    assert (books.order, books.report["status"], books.events["order.cancelled"]) == ("cancelled", "cancelled", 1)
    payme.paid(new)


def test_a_held_purchase_outlives_a_newer_checkout(booking: Booking, payme: Cashbox) -> None:
    held = booking.buy(1)
    tx = payme.created(held)
    booking.add(held.user, 2)
    new = booking.checkout(held.user)
    assert booking.books(held).order == "pending"
    payme.allowed(new)
    payme.performed(tx)
    assert booking.books(held).truth == ("paid", "paid", 1, held.amount, 1)
    assert booking.books(new).order == "cancelled", "every other unpaid purchase of that cart is cancelled"
    refused(payme.check_perform(new), CLOSED)
    assert booking.cart(held.user) == [2]


def test_a_held_purchase_that_was_replaced_closes_when_it_is_cancelled(booking: Booking, payme: Cashbox) -> None:
    held = booking.buy(1)
    tx = payme.created(held)
    booking.add(held.user, 2)
    new = booking.checkout(held.user)
    payme.cancelled(tx)
    refused(payme.check_perform(held), CLOSED)
    refused(payme.create(held, a_tx()), CLOSED)
    books = booking.books(held)
    assert (books.order, books.events["order.cancelled"], books.report["status"]) == ("cancelled", 1, "cancelled")
    payme.paid(new)
    assert booking.bought(held.user) == {1: PRICES[1], 2: PRICES[2]}


def test_who_pays_two_held_purchases_bought_twice(booking: Booking, payme: Cashbox) -> None:
    first = booking.buy(1)
    one = payme.created(first)
    booking.add(first.user, 4)
    second = booking.checkout(first.user)
    two = payme.created(second)
    payme.performed(one)
    payme.performed(two)
    assert booking.books(first).truth == ("paid", "paid", 1, first.amount, 1)
    assert booking.books(second).truth == ("paid", "paid", 1, second.amount, 2)
    assert booking.cart(first.user) == []
    payme.cancelled(one, 5, -2)
    assert booking.bought(first.user) == {1: PRICES[1], 4: PRICES[4]}


def test_the_same_ambassador_may_be_bought_again(booking: Booking, payme: Cashbox) -> None:
    user = a_user()
    for _ in range(2):
        payme.paid(booking.buy(4, user=user))
    answer = booking.ask(user, "GET", "/purchases")
    assert [(row["ambassador_id"], row["price_paid"]) for row in answer.json()["purchases"]] == [(4, PRICES[4])] * 2


def test_a_checkout_repeated_while_payme_holds_it_is_the_same_answer(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    payme.created(purchase)
    assert booking.checkout(purchase.user) == purchase


def test_the_purchase_history_carries_the_moment_of_perform(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(1, 2)
    performed = payme.seen(payme.paid(purchase))["perform_time"]
    rows = booking.ask(purchase.user, "GET", "/purchases").json()["purchases"]
    assert [row["ambassador_id"] for row in rows] == [
        row["ambassador_id"] for row in sorted(rows, key=lambda r: r["id"], reverse=True)
    ]
    for row in rows:
        assert abs(datetime.fromisoformat(row["created_at"]).timestamp() * 1000 - performed) < 2


@pytest.mark.parametrize("view", ["carts", "cart_items", "purchases", "payments"])
def test_the_reports_are_there_and_read_only(booking: Booking, view: str) -> None:
    columns = {
        "carts": "id user_id created_at",
        "cart_items": "id cart_id ambassador_id created_at",
        "purchases": "id user_id ambassador_id price_paid created_at order_id",
        "payments": "id transaction_id purchase_id status amount payme_transaction_id payme_time payme_state payme_reason created_at updated_at",
    }
    rows = booking.server.sql(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = 'purchases' AND table_name = $1", view
    )
    assert {row["name"] for row in rows} == {"merchant_id", *columns[view].split()}
    [row] = booking.server.sql(
        "SELECT is_insertable_into AS i FROM information_schema.tables WHERE table_schema = 'purchases' AND table_name = $1", view
    )
    assert row["i"] == "NO"
