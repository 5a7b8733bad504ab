"""Every fact is an event of the catalogue: its type, its subject, its place and its data (section 1; ruling 39)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.contracts.payments.provider import says as provider_says
from tests.contracts.payments.till import BASE, NO_TLS, REFUND, Json, a_key, ask, refusal, until, wish
from tests.contracts.webhooks.desk import PAYMENT, Office, is_envelope, subject_of

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

CATALOGUE = {
    "payment": {
        *("payment.created", "payment.waiting", "payment.unknown", "payment.paid", "payment.declined", "payment.expired"),
        *("payment.cancelled", "payment.refunded", "payment.reversed", "refund.created", "refund.succeeded", "refund.failed"),
    },
    "order": {*(f"order.{each}" for each in ("created", "paid", "processing", "shipped", "delivered", "cancelled", "updated"))},
    "checkout": {"checkout.started", "checkout.completed", "checkout.undone"},
    "subscription": {"subscription.tokens_low", "subscription.exhausted"},
    "endpoint": {"endpoint.disabled", "test.ping"},
}
ORDER = {"order_id", "order_number", "status", "payment_status", "payment_id", "user_id", "total", "currency", "items"}
ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}
_buyers = iter(range(771_000_001, 772_000_000))


@pytest.fixture(scope="module")
def town(open_office: OpenOffice) -> Office:
    """An office whose events nobody else makes, and whose clock the last test moves."""
    return open_office()


def in_order(events: list[Json]) -> None:
    """All events are of the catalogue, and the sequence of each subject has no gap."""
    subjects: dict[str, list[int]] = defaultdict(list)
    for each in events:
        is_envelope(each)
        assert each["type"] in CATALOGUE[each["subject"].partition(":")[0]], each
        subjects[each["subject"]].append(each["sequence"])
        if each["subject"].startswith("payment:"):
            assert set(each["data"]) >= PAYMENT, each
            assert subject_of(each["data"]["payment_id"]) == each["subject"]
    for subject, places in subjects.items():
        assert places == list(range(1, len(places) + 1)), subject
    assert len({each["id"] for each in events}) == len(events)


def story(office: Office, payment_id: str, number: int = 1) -> list[Json]:
    found = office.feed(number, subject=subject_of(payment_id))
    in_order(found)
    return found


def types(events: list[Json]) -> list[str]:
    return [each["type"] for each in events]


def states(events: list[Json]) -> list[tuple[str, int]]:
    return [(each["data"]["state"], each["data"]["status"]) for each in events]


def ends_with(office: Office, payment_id: str, type_: str, number: int = 1, within: float = 8) -> list[Json]:
    """The story of a payment once this has happened in it."""
    until(lambda: type_ in types(story(office, payment_id, number)), within, f"{type_} of {payment_id}")
    return story(office, payment_id, number)


def give_back(office: Office, payment_id: str, **body: Any) -> httpx2.Response:
    return office.merchant().post(f"{BASE}/{payment_id}/refunds", json=body, headers={"Idempotency-Key": a_key()})


# Payments


def test_a_payment_is_created_and_waits_for_its_buyer(town: Office) -> None:
    found = story(town, town.pay())
    assert types(found) == ["payment.created", "payment.waiting"]
    assert [each["data"]["status"] for each in found] == [1, 1]
    assert found[1]["data"]["state"] == "waiting"
    assert {each["data"]["captured"] for each in found} == {"0.00"}


def test_a_payment_is_paid(town: Office) -> None:
    found = story(town, town.paid())
    assert types(found) == ["payment.created", "payment.waiting", "payment.paid"]
    assert states(found)[-1] == ("paid", 2)


def test_a_report_that_is_repeated_is_no_event(town: Office) -> None:
    payment_id = town.paid()
    town.settle(payment_id)
    town.settle(payment_id, "failed")
    assert types(story(town, payment_id)) == ["payment.created", "payment.waiting", "payment.paid"]


def test_a_payment_is_declined(town: Office) -> None:
    payment_id = town.pay()
    town.settle(payment_id, "failed")
    found = story(town, payment_id)
    assert types(found) == ["payment.created", "payment.waiting", "payment.declined"]
    assert states(found)[-1] == ("declined", 3)


def test_declined_and_then_paid_after_all(town: Office) -> None:
    payment_id = town.pay()
    town.settle(payment_id, "failed")
    town.settle(payment_id)
    assert types(story(town, payment_id)) == ["payment.created", "payment.waiting", "payment.declined", "payment.paid"]


@pytest.mark.parametrize("code", ["provider_link_failed", "provider_unreachable"])
def test_a_refused_link_is_created_and_declined(town: Office, code: str) -> None:
    from tests.contracts.payments.provider import CUT

    body = wish()
    town.mall.provider.for_link(body["order_id"], provider_says(500) if code == "provider_link_failed" else CUT)
    answer = ask(town.merchant(), body)
    assert answer.status_code == 502, answer.text
    payment_id = answer.json()["payment_id"]
    refusal(answer, 502, code, None, payment_id=payment_id)
    found = story(town, payment_id)
    assert types(found) == ["payment.created", "payment.declined"]
    assert found[-1]["data"]["reason"] == code
    town.settle(payment_id)
    assert types(story(town, payment_id)) == ["payment.created", "payment.declined", "payment.paid"]


def test_a_refused_request_is_no_event(town: Office) -> None:
    before = len(town.feed(2))
    assert ask(town.merchant(2), alias="nobody").status_code == 400
    assert town.merchant(2).post(BASE, json={}).status_code == 422
    assert len(town.feed(2)) == before


def test_a_superseded_payment_is_cancelled(town: Office) -> None:
    body = wish()
    late = town.pay(1, **body)
    town.settle(late, "failed")
    newer = town.pay(1, **body)
    town.settle(late)
    found = ends_with(town, newer, "payment.cancelled")
    assert types(found) == ["payment.created", "payment.waiting", "payment.cancelled"]
    assert (states(found)[-1], found[-1]["data"]["reason"]) == (("cancelled", 3), "superseded")


def test_late_money_that_goes_back_is_told_whole(town: Office) -> None:
    body = wish()
    late = town.pay(1, **body)
    town.settle(late, "failed")
    newer = town.paid(1, **body)
    town.settle(late)
    found = ends_with(town, late, "payment.refunded", within=20)
    told = types(found)
    assert told[:4] == ["payment.created", "payment.waiting", "payment.declined", "payment.paid"]
    assert told.index("refund.created") < told.index("refund.succeeded")
    assert types(story(town, newer)) == ["payment.created", "payment.waiting", "payment.paid"]


def test_a_whole_refund_is_told(town: Office) -> None:
    payment_id = town.paid(price="40.00")
    answer = give_back(town, payment_id)
    assert answer.status_code == 201
    found = ends_with(town, payment_id, "payment.refunded")
    assert sorted(types(found)[3:]) == ["payment.refunded", "refund.created", "refund.succeeded"]
    last = next(each for each in found if each["type"] == "payment.refunded")
    assert (last["data"]["state"], last["data"]["status"], last["data"]["refunded"]) == ("refunded", 6, "40.00")


def test_a_partial_refund_leaves_the_payment_paid(town: Office) -> None:
    payment_id = town.paid(price="40.00")
    answer = give_back(town, payment_id, amount="15.00", reason="damaged")
    assert answer.status_code == 201
    found = ends_with(town, payment_id, "refund.succeeded")
    assert types(found)[3:] == ["refund.created", "refund.succeeded"]
    for each in found[3:]:
        refund = each["data"]["refund"]
        assert set(refund) >= REFUND
        assert (refund["refund_id"], refund["amount"], refund["reason"]) == (answer.json()["refund_id"], "15.00", "damaged")
    assert states(found)[-1] == ("paid", 2)
    assert found[-1]["data"]["refunded"] == "15.00"
    give_back(town, payment_id, amount="25.00")
    whole = ends_with(town, payment_id, "payment.refunded")
    assert types(whole).count("refund.created") == types(whole).count("refund.succeeded") == 2


def test_a_refund_that_the_provider_refuses_is_told(town: Office) -> None:
    payment_id = town.paid(price="40.00")
    town.mall.provider.for_refund(payment_id, provider_says(409, {"status": "failed"}))
    answer = give_back(town, payment_id, amount="10.00")
    assert answer.status_code == 201, answer.text
    found = ends_with(town, payment_id, "refund.failed")
    assert types(found)[3:] == ["refund.created", "refund.failed"]
    assert found[-1]["data"]["refund"]["status"] == "failed"
    assert (states(found)[-1], found[-1]["data"]["refunded"]) == (("paid", 2), "0.00")


@pytest.mark.parametrize(("number", "price"), [(5, "500"), (6, "1.250"), (2, "3.10")])
def test_money_is_told_in_the_merchants_currency(town: Office, number: int, price: str) -> None:
    found = story(town, town.paid(number, price=price, amount="1.50"), number)
    data = found[-1]["data"]
    assert (data["price"], data["captured"], data["amount"]) == (price, price, "1.5")
    assert data["currency"] == {5: "JPY", 6: "KWD", 2: "EUR"}[number]


# Subscriptions


def test_tokens_that_run_low_and_out_are_told_once(town: Office) -> None:
    """Merchant 4 has a hundred tokens: ten are left after ninety payments."""
    subject, who = "subscription:4:4", town.merchant(4)

    def told() -> list[str]:
        found = town.feed(4, subject=subject)
        in_order(found)
        return types(found)

    for _ in range(89):
        town.pay(who)
    assert told() == []
    for _ in range(3):
        town.pay(who)
    assert told() == ["subscription.tokens_low"]
    for _ in range(8):
        town.pay(who)
    assert ask(who).status_code == 429
    until(lambda: told() == ["subscription.tokens_low", "subscription.exhausted"], 5, "both are told")
    assert ask(who).status_code == 429
    assert told() == ["subscription.tokens_low", "subscription.exhausted"]


# Orders and checkouts of the shop


def buyer(office: Office) -> httpx2.Client:
    return office.server.client(next(_buyers), verify=NO_TLS)


def data(answer: httpx2.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()["data"]


def order(office: Office, method: str = "credit_card", **more: Any) -> str:
    who = buyer(office)
    data(who.post("/api/cart/items", json={"productId": "prod_004", "quantity": 2}))
    made = data(who.post("/api/orders", json={"shippingAddress": ADDRESS, "paymentMethod": method, **more}))
    order_id: str = made["id"]
    return order_id


def life(office: Office, order_id: str, until_type: str) -> list[Json]:
    subject = f"order:{order_id}"
    until(lambda: until_type in types(office.feed(1, subject=subject)), 10, f"{until_type} of {order_id}")
    found = office.feed(1, subject=subject)
    in_order(found)
    for each in found:
        assert set(each["data"]) >= ORDER, each
        assert each["data"]["order_id"] == order_id
        for item in each["data"]["items"]:
            assert set(item) >= {"product_id", "quantity", "price"}
        assert "Mumbai" not in str(each)
    return found


def moves(events: list[Json]) -> list[str]:
    return [each for each in types(events) if each != "order.updated"]


def test_an_orders_life_is_told(town: Office) -> None:
    order_id = order(town)
    life(town, order_id, "order.paid")
    staff = town.server.client(7, "staff", verify=NO_TLS)
    for status in ("processing", "shipped", "delivered"):
        body = {"status": status, **({"trackingNumber": "T-1", "carrier": "Post"} if status == "shipped" else {})}
        data(staff.put(f"/api/orders/{order_id}/status", json=body))
    found = life(town, order_id, "order.delivered")
    assert moves(found) == ["order.created", "order.paid", "order.processing", "order.shipped", "order.delivered"]
    named = [each["data"]["status"] for each in found if each["type"] != "order.updated"]
    assert named[0] == "pending"
    assert named[-1] == "delivered"
    assert found[0]["data"]["currency"] == "INR"
    [item] = found[0]["data"]["items"]
    assert (item["product_id"], item["quantity"]) == ("prod_004", 2)


def test_a_declined_card_cancels_the_order(town: Office) -> None:
    order_id = order(town, paymentDetails={"cardNumber": "4000000000000002", "expiryDate": "12/30"})
    found = life(town, order_id, "order.cancelled")
    assert moves(found) == ["order.created", "order.cancelled"]
    assert "4000000000000002" not in str(found)


def test_an_order_for_cash_is_processed_at_once(town: Office) -> None:
    found = life(town, order(town, "cash_on_delivery"), "order.processing")
    assert moves(found)[:2] == ["order.created", "order.processing"]


def test_the_payment_of_an_order_is_told_too(town: Office) -> None:
    order_id = order(town)
    payment_id = life(town, order_id, "order.paid")[-1]["data"]["payment_id"]
    found = ends_with(town, payment_id, "payment.paid")
    assert found[0]["type"] == "payment.created"
    assert found[-1]["data"]["currency"] == "INR"
    assert found[-1]["data"]["amount"] == "1"


FORM = {
    "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
    "customer_email": "canary@example.com",
    "shipping_address": {"street": "Canary Street", "number": "1", "city": "Paris", "state": "X", "zip_code": "1"},
    "items": [{"product_id": "prod_004", "quantity": 2}],
}


@pytest.mark.parametrize(
    ("card", "end"), [("4111111111111111", "checkout.completed"), ("4111111111110002", "checkout.undone")], ids=["paid", "declined"]
)
def test_a_checkout_is_told(town: Office, card: str, end: str) -> None:
    form = {**FORM, "payment_method": {**FORM["payment_method"], "card_number": card}}  # type: ignore[dict-item]
    answer = town.mall.nobody().post("/checkout/process", json=form)
    checkout_id = answer.json()["checkout_id"] if answer.is_success else answer.json()["detail"]["checkout_id"]
    subject = f"checkout:{checkout_id}"
    until(lambda: end in types(town.feed(1, subject=subject)), 10, end)
    found = town.feed(1, subject=subject)
    in_order(found)
    assert types(found) == ["checkout.started", end]


def test_events_tell_nothing_about_people_or_cards(town: Office) -> None:
    """Ruling 25: no name, e-mail or address; and no card, ever."""
    town.mall.nobody().post("/checkout/process", json=FORM)
    text = str(town.feed(1))
    for secret in ("canary@example.com", "Canary Street", "4111111111111111", "411111", "sk_demo", "whsec_"):
        assert secret not in text


# At the end, when all has happened


def test_a_link_that_nobody_used_expires(town: Office) -> None:
    payment_id = town.pay(3)
    town.later(86_400 + 60)
    found = ends_with(town, payment_id, "payment.expired", 3, within=20)
    assert types(found) == ["payment.created", "payment.waiting", "payment.expired"]
    assert states(found)[-1] == ("expired", 3)
    town.settle(payment_id)
    assert types(story(town, payment_id, 3))[-1] == "payment.paid"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_no_merchants_feed_has_a_gap(town: Office, number: int) -> None:
    in_order(town.feed(number))
