"""`GetPayment`: a payment as it is now, to its own merchant alone, and the same payment as HTTP shows it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from tests.contracts.grpc.callers import Caller, an_order, eventually, http, instant, listed, not_found, refused, settled
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING, SUCCEEDED
from tests.contracts.orders.journeys import DECLINED_CARD, Json, SignIn, buy, buy_for_cash, buy_paid, buy_waiting, moved, people
from tests.contracts.orders.journeys import wait_for as wait_for_order
from tests.rig import Server

NOBODYS = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def sign_in(server: Server) -> Iterator[SignIn]:
    with people(server) as sign_in:
        yield sign_in


@pytest.fixture
def house(server: Server, meet: Meet) -> Caller:
    """Merchant 1, whose shop the orders contract runs, by its key."""
    return meet(server.grpc, x_api_key="sk_demo_1")


def test_a_payment_is_readable_as_soon_as_it_is_answered(nobody: Caller) -> None:
    for _ in range(20):
        answer = nobody.pay(metadata={"simulate": "wait"})
        assert nobody.state(answer.payment_id) == (PENDING, "Payment initiated")


def test_every_field_is_as_it_was_given(nobody: Caller) -> None:
    order = an_order(amount_minor=123456, currency="gbp", order_id="  Bestellung № 7  ", metadata={"simulate": "wait"})
    first = nobody.pay(**order)
    payment = nobody.look(first.payment_id)
    assert payment.payment_id == first.payment_id
    assert (payment.status, payment.message) == (PENDING, "Payment initiated")
    assert (payment.amount_minor, payment.currency) == (123456, "GBP")
    assert (payment.order_id, payment.idempotency_key) == (order["order_id"], order["idempotency_key"])
    assert payment.created_at == first.message.created_at


@pytest.mark.parametrize(("amount", "state"), [(1250, (SUCCEEDED, "Payment succeeded")), (1302, (FAILED, "Payment declined"))])
def test_the_decision_changes_status_and_message_and_nothing_else(nobody: Caller, amount: int, state: tuple[int, str]) -> None:
    order = an_order(amount_minor=amount)
    first = nobody.pay(**order)
    assert settled(nobody, first.payment_id) == state
    payment = nobody.look(first.payment_id)
    assert (payment.amount_minor, payment.currency, payment.order_id) == (amount, "USD", order["order_id"])
    assert payment.idempotency_key == order["idempotency_key"]
    assert payment.created_at == first.message.created_at


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("abc", "abc"),
        (NOBODYS, NOBODYS),
        ("a\nb\x00c\td\x1fe\x7ff", "a?b?c?d?e?f"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
        ("é" * 100, "é" * 64),
        ("🎉" * 1000, "🎉" * 64),
        ("\n" + "x" * 80, "?" + "x" * 63),
        (" a b ", " a b "),
        ("100%41", "100%41"),
        ("'; DROP TABLE payments; --", "'; DROP TABLE payments; --"),
    ],
)
def test_what_is_not_there_is_told_with_the_given_text_cut_and_cleaned(nobody: Caller, text: str, shown: str) -> None:
    assert refused(nobody.look, text) == not_found(shown)


def test_an_empty_request_finds_nothing(nobody: Caller) -> None:
    assert refused(nobody.ask, "GetPayment", b"") == not_found("")


@pytest.mark.parametrize(
    "stranger",
    [{}, {"x_api_key": "sk_demo_1"}, {"x_api_key": "sk_demo_1_read"}, {"x_api_key": "sk_demo_3"}, {"x_merchant_id": "3"}],
    ids=["nobody", "house", "reader", "another", "header"],
)
def test_a_strangers_payment_looks_like_none(server: Server, meet: Meet, shop: Caller, stranger: dict[str, str]) -> None:
    payment = shop.pay().payment_id
    assert refused(meet(server.grpc, **stranger).look, payment) == not_found(payment)
    assert shop.look(payment).payment_id == payment


def test_without_credentials_one_sees_the_houses_grpc_payments_alone(server: Server, nobody: Caller, house: Caller) -> None:
    assert house.look(nobody.pay().payment_id).currency == "USD"
    by_key = house.pay().payment_id
    assert nobody.look(by_key).payment_id == by_key


def test_grpc_payments_stand_in_the_merchants_list(server: Server, shop: Caller) -> None:
    order = an_order(currency="jpy", metadata={"simulate": "wait"})
    first = shop.pay(**order)
    [item] = listed(server, "sk_demo_2", order_id=order["order_id"])
    assert item["payment_id"] == first.payment_id
    assert (item["order_id"], item["amount"], item["price"], item["currency"]) == (order["order_id"], "1", "1250", "JPY")
    assert (item["status"], item["status_name"]) == (1, "PAYMENT_PENDING")
    assert item["created_at"] == instant(first.message.created_at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert listed(server, "sk_demo_3", order_id=order["order_id"]) == []


@pytest.mark.parametrize(("amount", "status", "name"), [(1250, 2, "PAYMENT_FINISHED"), (1302, 3, "PAYMENT_FAILED")])
def test_http_shows_what_grpc_shows(server: Server, shop: Caller, amount: int, status: int, name: str) -> None:
    payment = shop.pay(amount_minor=amount, currency="EUR").payment_id
    settled(shop, payment)
    with http(server, "sk_demo_2") as merchant:
        shown = merchant.get(f"/api/v1/payments/{payment}/show").raise_for_status().json()
    assert (shown["merchant_id"], shown["status"], shown["status_name"]) == (2, status, name)
    assert (shown["price"], shown["currency"]) == (f"{amount // 100}.{amount % 100:02}", "EUR")
    assert shown["captured"] == (shown["price"] if status == 2 else "0.00")


# Payments that were made over HTTP


def paid(buyer: httpx2.Client) -> Json:
    return buy_paid(buyer)


def declined(buyer: httpx2.Client) -> Json:
    order = buy(buyer, paymentDetails={"cardNumber": DECLINED_CARD})
    return wait_for_order(buyer, order["id"], "cancelled", "failed")


def cancelled(buyer: httpx2.Client) -> Json:
    order = buy_waiting(buyer)
    moved(buyer, order["id"], "cancelled")
    return order


def refunded(buyer: httpx2.Client) -> Json:
    order = buy_paid(buyer)
    moved(buyer, order["id"], "cancelled")
    return wait_for_order(buyer, order["id"], "cancelled", "refunded")


@pytest.mark.parametrize(
    ("bought", "state"),
    [
        (buy_for_cash, (PENDING, "Payment initiated")),
        (buy_waiting, (PENDING, "Payment initiated")),
        (paid, (SUCCEEDED, "Payment succeeded")),
        (declined, (FAILED, "Payment declined")),
        (cancelled, (FAILED, "Payment cancelled")),
        (refunded, (SUCCEEDED, "Payment refunded")),
    ],
)
def test_a_payment_made_over_http_is_read_as_well(house: Caller, sign_in: SignIn, bought: Any, state: tuple[int, str]) -> None:
    order = bought(sign_in())
    payment = house.look(order["paymentId"])
    assert (payment.status, payment.message) == state
    assert payment.payment_id == order["paymentId"]
    assert payment.amount_minor == Decimal(str(order["totalAmount"])) * 100
    assert (payment.currency, payment.idempotency_key) == ("INR", "")
    assert payment.order_id == order["id"]


def test_a_payment_made_over_http_is_not_shown_to_nobody(server: Server, meet: Meet, nobody: Caller, sign_in: SignIn) -> None:
    payment = buy_paid(sign_in())["paymentId"]
    for caller in (nobody, meet(server.grpc, x_api_key="sk_demo_2")):
        assert refused(caller.look, payment) == not_found(payment)
    assert meet(server.grpc, x_merchant_id="1").look(payment).status == SUCCEEDED
    assert meet(server.grpc, x_api_key="sk_demo_1_read").look(payment).status == SUCCEEDED


def test_a_key_of_http_and_a_key_of_grpc_never_meet(server: Server, house: Caller, sign_in: SignIn) -> None:
    order = an_order()
    buyer = sign_in()
    buyer.post("/api/cart/items", json={"productId": "prod_001"}).raise_for_status()
    address = {"street": "1", "city": "Mumbai", "state": "MH", "postalCode": "400001", "country": "India"}
    wish = {"shippingAddress": address, "paymentMethod": "credit_card"}
    bought = buyer.post("/api/orders", json=wish, headers={"Idempotency-Key": order["idempotency_key"]})
    assert bought.status_code == 201, bought.text
    first = house.pay(**order)
    assert first.replayed is None
    assert first.payment_id != bought.json()["data"]["paymentId"]
    assert eventually(lambda: house.state(first.payment_id)[0]) in {PENDING, SUCCEEDED}
