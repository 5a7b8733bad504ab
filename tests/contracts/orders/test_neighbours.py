"""Provider, notifications and users as services of their own: told what they must know, never waited for too long."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    DECLINED_CARD,
    Json,
    SignIn,
    anybody,
    buy,
    buy_for_cash,
    buy_paid,
    buy_waiting,
    eventually,
    move,
    moved,
    people,
    read,
    success,
    wait_for,
    wish,
)
from .neighbour import BROKEN, Reply, open_for_business, saying
from .street import Street

WEBHOOK_SECRET = "what-the-provider-signs-with-0123456789"


@pytest.fixture(scope="module")
def houses() -> Iterator[Street]:
    with open_for_business(Street()) as street:
        yield street


@pytest.fixture(scope="module")
def beside(start_kassa: Callable[..., Server], houses: Street) -> Server:
    return start_kassa(
        PROVIDER_URL=houses.url,
        PROVIDER_WEBHOOK_SECRET=WEBHOOK_SECRET,
        NOTIFICATION_SERVICE_URL=houses.url,
        USER_SERVICE_URL=houses.url,
    )


@pytest.fixture
def street(houses: Street) -> Iterator[Street]:
    yield houses
    houses.forgive()


@pytest.fixture
def sign_in(beside: Server) -> Iterator[SignIn]:
    with people(beside) as sign_in:
        yield sign_in


def report(server: Server, payment: str, status: str = "finished", secret: str = WEBHOOK_SECRET) -> httpx2.Response:
    """The provider tells Kassa what became of a payment."""
    body = json.dumps({"payment_id": payment, "status": status}).encode()
    signed = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    url = f"{server.url}/api/v1/payments/webhook"
    return httpx2.post(url, content=body, headers={"X-Internal-Signature": signed}, trust_env=False, timeout=10)


def asked_for(street: Street, topic: str, order: Json) -> list[Json]:
    return [call.body for call in street.calls("POST", topic) if call.body["payment_id"] == order["paymentId"]]


# The provider


def test_a_link_is_asked_for_once_with_its_sum(street: Street, buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_001", 2)
    assert order["paymentUrl"] == f"https://pay.example.com/{order['paymentId']}"
    [call] = [call for call in street.calls("POST", "payment-links") if call.body["payment_id"] == order["paymentId"]]
    assert call.path == "/payment-links"
    assert set(call.body) == {"payment_id", "merchant_id", "provider", "order_id", "price", "currency", "expires_at"}
    assert (str(call.body["merchant_id"]), call.body["provider"], call.body["currency"]) == ("1", "stripe", "INR")
    assert Decimal(str(call.body["price"])) == Decimal("199.8")
    assert call.key == order["paymentId"]
    assert call.headers["X-Request-Id"]


def test_an_order_exists_without_its_link_and_gets_it_later(street: Street, buyer: httpx2.Client) -> None:
    street.will("POST", "payment-links", *[BROKEN] * 100)
    order = buy_waiting(buyer)
    assert (order["status"], order["paymentUrl"]) == ("pending", None)
    street.forgive()
    link = f"https://pay.example.com/{order['paymentId']}"
    assert eventually(lambda: read(buyer, order["id"])["paymentUrl"], within=20) == link
    asked = [call for call in street.calls("POST", "payment-links") if call.body["payment_id"] == order["paymentId"]]
    assert 2 <= len(asked) <= 8, "it is asked for at its times, and not in a loop"
    assert {call.key for call in asked} == {order["paymentId"]}


def test_a_silent_provider_holds_nobody_up(street: Street, buyer: httpx2.Client) -> None:
    street.will("POST", "payment-links", Reply(delay=4, works=True))
    began = time.monotonic()
    order = buy_waiting(buyer)
    assert time.monotonic() - began < 3.7
    assert order["paymentUrl"] is None


def test_the_providers_word_pays_the_order_once(beside: Server, buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    assert report(beside, order["paymentId"], secret="somebody-elses").status_code == 403
    assert read(buyer, order["id"])["status"] == "pending"
    with ThreadPoolExecutor(5) as hands:
        answers = list(hands.map(lambda _: report(beside, order["paymentId"]), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    paid = wait_for(buyer, order["id"], "paid", "paid")
    assert paid["paymentUrl"] is None


def test_ten_cancels_are_one_refund(beside: Server, street: Street, buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_001", 2)
    report(beside, order["paymentId"])
    wait_for(buyer, order["id"], "paid", "paid")
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda _: move(buyer, order["id"], "cancelled"), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert eventually(lambda: asked_for(street, "refunds", order))
    [refund] = asked_for(street, "refunds", order)
    assert Decimal(str(refund["amount"])) == Decimal("199.8")
    wait_for(buyer, order["id"], "cancelled", "refunded")


def test_an_unsure_refund_is_asked_again_under_the_same_key(beside: Server, street: Street, buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    report(beside, order["paymentId"])
    wait_for(buyer, order["id"], "paid", "paid")
    street.will("POST", "refunds", Reply(500, b"oops", works=True))
    moved(buyer, order["id"], "cancelled")
    assert eventually(lambda: len(asked_for(street, "refunds", order)) == 2, within=10)
    first, second = (call for call in street.calls("POST", "refunds") if call.body["payment_id"] == order["paymentId"])
    assert first.key == second.key
    assert first.body == second.body


def test_money_that_comes_after_a_cancel_goes_back_to_the_provider(beside: Server, street: Street, buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    moved(buyer, order["id"], "cancelled")
    assert report(beside, order["paymentId"]).status_code == 200
    wait_for(buyer, order["id"], "cancelled", "refunded")
    assert eventually(lambda: len(asked_for(street, "refunds", order)) == 1)


# Notifications


def test_a_buyer_is_told_each_step_in_order(sign_in: SignIn, street: Street) -> None:
    user = anybody()
    buyer, staff = sign_in(user), sign_in(role="staff")
    order = buy_paid(buyer)["id"]
    for status in ("processing", "shipped", "delivered"):
        moved(staff, order, status)
    assert eventually(lambda: len(street.notices(user)) >= 5, within=8)
    assert street.told(user) == ["order_confirmation", "payment_confirmation", *["status_update"] * 3]
    notices = street.notices(user)
    assert {notice.path for notice in notices} == {"/api/notifications/send"}
    assert all(set(notice.body) == {"user_id", "order_id", "type"} for notice in notices)
    assert {notice.body["order_id"] for notice in notices} == {order}
    assert len({notice.key for notice in notices}) == 5
    assert all(str(notice.key).startswith(f"{order}:") for notice in notices)


def test_a_buyer_is_told_of_a_cancel_and_of_the_money(sign_in: SignIn, street: Street) -> None:
    user = anybody()
    buyer = sign_in(user)
    moved(buyer, buy_paid(buyer)["id"], "cancelled")
    assert eventually(lambda: len(street.notices(user)) >= 4, within=8)
    assert sorted(street.told(user)) == [
        *("order_cancellation", "order_confirmation", "payment_confirmation", "payment_confirmation"),
    ]


def test_a_buyer_is_told_of_a_decline(sign_in: SignIn, street: Street) -> None:
    user = anybody()
    buy(sign_in(user), paymentDetails={"cardNumber": DECLINED_CARD})
    assert eventually(lambda: len(street.notices(user)) >= 2, within=8)
    assert street.told(user) == ["order_confirmation", "order_cancellation"]


@pytest.mark.parametrize("reply", [BROKEN, saying(404), Reply(cut=True)], ids=["broken", "not found", "cut"])
def test_a_lost_notice_is_sent_again_before_the_next(sign_in: SignIn, street: Street, reply: Reply) -> None:
    user = anybody()
    street.will("POST", f"notices for {user}", reply)
    buy_for_cash(sign_in(user))
    assert eventually(lambda: len(street.notices(user)) >= 3, within=20)
    assert street.told(user) == ["order_confirmation", "order_confirmation", "status_update"]
    lost, again, later = (notice.key for notice in street.notices(user))
    assert lost == again != later


def test_no_notice_delays_a_purchase(sign_in: SignIn, street: Street) -> None:
    user = anybody()
    street.will("POST", f"notices for {user}", *[Reply(delay=4, works=True)] * 2)
    began = time.monotonic()
    buy_paid(sign_in(user))
    assert time.monotonic() - began < 3


# Users


def test_a_user_service_never_decides_who_one_is(street: Street, buyer: httpx2.Client) -> None:
    street.will("GET", "users", *[saying(401, detail="who?")] * 5)
    order = buy_paid(buyer)
    assert success(buyer.get(f"/api/orders/{order['id']}"))["id"] == order["id"]
    assert not [call for call in street.diary if "validate" in call.path]
    assert buyer.post("/api/orders", json=wish()).status_code == 200
