"""What follows an order: paid, declined, on delivery, or by a link."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    DECLINED_CARD,
    SignIn,
    add,
    buy,
    buy_for_cash,
    buy_paid,
    buy_waiting,
    eventually,
    look,
    moved,
    orders_of,
    place,
    quantities,
    read,
    refusal,
    stock,
    success,
    wait_for,
    wish,
)


@pytest.mark.parametrize("method", ["credit_card", "upi", "net_banking"])
def test_simulated_money_arrives_within_two_seconds(buyer: httpx2.Client, method: str) -> None:
    order = buy(buyer, paymentMethod=method)
    assert (order["status"], order["paymentStatus"]) == ("pending", "pending")
    paid = wait_for(buyer, order["id"], "paid", "paid", within=2.5)
    assert paid == {
        **order,
        "status": "paid",
        "paymentStatus": "paid",
        "updatedAt": paid["updatedAt"],
    }


def test_a_paid_order_keeps_its_stock_and_its_lines(fresh_sign_in: SignIn) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_006")
    buy_paid(buyer, "prod_006", 2)
    assert stock(buyer, "prod_006") == before - 2
    assert look(buyer)["items"] == []


@pytest.mark.parametrize("card", [DECLINED_CARD, "**** **** **** 0002", "4000-0000-0000-0002"])
def test_a_declined_card_undoes_everything(fresh_sign_in: SignIn, card: str) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_006")
    add(buyer, "prod_006", 2)
    add(buyer, "prod_003")
    lines = [(item["productId"], item["quantity"]) for item in look(buyer)["items"]]
    order = place(buyer, paymentDetails={"cardNumber": card, "expiryDate": "12/25"})
    assert order["status"] == "pending"
    wait_for(buyer, order["id"], "cancelled", "failed", within=2.5)
    assert eventually(lambda: stock(buyer, "prod_006") == before)
    cart = look(buyer)
    assert [(item["productId"], item["quantity"]) for item in cart["items"]] == lines
    assert (cart["version"], cart["problems"]) == (4, [])


def test_after_a_decline_one_may_try_again(buyer: httpx2.Client) -> None:
    first = buy(buyer, paymentDetails={"cardNumber": DECLINED_CARD})
    wait_for(buyer, first["id"], "cancelled", "failed")
    second = place(buyer)
    assert second["id"] != first["id"]
    wait_for(buyer, second["id"], "paid", "paid")
    assert orders_of(buyer)["total"] == 2


def test_cash_is_paid_at_the_door(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    add(buyer)
    order = place(buyer, paymentMethod="cash_on_delivery")
    assert (order["status"], order["paymentStatus"], order["paymentUrl"]) == (
        "pending",
        "pending",
        None,
    )
    wait_for(buyer, order["id"], "processing", "pending", within=2.0)
    assert moved(staff, order["id"], "shipped")["paymentStatus"] == "pending"
    assert moved(staff, order["id"], "delivered")["status"] == "delivered"
    wait_for(buyer, order["id"], "delivered", "paid")


def test_a_method_of_another_currency_is_not_offered(buyer: httpx2.Client) -> None:
    add(buyer)
    refusal(buyer.post("/api/orders", json=wish(paymentMethod="payme")), 422, "method_unavailable")
    assert (quantities(buyer), orders_of(buyer)["total"]) == ({"prod_001": 1}, 0)


@pytest.mark.parametrize("alias", ["unknown", "Stripe", "stripe2", "x"])
def test_an_unknown_provider_is_refused(buyer: httpx2.Client, alias: str) -> None:
    add(buyer)
    answer = buyer.post("/api/orders", json=wish(paymentMethod=f"link:{alias}"))
    refusal(answer, 422, "unknown_provider")
    assert (quantities(buyer), orders_of(buyer)["total"]) == ({"prod_001": 1}, 0)


# Links


def press(order: dict[str, object], button: str) -> httpx2.Response:
    """Press *Pay* or *Decline* on the sandbox's page."""
    url = urlsplit(str(order["paymentUrl"]))
    token = url.path.rpartition("/")[2]
    return httpx2.post(
        f"{url.scheme}://{url.netloc}/sandbox/payments/{token}/{button}",
        timeout=10,
        verify=False,
        trust_env=False,
    )


@pytest.mark.parametrize("alias", ["stripe", "paypal", "adyen"])
def test_a_provider_link_waits_for_the_buyer(buyer: httpx2.Client, alias: str) -> None:
    order = buy(buyer, paymentMethod=f"link:{alias}")
    assert (order["status"], order["paymentMethod"]) == ("pending", f"link:{alias}")
    assert urlsplit(order["paymentUrl"]).scheme in {"http", "https"}
    assert read(buyer, order["id"])["paymentUrl"] == order["paymentUrl"]


