"""Orders of the shop that are paid at Payme: stock, deadlines, cancels by either side (rulings 13 to 17).

The shop of this Kassa sells in UZS, so that Payme may serve it; its clock stands where a test puts it.
"""

from __future__ import annotations

import base64
import json

import httpx2
import pytest

from .booking import Booking, a_user, kassa
from .conftest import Still
from .paycom import HALF_A_DAY, PAYME_ID, Cashbox, Json, Purchase, a_tx, code_of, refused, result
from .texts import BUSY, CLOSED, FULFILLED, PAID

HOME = {"street": "1 Navoiy", "city": "Tashkent", "state": "Tashkent", "postalCode": "100000", "country": "Uzbekistan"}
MOUSE = "prod_001"


@pytest.fixture
def shop(still: Still, morning: int) -> Booking:
    assert still.payme.now() == morning
    return still.booking


@pytest.fixture
def payme(shop: Booking) -> Cashbox:
    return shop.cashbox


@pytest.fixture
def order(shop: Booking) -> Purchase:
    """Two mice, ordered and not paid yet."""
    return ordered(shop)


def ordered(shop: Booking) -> Purchase:
    user = a_user()
    assert shop.ask(user, "POST", "/api/cart/items", json={"productId": MOUSE, "quantity": 2}).status_code == 201
    answer = shop.ask(user, "POST", "/api/orders", json={"shippingAddress": HOME, "paymentMethod": "payme"})
    assert answer.status_code == 201, answer.text
    found = answer.json()["data"]
    return Purchase(found["id"], found["paymentId"], round(found["totalAmount"] * 100), found["paymentUrl"], user, shop.cashbox)


def read(shop: Booking, order: Purchase) -> tuple[str, str]:
    """Status and payment status."""
    answer = shop.ask(order.user, "GET", f"/api/orders/{order.purchase_id}")
    assert answer.status_code == 200, answer.text
    data: Json = answer.json()["data"]
    return data["status"], data["paymentStatus"]


def stock(shop: Booking) -> int:
    found: int = shop.ask(a_user(), "GET", f"/api/products/{MOUSE}").json()["data"]["stock"]
    return found


def cart(shop: Booking, user: int) -> dict[str, int]:
    items = shop.ask(user, "GET", "/api/cart").json()["data"]["items"]
    return {item["productId"]: item["quantity"] for item in items}


def move(shop: Booking, order: Purchase, status: str, *, staff: bool = True) -> httpx2.Response:
    user = a_user() if staff else order.user
    token = shop.server.token(user, "staff" if staff else None, exp=4_102_444_800)
    with shop.server.client(headers={"Authorization": f"Bearer {token}"}) as who:
        return who.put(f"/api/orders/{order.purchase_id}/status", json={"status": status})


def moved(shop: Booking, order: Purchase, *statuses: str) -> None:
    for status in statuses:
        answer = move(shop, order, status)
        assert answer.status_code == 200, answer.text


def test_the_order_has_a_payme_link(order: Purchase, payme: Cashbox) -> None:
    host, _, encoded = order.payment_url.rpartition("/")
    assert host == "https://checkout.paycom.uz"
    assert base64.b64decode(encoded).decode() == f"m={PAYME_ID};ac.order_id={order.purchase_id};a={order.amount}"
    payme.allowed(order)


def test_perform_pays_it_and_the_stock_is_sold(shop: Booking, payme: Cashbox) -> None:
    before = stock(shop)
    order = ordered(shop)
    assert stock(shop) == before - 2
    payme.paid(order)
    assert read(shop, order) == ("paid", "paid")
    assert stock(shop) == before - 2
    refused(payme.check_perform(order), PAID)
    assert shop.books(order).truth[:4] == ("paid", "paid", 1, order.amount)


@pytest.mark.parametrize("staff", [True, False], ids=["staff", "the buyer"])
def test_nobody_cancels_while_payme_holds_it(shop: Booking, payme: Cashbox, order: Purchase, staff: bool) -> None:
    tx = payme.created(order)
    answer = move(shop, order, "cancelled", staff=staff)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "illegal_move"), answer.text
    assert payme.state(tx) == (1, None)
    payme.cancelled(tx)
    before = stock(shop)
    assert move(shop, order, "cancelled", staff=staff).status_code == 200
    assert (read(shop, order), stock(shop)) == (("cancelled", "failed"), before + 2)
    refused(payme.check_perform(order), CLOSED)
    refused(payme.create(order, a_tx()), CLOSED)


