"""The demo data of section 2, seen through `GET /api/v1/merchants/me` (section 6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from .till import INSTANT, Mall, an_order, me, opened, pay_link, refusal, show, tokens_used, wish

PLANS = {
    1: ("Basic", "9.99", 1_000_000),
    2: ("Premium", "19.99", 10_000_000),
    3: ("Enterprise", "49.99", 100_000_000),
    4: ("Trial", "0.00", 100),
    5: ("Taster", "0.00", 3),
}
MERCHANTS = [
    (1, "Demo Merchant", "demo@example.com", "USD", 1, True),
    (2, "Test Merchant", "test@example.com", "EUR", 2, True),
    (3, "Sample Merchant", "sample@example.com", "GBP", 3, True),
    (4, "Trial Merchant", "trial@example.com", "USD", 4, True),
    (5, "Yen Merchant", "yen@example.com", "JPY", 1, True),
    (6, "Dinar Merchant", "dinar@example.com", "KWD", 1, True),
    (7, "Lapsed Merchant", "lapsed@example.com", "USD", 1, False),
    (8, "Taster Merchant", "taster@example.com", "USD", 5, True),
]
MEMBERS = {"subscription_id", "plan", "price", "status", "status_name", "tokens_total", "tokens_used", "tokens_left", "started_at"}


@pytest.mark.parametrize(("number", "name", "email", "currency", "plan", "active"), MERCHANTS)
def test_a_demo_merchant_is_as_the_table_says(
    mall: Mall, number: int, name: str, email: str, currency: str, plan: int, active: bool
) -> None:
    found = me(mall.merchant(number))
    assert set(found) == {"merchant_id", "name", "email", "currency", "created_at", "subscription", "subscriptions"}
    assert (found["merchant_id"], found["name"], found["email"], found["currency"]) == (number, name, email, currency)
    assert type(found["merchant_id"]) is int
    assert INSTANT.fullmatch(found["created_at"])
    [subscription] = found["subscriptions"]
    assert found["subscription"] == (subscription if active else None)
    is_the_plan(subscription, plan, active, exact=currency not in {"JPY", "KWD"})


def is_the_plan(subscription: dict[str, Any], plan: int, active: bool, *, exact: bool) -> None:
    name, price, total = PLANS[plan]
    assert set(subscription) == MEMBERS
    assert (subscription["subscription_id"], subscription["plan"], subscription["tokens_total"]) == (plan, name, total)
    assert isinstance(subscription["price"], str)
    assert subscription["price"] == price if exact else Decimal(subscription["price"]) == Decimal(price)
    state = (1, "SUBSCRIPTION_ACTIVE") if active else (2, "SUBSCRIPTION_INACTIVE")
    assert (subscription["status"], subscription["status_name"]) == state
    for member in ("subscription_id", "status", "tokens_total", "tokens_used", "tokens_left"):
        assert type(subscription[member]) is int
    assert subscription["tokens_left"] == total - subscription["tokens_used"]
    assert INSTANT.fullmatch(subscription["started_at"])


def test_the_example_of_the_taster_is_true(mall: Mall) -> None:
    found = me(mall.merchant(8))["subscription"]
    assert (found["tokens_total"], found["tokens_used"], found["tokens_left"]) == (3, 0, 3)


@pytest.mark.parametrize("alias", ["stripe", "paypal", "adyen"])
def test_the_demo_providers_are_there(mall: Mall, merchant: httpx2.Client, alias: str) -> None:
    order_id = an_order()
    payment_id = pay_link(merchant, wish(order_id=order_id, alias=alias))
    assert show(merchant, payment_id)["provider"] == alias
    assert [call.body["provider"] for call in mall.provider.links(order_id)] == [alias]


@pytest.mark.parametrize("alias", ["bank", "Stripe", "STRIPE", "stripe ", "strip", "*", "a" * 64, "link", "simulated", "card"])
def test_an_alias_that_nobody_has_is_not_found(mall: Mall, merchant: httpx2.Client, alias: str) -> None:
    order_id = an_order()
    answer = merchant.post("/api/v1/payments", json=wish(order_id=order_id, alias=alias))
    refusal(answer, 400, "provider_not_found", "Provider not found")
    assert mall.provider.links(order_id) == []


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_an_accepted_payment_takes_one_token(mall: Mall, number: int) -> None:
    who = mall.merchant(number)
    before = tokens_used(who)
    pay_link(who, price=10)
    assert tokens_used(who) == before + 1


# Which subscription


@pytest.mark.parametrize("named", [1, "1", None])
def test_the_active_subscription_may_be_named(merchant: httpx2.Client, named: Any) -> None:
    before = tokens_used(merchant)
    pay_link(merchant, subscription_id=named)
    assert tokens_used(merchant) == before + 1


@pytest.mark.parametrize("named", [2, "2", 4, 999, "999", "none"])
def test_a_subscription_that_is_not_the_merchants_active_one_is_not_found(mall: Mall, merchant: httpx2.Client, named: Any) -> None:
    order_id = an_order()
    before = tokens_used(merchant)
    answer = merchant.post("/api/v1/payments", json=wish(order_id=order_id, subscription_id=named))
    refusal(answer, 400, "subscription_not_found", "Active subscription not found")
    assert (tokens_used(merchant), mall.provider.links(order_id)) == (before, [])


@pytest.mark.parametrize("more", [{}, {"subscription_id": 1}, {"subscription_id": None}])
def test_a_lapsed_merchant_has_no_active_subscription(mall: Mall, more: dict[str, Any]) -> None:
    answer = mall.merchant(7).post("/api/v1/payments", json=wish(**more))
    refusal(answer, 400, "subscription_not_found", "Active subscription not found")


def test_a_lapsed_merchant_may_still_read(mall: Mall) -> None:
    answer = mall.merchant(7).get("/api/v1/payments")
    assert answer.json() == {"page": 1, "limit": 20, "total": 0, "has_next": False, "next_cursor": None, "items": []}


@pytest.mark.parametrize(
    ("number", "price", "shown"), [(1, 10, "10.00"), (2, "0.01", "0.01"), (5, 500, "500"), (6, "1.25", "1.250"), (6, 3, "3.000")]
)
def test_money_is_answered_with_the_decimals_of_the_merchants_currency(mall: Mall, number: int, price: Any, shown: str) -> None:
    who = mall.merchant(number)
    payment_id = opened(who.post("/api/v1/payments", json=wish(price=price)))
    found = show(who, payment_id)
    zero = str(Decimal(0).quantize(Decimal(shown)))
    assert (found["price"], found["captured"], found["refunded"], found["refundable"]) == (shown, zero, zero, zero)
    assert found["currency"] == me(who)["currency"]