def test_a_link_that_is_paid_pays_the_order(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    assert press(order, "accept").status_code == 200
    paid = wait_for(buyer, order["id"], "paid", "paid")
    assert paid["paymentUrl"] is None


def test_a_link_that_is_declined_gives_the_lines_back(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_003", 2)
    assert press(order, "decline").status_code == 200
    wait_for(buyer, order["id"], "cancelled", "failed")
    assert quantities(buyer) == {"prod_003": 2}


def test_a_cancelled_order_shows_no_link(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    assert moved(buyer, order["id"], "cancelled")["paymentUrl"] is None


def test_money_that_comes_after_a_cancel_is_given_back(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    assert moved(buyer, order["id"], "cancelled")["paymentStatus"] == "failed"
    assert press(order, "accept").status_code == 200
    wait_for(buyer, order["id"], "cancelled", "refunded")
    assert quantities(buyer) == {"prod_001": 1}


def test_an_edit_after_the_link_does_not_change_the_order(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_001", 2)
    add(buyer, "prod_001", 5)
    assert press(order, "accept").status_code == 200
    paid = wait_for(buyer, order["id"], "paid", "paid")
    assert (paid["items"], paid["totalAmount"]) == (order["items"], order["totalAmount"])
    assert quantities(buyer) == {"prod_001": 5}


def test_the_twenty_first_unpaid_link_has_to_wait(buyer: httpx2.Client) -> None:
    for _ in range(20):
        buy_waiting(buyer, "prod_011")
    add(buyer, "prod_011")
    answer = buyer.post("/api/orders", json=wish(paymentMethod="link:stripe"))
    refusal(answer, 429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1
    assert quantities(buyer) == {"prod_011": 1}
    assert buy_for_cash(buyer, "prod_011")["items"][0]["quantity"] == 2


# Lines that come back


def test_lines_that_come_back_join_what_the_cart_holds_by_then(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_001", 3)
    add(buyer, "prod_001", 2)
    add(buyer, "prod_003")
    version = look(buyer)["version"]
    moved(buyer, order["id"], "cancelled")
    assert quantities(buyer) == {"prod_001": 5, "prod_003": 1}
    assert look(buyer)["version"] == version + 1


def test_lines_that_come_back_are_cut_at_999(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer, "prod_005", 600)
    add(buyer, "prod_005", 600)
    moved(buyer, order["id"], "cancelled")
    assert quantities(buyer) == {"prod_005": 999}


def test_lines_of_an_order_that_was_paid_do_not_come_back(buyer: httpx2.Client) -> None:
    order = buy_paid(buyer)
    moved(buyer, order["id"], "cancelled")
    assert look(buyer)["items"] == []
    refusal(buyer.post("/api/orders", json=wish()), 422, "cart_empty")


def test_lines_of_an_order_in_work_do_not_come_back(buyer: httpx2.Client) -> None:
    order = buy_for_cash(buyer)
    cancelled = moved(buyer, order["id"], "cancelled")
    assert (cancelled["status"], cancelled["paymentStatus"]) == ("cancelled", "failed")
    assert look(buyer)["items"] == []


# The card


def test_a_card_number_is_never_shown_again(server: Server, buyer: httpx2.Client) -> None:
    number, code = "4929123412348815", "7719"
    details = {"cardNumber": number, "expiryDate": "12/30", "cvv": code, "name": "ASHA RAO"}
    add(buyer)
    answer = buyer.post(
        "/api/orders",
        json=wish(paymentDetails=details),
        headers={"Idempotency-Key": "card-canary-1"},
    )
    order = success(answer, 201)
    wait_for(buyer, order["id"], "paid")
    moved(buyer, order["id"], "cancelled")
    path = f"/api/orders/{order['id']}"
    replay = buyer.post(
        "/api/orders",
        json=wish(paymentDetails=details),
        headers={"Idempotency-Key": "card-canary-1"},
    )
    seen = [answer, replay, *(buyer.get(at) for at in ("/api/orders", path, f"{path}/tracking"))]
    for response in seen:
        assert number not in response.text
        assert "ASHA RAO" not in response.text
        assert "paymentDetails" not in response.text
    log = server.log_text()
    assert number not in log
    assert "4929-1234" not in log
    assert "ASHA RAO" not in log


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "**** **** **** 1234",
        "xxxx-XXXX-xxxx-1234",
        "•••• •••• •••• 1234",
        "411111******1111",
        "1234",
        "*1234",
        "6304000000000000000",
    ],
)
def test_a_card_may_be_written_in_many_ways(buyer: httpx2.Client, number: str) -> None:
    buy(buyer, paymentDetails={"cardNumber": number, "expiryDate": "01/20"})


@pytest.mark.parametrize(
    "details",
    [{}, {"upiId": "asha@upi"}, {"bank": {"code": [1, 2, {"a": None}]}}, {"pad": "x" * 4000}],
)
def test_payment_details_may_hold_anything(buyer: httpx2.Client, details: dict[str, object]) -> None:
    order = buy(buyer, paymentMethod="upi", paymentDetails=details)
    assert "asha@upi" not in str(order)