def test_a_paid_order_that_the_shop_cancels_waits_for_paymes_refund(shop: Booking, payme: Cashbox) -> None:
    before = stock(shop)
    order = ordered(shop)
    tx = payme.paid(order)
    moved(shop, order, "cancelled")
    assert (read(shop, order), stock(shop)) == (("cancelled", "refunded"), before)
    books = shop.books(order)
    assert (books.order, books.payment, books.entries, books.held) == ("cancelled", "refunding", 1, order.amount)
    assert payme.state(tx) == (2, None)
    assert result(payme.perform(tx))["state"] == 2
    [row] = shop.server.sql("SELECT refund_id::text FROM refunds WHERE payment_id = $1::text::uuid", order.payment_id)
    assert row["refund_id"] in kassa(shop.server, "payments", "doubt", "--json"), "it stands on the operator's list"
    payme.cancelled(tx, 5, -2)
    books = shop.books(order)
    assert (books.order, books.payment, books.entries, books.held) == ("cancelled", "refunded", 2, 0)
    assert (books.captured, books.refunded, books.events["payment.refunded"], books.events["order.cancelled"]) == (
        order.amount,
        order.amount,
        1,
        1,
    )
    refunds = shop.server.sql("SELECT amount_minor, status FROM refunds WHERE payment_id = $1::text::uuid", order.payment_id)
    assert [(refund["amount_minor"], refund["status"]) for refund in refunds] == [(order.amount, "succeeded")]
    assert stock(shop) == before, "given back once"


@pytest.mark.parametrize("far", [("processing", "shipped"), ("processing", "shipped", "delivered")], ids=["shipped", "delivered"])
def test_what_is_under_way_is_not_refunded(shop: Booking, payme: Cashbox, order: Purchase, far: tuple[str, ...]) -> None:
    tx = payme.paid(order)
    moved(shop, order, *far)
    seen, books = payme.seen(tx), shop.books(order)
    for _ in range(2):
        refused(payme.cancel(tx, 5), FULFILLED)
    assert (payme.seen(tx), shop.books(order)) == (seen, books)
    refused(payme.check_perform(order), PAID)


@pytest.mark.parametrize("far", [(), ("processing",)], ids=["paid", "processing"])
def test_payme_refunds_what_is_not_under_way_and_the_stock_returns(shop: Booking, payme: Cashbox, far: tuple[str, ...]) -> None:
    before = stock(shop)
    order = ordered(shop)
    tx = payme.paid(order)
    moved(shop, order, *far)
    payme.cancelled(tx, 5, -2)
    assert (read(shop, order), stock(shop)) == (("cancelled", "refunded"), before)
    books = shop.books(order)
    assert (books.payment, books.entries, books.held, books.events["order.cancelled"]) == ("refunded", 2, 0, 1)
    assert cart(shop, order.user) == {}, "it was paid: its lines do not come back"


def test_the_shop_waits_twelve_hours(still: Still, shop: Booking, payme: Cashbox, order: Purchase, morning: int) -> None:
    still.at(morning + HALF_A_DAY - 1_000)
    payme.allowed(order)
    late = payme.created(order)
    still.at(morning + HALF_A_DAY + 1_000)
    assert read(shop, order) == ("pending", "pending")
    assert code_of(payme.check_perform(order)) in {BUSY, CLOSED}, "held, and past its day"
    payme.performed(late)
    assert read(shop, order) == ("paid", "paid")


def test_after_twelve_hours_it_is_closed(still: Still, payme: Cashbox, order: Purchase, morning: int) -> None:
    still.at(morning + HALF_A_DAY + 1_000)
    refused(payme.check_perform(order), CLOSED)
    refused(payme.create(order, a_tx()), CLOSED)


def test_when_payme_lets_go_after_the_deadline_the_order_closes_at_once(
    still: Still, shop: Booking, payme: Cashbox, morning: int
) -> None:
    before = stock(shop)
    order = ordered(shop)
    still.at(morning + HALF_A_DAY - 1_000)
    tx = payme.created(order)
    still.at(morning + HALF_A_DAY + 60_000)
    payme.cancelled(tx, 2)
    assert (read(shop, order), stock(shop)) == (("cancelled", "failed"), before)
    assert cart(shop, order.user) == {MOUSE: 2}, "it was never paid: its lines come back"
    refused(payme.check_perform(order), CLOSED)


def test_the_payments_contract_gives_no_money_back_for_payme(shop: Booking, payme: Cashbox, order: Purchase) -> None:
    tx = payme.paid(order)
    books = shop.books(order)
    with shop.server.client(headers={"X-Api-Key": "sk_demo_1", "Idempotency-Key": f"refund-{order.payment_id}"}) as merchant:
        for body in ({}, {"amount": "1.00"}):
            answer = merchant.post(f"/api/v1/payments/{order.payment_id}/refunds", content=json.dumps(body))
            assert (answer.status_code, answer.json()) == (
                400,
                {"detail": "Payment is not refundable", "code": "refund_at_provider"},
            )
    assert shop.books(order) == books
    assert payme.state(tx) == (2, None)
