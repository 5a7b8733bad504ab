"""Payments of the shop's own orders: listed here, refunded by line (sections 5 and 6; rulings 5, 6, 16, 17)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .till import (
    BASE,
    ITEM,
    NO_TLS,
    Json,
    Mall,
    a_key,
    becomes,
    give_back,
    is_replay_of,
    ledger_of,
    malformed,
    refunds_of,
    refusal,
    report,
    settled,
    show,
    until,
)

ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}
CART = {"prod_001": 3, "prod_004": 2}  # 299.70 and 25.00
_buyers = iter(range(881_000_001, 882_000_000))


@pytest.fixture(scope="module")
def shop(sandbox: Mall) -> Mall:
    return sandbox


def data(answer: httpx2.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()["data"]


def buy(mall: Mall, method: str = "credit_card", cart: dict[str, int] | None = None) -> Json:
    """An order of a buyer nobody has seen before."""
    with httpx2.Client(
        base_url=mall.server.url,
        headers={"Authorization": f"Bearer {mall.server.token(next(_buyers))}"},
        timeout=30,
        verify=NO_TLS,
        trust_env=False,
    ) as buyer:
        for product, quantity in (cart or CART).items():
            data(buyer.post("/api/cart/items", json={"productId": product, "quantity": quantity}))
        order: Json = data(buyer.post("/api/orders", json={"shippingAddress": ADDRESS, "paymentMethod": method}))
        return order


def staff(mall: Mall) -> httpx2.Client:
    return mall.with_headers(Authorization=f"Bearer {mall.server.token(7, 'staff', exp=4102444800)}")


def order_of(mall: Mall, order: Json) -> Json:
    found: Json = data(staff(mall).get(f"/api/orders/{order['id']}"))
    return found


def bought(mall: Mall, method: str = "credit_card") -> tuple[Json, str]:
    """A paid order and its payment."""
    order = buy(mall, method)
    if method.startswith("link:"):
        token = urlsplit(order["paymentUrl"]).path.rpartition("/")[2]
        assert mall.nobody().post(f"/sandbox/payments/{token}/accept").status_code == 200
    until(
        lambda: (order_of(mall, order)["status"], order_of(mall, order)["paymentStatus"]) == ("paid", "paid"),
        hope="the order is paid",
    )
    return order, order["paymentId"]


def stock(mall: Mall, product: str) -> int:
    level: int = data(mall.nobody().get(f"/api/products/{product}"))["stock"]
    return level


def lines(**quantities: int) -> list[Json]:
    return [{"line_id": product, "quantity": quantity} for product, quantity in quantities.items()]


# Listed


@pytest.mark.parametrize("method", ["credit_card", "link:stripe"])
def test_a_payment_of_an_order_is_listed_with_the_orders_id(shop: Mall, method: str) -> None:
    order, payment_id = bought(shop, method)
    who = shop.merchant(1)
    [item] = who.get(BASE, params={"order_id": order["id"]}).json()["items"]
    assert set(item) == ITEM
    told = {name: item[name] for name in ("payment_id", "order_id", "amount", "price", "currency", "status", "status_name")}
    assert told == {
        "payment_id": payment_id,
        "order_id": order["id"],
        "amount": "1",
        "price": "324.70",
        "currency": "INR",
        "status": 2,
        "status_name": "PAYMENT_FINISHED",
    }
    assert item in who.get(BASE, params={"limit": 100}).json()["items"]
    found = show(who, payment_id)
    assert (found["captured"], found["refundable"], found["merchant_id"]) == ("324.70", "324.70", 1)
    assert {line["line_id"] for line in found["lines"]} == set(CART)
    assert who.get(f"{BASE}/{payment_id}/tracking").json()["payment_status"] == 2


def test_another_merchant_does_not_see_the_shops_payments(shop: Mall) -> None:
    order, payment_id = bought(shop)
    who = shop.merchant(2)
    assert who.get(BASE, params={"order_id": order["id"]}).json()["items"] == []
    for answer in (who.get(f"{BASE}/{payment_id}/show"), give_back(who, payment_id, lines=lines(prod_001=1))):
        refusal(answer, 404, "payment_not_found", "Payment not found")


def test_the_webhook_does_not_settle_what_another_provider_took(shop: Mall) -> None:
    """Ruling 6."""
    order = buy(shop, "cash_on_delivery")
    for payment_id, status in ((order["paymentId"], "PAYMENT_PENDING"), (bought(shop)[1], "PAYMENT_FINISHED")):
        for word in ("finished", "failed"):
            settled(report(shop, payment_id, word), "other provider", payment_id, status)
    assert show(shop.merchant(1), order["paymentId"])["status"] == 1


# Refunds by line


def test_a_line_is_refunded_at_the_price_it_was_bought_for(shop: Mall) -> None:
    order, payment_id = bought(shop)
    who = shop.merchant(1)
    answer = give_back(who, payment_id, reason="damaged", lines=lines(prod_001=1))
    assert answer.status_code == 201, answer.text
    refund = answer.json()
    told = {name: refund[name] for name in ("amount", "currency", "reason", "status", "refunded", "refundable")}
    assert told == {
        "amount": "99.90",
        "currency": "INR",
        "reason": "damaged",
        "status": "succeeded",
        "refunded": "99.90",
        "refundable": "224.80",
    }
    assert [(line["line_id"], line["quantity"]) for line in refund["lines"]] == [("prod_001", 1)]
    second = give_back(who, payment_id, lines=lines(prod_001=2, prod_004=1)).json()
    assert (second["amount"], second["refundable"]) == ("212.30", "12.50")
    assert show(who, payment_id)["status"] == 2
    last = give_back(who, payment_id, lines=lines(prod_004=1)).json()
    assert (last["amount"], last["refundable"]) == ("12.50", "0.00")
    becomes(who, payment_id, 6)
    assert [item["amount"] for item in refunds_of(who, payment_id)["items"]] == ["99.90", "212.30", "12.50"]
    assert ledger_of(who, payment_id)["balance"] == "0.00"
    assert order_of(shop, order)["status"] == "paid"  # ruling 17: the order's status stays


def test_a_refunded_line_does_not_come_back_into_stock(shop: Mall) -> None:
    """Ruling 17: `restock` is false unless somebody says so."""
    _, payment_id = bought(shop)
    before = stock(shop, "prod_001")
    assert give_back(shop.merchant(1), payment_id, lines=lines(prod_001=3)).status_code == 201
    assert give_back(shop.merchant(1), payment_id, lines=lines(prod_004=1), restock=False).status_code == 201
    assert stock(shop, "prod_001") == before


def test_a_line_refund_is_repeated_byte_for_byte(shop: Mall) -> None:
    _, payment_id = bought(shop)
    who, key = shop.merchant(1), a_key()
    first, second = (give_back(who, payment_id, key, lines=lines(prod_001=1)) for _ in range(2))
    assert first.status_code == 201
    is_replay_of(second, first)
    refusal(give_back(who, payment_id, key, lines=lines(prod_001=2)), 422, "idempotency_mismatch")


def test_lines_and_sums_share_what_is_left(shop: Mall) -> None:
    _, payment_id = bought(shop)
    who = shop.merchant(1)
    assert give_back(who, payment_id, amount="300.00").json()["refundable"] == "24.70"
    refused = give_back(who, payment_id, lines=lines(prod_001=1))
    refusal(refused, 400, "refund_exceeds_captured", "Refund exceeds captured amount", refundable="24.70")
    assert give_back(who, payment_id, lines=lines(prod_004=1)).json()["refundable"] == "12.20"


@pytest.fixture(scope="module")
def kept(shop: Mall) -> str:
    """A paid order of which one line is given back, and nothing else ever."""
    _, payment_id = bought(shop)
    assert give_back(shop.merchant(1), payment_id, lines=lines(prod_001=2)).status_code == 201
    return payment_id


@pytest.mark.parametrize(
    "wanted",
    [
        lines(prod_001=2),
        lines(prod_001=4),
        lines(prod_004=3),
        lines(prod_002=1),
        lines(nobody=1),
        [*lines(prod_004=1), *lines(prod_002=1)],
        lines(prod_004=999_999),
    ],
    ids=str,
)
def test_lines_that_are_not_there_or_too_many_cannot_be_refunded(shop: Mall, kept: str, wanted: list[Json]) -> None:
    refusal(give_back(shop.merchant(1), kept, lines=wanted), 400, "line_not_refundable")
    assert refunds_of(shop.merchant(1), kept)["refundable"] == "124.90"


@pytest.mark.parametrize(
    "wanted",
    ["prod_001", {}, 7, [7], ["prod_004"], [{}], [{"line_id": "prod_004"}], [{"quantity": 1}],
     [{"line_id": "prod_004", "quantity": "x"}], [{"line_id": "prod_004", "quantity": None}], [{"line_id": None, "quantity": 1}], [{"line_id": ["prod_004"], "quantity": 1}]],
    ids=str,
)  # fmt: skip
def test_what_are_no_lines_is_malformed(shop: Mall, kept: str, wanted: Any) -> None:
    malformed(give_back(shop.merchant(1), kept, lines=wanted))


@pytest.mark.parametrize("quantity", [0, -1, True, 1.5, "1e3", 2**63, -(2**63)])
def test_a_strange_quantity_refunds_nothing(shop: Mall, kept: str, quantity: Any) -> None:
    answer = give_back(shop.merchant(1), kept, lines=[{"line_id": "prod_004", "quantity": quantity}])
    assert answer.status_code in {400, 422}, answer.text
    assert refunds_of(shop.merchant(1), kept)["refundable"] == "124.90"


def test_one_line_named_twice_is_counted_together(shop: Mall, kept: str) -> None:
    """However it is judged, the third mouse cannot be given back twice."""
    answer = give_back(shop.merchant(1), kept, lines=[*lines(prod_001=1), *lines(prod_001=1)])
    assert answer.status_code in {400, 422}, answer.text
    assert refunds_of(shop.merchant(1), kept)["refundable"] == "124.90"


@pytest.mark.parametrize("method", ["credit_card", "link:stripe"])
def test_a_whole_order_is_refunded_by_sum(shop: Mall, method: str) -> None:
    _, payment_id = bought(shop, method)
    answer = give_back(shop.merchant(1), payment_id)
    assert (answer.status_code, answer.json()["amount"], answer.json()["status"]) == (201, "324.70", "succeeded")
    becomes(shop.merchant(1), payment_id, 6)


def test_a_guests_checkout_is_refunded_by_line(shop: Mall) -> None:
    form = {
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
        "customer_email": "customer@example.com",
        "shipping_address": {
            "street": "Rua das Flores",
            "number": "123",
            "city": "São Paulo",
            "state": "SP",
            "zip_code": "01234-567",
        },
        "items": [{"product_id": "prod_001", "quantity": 2}],
    }
    done = shop.nobody().post("/checkout/process", json=form)
    assert done.status_code == 200, done.text
    who = shop.merchant(1)
    [item] = who.get(BASE, params={"order_id": done.json()["order_id"]}).json()["items"]
    answer = give_back(who, item["payment_id"], lines=lines(prod_001=1))
    assert (answer.status_code, answer.json()["amount"], answer.json()["refundable"]) == (201, "99.90", "99.90")


def test_cash_is_given_back_by_hand(shop: Mall) -> None:
    """Ruling 17: pending until somebody says that it is done."""
    order = buy(shop, "cash_on_delivery")
    clerk, who = staff(shop), shop.merchant(1)
    refusal(give_back(who, order["paymentId"]), 400, "not_refundable", "Payment is not refundable")
    until(lambda: order_of(shop, order)["status"] == "processing", hope="it is being packed")
    for status in ("shipped", "delivered"):
        data(clerk.put(f"/api/orders/{order['id']}/status", json={"status": status}))
    becomes(who, order["paymentId"], 2)
    answer = give_back(who, order["paymentId"], amount="4.70")
    assert (answer.status_code, answer.json()["status"], answer.json()["refundable"]) == (201, "pending", "320.00")
