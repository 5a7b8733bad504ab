"""Asking for a payment (section 3): what is accepted, answered, kept, and told to the provider."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .provider import link
from .till import (
    BASE,
    INSTANT,
    SHOWN,
    UUID7,
    Mall,
    an_order,
    ask,
    keyed,
    malformed,
    opened,
    paid,
    pay_link,
    refusal,
    show,
    track,
    wish,
    without,
)


def test_the_example_of_the_contract_is_accepted(mall: Mall, merchant: httpx2.Client) -> None:
    body = {**wish(subscription_id=1, event_id="evt-1"), "order_id": an_order()}
    answer = ask(merchant, body)
    payment_id = opened(answer)
    assert answer.json() == {"payment_id": payment_id, "status": "PAYMENT_PENDING", "payment_url": link(payment_id)}
    found = show(merchant, payment_id)
    assert set(found) - {"lines"} == SHOWN
    assert INSTANT.fullmatch(found["created_at"])
    assert INSTANT.fullmatch(found["updated_at"])
    told = {name: value for name, value in found.items() if name not in {"created_at", "updated_at", "lines"}}
    assert told == {
        "payment_id": payment_id,
        "order_id": body["order_id"],
        "provider": "stripe",
        "amount": "2",
        "price": "349.70",
        "currency": "USD",
        "status": 1,
        "status_name": "PAYMENT_PENDING",
        "merchant_id": 1,
        "payment_url": link(payment_id),
        "captured": "0.00",
        "refunded": "0.00",
        "refundable": "0.00",
        "reason": None,
        "event_id": "evt-1",
    }
    assert type(found["status"]) is int
    assert type(found["merchant_id"]) is int


def test_the_provider_is_asked_once_with_all_that_it_must_know(mall: Mall, merchant: httpx2.Client) -> None:
    order_id = an_order()
    payment_id = pay_link(merchant, order_id=order_id)
    [call] = mall.provider.links(order_id)
    assert (call.method, call.path) == ("POST", "/payment-links")
    assert call.headers["idempotency-key"] == payment_id
    body = call.body
    assert INSTANT.fullmatch(body.pop("expires_at"))
    assert body == {
        "payment_id": payment_id,
        "merchant_id": 1,
        "provider": "stripe",
        "order_id": order_id,
        "price": "349.70",
        "currency": "USD",
    }


@pytest.mark.parametrize("text", ["x-api-key", "x-merchant-id", "authorization", "sk_demo_1"])
def test_the_provider_learns_no_secret(mall: Mall, merchant: httpx2.Client, text: str) -> None:
    order_id = an_order()
    ask(merchant, order_id=order_id, headers=keyed())
    [call] = mall.provider.links(order_id)
    assert text not in call.headers
    assert text.encode() not in call.raw
    assert text not in call.headers.values()


def test_the_status_of_the_answer_is_a_name_and_elsewhere_a_number_beside_its_name(merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    tracking = merchant.get(f"{BASE}/{payment_id}/tracking").json()
    assert (tracking["payment_status"], tracking["payment_status_name"]) == (1, "PAYMENT_PENDING")
    [item] = [item for item in merchant.get(BASE).json()["items"] if item["payment_id"] == payment_id]
    assert (item["status"], item["status_name"]) == (1, "PAYMENT_PENDING")


def test_ids_are_uuids_that_grow(merchant: httpx2.Client) -> None:
    ids = [pay_link(merchant) for _ in range(3)]
    assert ids == sorted(ids)
    assert all(UUID7.fullmatch(each) for each in ids)


# order_id


@pytest.mark.parametrize(
    "order_id",
    [
        1,
        1001,
        2**53 + 1,
        2**63 - 1,
        "A",
        "x" * 64,
        "A 7",
        "ü" * 64,
        "заказ-7",
        "订单",
        "0",
        "-1",
        "1.0",
        "a/b?c=d&e",
        "<b>",
        "'\"--;",
        "💳",
    ],
)
def test_an_order_id_keeps_its_type_and_its_letters(mall: Mall, order_id: Any) -> None:
    who = mall.merchant(3)
    payment_id = pay_link(who, order_id=order_id)
    found = show(who, payment_id)["order_id"]
    assert found == order_id
    assert type(found) is type(order_id)
    [item] = who.get(BASE, params={"order_id": str(order_id)}).json()["items"]
    assert item["order_id"] == order_id
    assert type(item["order_id"]) is type(order_id)


@pytest.mark.parametrize(("first", "second"), [(41, "41"), ("42", 42), (2**63 - 2, str(2**63 - 2))])
def test_a_number_and_its_text_are_one_order(mall: Mall, first: Any, second: Any) -> None:
    who = mall.merchant(2)
    payment_id = pay_link(who, order_id=first)
    refusal(
        ask(who, order_id=second),
        400,
        "payment_already_exists",
        "Payment already exists",
        payment_id=payment_id,
        status="PAYMENT_PENDING",
        payment_url=link(payment_id),
    )
    assert type(show(who, payment_id)["order_id"]) is type(first)


def test_order_ids_of_two_merchants_never_meet(mall: Mall) -> None:
    order_id = an_order()
    ids = {pay_link(mall.merchant(number), order_id=order_id, price=7) for number in (1, 2, 3, 5)}
    assert len(ids) == 4


def test_letters_of_another_size_are_another_order(merchant: httpx2.Client) -> None:
    order_id = an_order()
    assert pay_link(merchant, order_id=order_id + "a") != pay_link(merchant, order_id=order_id + "A")


# amount and price


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2", "2"),
        ('"2"', "2"),
        ("2.0", "2"),
        ('"1.50"', "1.5"),
        ("1.5", "1.5"),
        ("1e2", "100"),
        ("1.25e1", "12.5"),
        ("1e-8", "0.00000001"),
        ('"0.00000001"', "0.00000001"),
        ('"999999999999.99999999"', "999999999999.99999999"),
        ("999999999999.99999999", "999999999999.99999999"),
        ("0.1", "0.1"),
        ("1000000", "1000000"),
    ],
)
def test_a_quantity_is_exact_and_answered_without_trailing_zeros(merchant: httpx2.Client, sent: str, shown: str) -> None:
    raw = json.dumps(wish(amount="@")).replace('"@"', sent)
    found = show(merchant, opened(merchant.post(BASE, content=raw)))
    assert (found["amount"], found["price"]) == (shown, "349.70")


@pytest.mark.parametrize(
    "sent",
    ["12.5", '"12.50"', '"12.5"', '"12.500"', "12.50", "12.500", "1.25e1", "125e-1", "1250E-2", "0.0125E+3",
     '"12.50000000000000000000000"', '"0012.5"'],
)  # fmt: skip
def test_twelve_and_a_half_may_be_written_in_many_ways(merchant: httpx2.Client, sent: str) -> None:
    raw = json.dumps(wish(price="@")).replace('"@"', sent)
    assert show(merchant, opened(merchant.post(BASE, content=raw)))["price"] == "12.50"


@pytest.mark.parametrize(
    ("number", "sent", "shown"),
    [
        (1, "0.01", "0.01"),
        (1, '"9999999999999.99"', "9999999999999.99"),
        (1, "9999999999999.99", "9999999999999.99"),
        (1, "0.1", "0.10"),
        (1, "1.1", "1.10"),
        (1, "4.35", "4.35"),
        (1, "1.15", "1.15"),
        (1, "9007199254740.993", None),
        (1, "900719925474099.3e-2", None),
        (1, "90071992547409.9e-1", "9007199254740.99"),
        (5, "1", "1"),
        (5, '"500.00"', "500"),
        (5, "5e2", "500"),
        (5, "999999999999999", "999999999999999"),
        (5, '"1000000000000000"', None),
        (6, '"1.25"', "1.250"),
        (6, "0.001", "0.001"),
        (6, '"999999999999.999"', "999999999999.999"),
        (6, '"1000000000000"', None),
        (1, '"10000000000000.00"', None),
        (2, "10", "10.00"),
    ],
)
def test_a_price_is_exact_in_the_merchants_currency_or_refused(mall: Mall, number: int, sent: str, shown: str | None) -> None:
    """F19. Nothing is a binary float on the way; the most is 10^15 less one minor units."""
    who = mall.merchant(number)
    answer = who.post(BASE, content=json.dumps(wish(price="@")).replace('"@"', sent))
    if shown is None:
        malformed(answer)
        return
    payment_id = opened(answer)
    assert show(who, payment_id)["price"] == shown
    [call] = mall.provider.links_of(payment_id)
    assert call.body["price"] == shown


def test_nothing_is_multiplied(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, amount=1000, price="0.05")
    found = show(merchant, payment_id)
    assert (found["amount"], found["price"], found["captured"]) == ("1000", "0.05", "0.05")


# The other members


@pytest.mark.parametrize("event_id", ["e", "evt-1", "ü" * 255, "x" * 255, "evt 1"])
def test_the_callers_event_id_is_kept_and_shown_in_the_timeline(merchant: httpx2.Client, event_id: str) -> None:
    payment_id = pay_link(merchant, event_id=event_id)
    assert show(merchant, payment_id)["event_id"] == event_id
    assert event_id in json.dumps(track(merchant, payment_id), ensure_ascii=False)


def test_an_event_id_need_not_be_unique(merchant: httpx2.Client) -> None:
    assert pay_link(merchant, event_id="evt-again") != pay_link(merchant, event_id="evt-again")


def test_an_event_id_is_made_when_none_is_given(merchant: httpx2.Client) -> None:
    made = [show(merchant, pay_link(merchant))["event_id"] for _ in range(2)]
    assert all(isinstance(each, str) and each for each in made)
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "more",
    [
        {"merchant_id": 2, "status": 2, "currency": "EUR", "payment_url": "https://evil.example.com/"},
        {"payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "captured": "349.70", "refundable": "1", "tokens_used": 0},
        {"": 1, "__proto__": {"status": 2}, "total": -1, "Price": "1", "ORDER_ID": 7},
        {"price ": "1.00", "amount\u0000": 7, "nested": [[[[{"a": None}]]]]},
    ],
    ids=repr,
)
def test_members_that_nobody_knows_change_nothing(mall: Mall, merchant: httpx2.Client, more: dict[str, Any]) -> None:
    """F68."""
    body = wish()
    payment_id = opened(ask(merchant, {**more, **body}))
    found = show(merchant, payment_id)
    assert (found["merchant_id"], found["currency"], found["price"], found["status"]) == (1, "USD", "349.70", 1)
    assert (found["payment_url"], found["captured"], found["order_id"]) == (link(payment_id), "0.00", body["order_id"])


@pytest.mark.parametrize(
    "kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded", "text/xml; charset=utf-16", "nonsense"]
)
def test_the_content_type_is_not_looked_at(merchant: httpx2.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    opened(merchant.post(BASE, content=json.dumps(wish()).encode(), headers=headers))


def test_a_body_in_other_white_space_is_the_same_body(merchant: httpx2.Client) -> None:
    opened(
        merchant.post(
            BASE, content=b" \r\n\t" + json.dumps(wish(order_id="ü-" + an_order()), indent=4, ensure_ascii=False).encode() + b"\n "
        )
    )


# Business rules, in their order


def test_an_unknown_alias_is_told_before_an_existing_payment(merchant: httpx2.Client) -> None:
    body = wish()
    pay_link(merchant, body)
    refusal(ask(merchant, body, alias="bank"), 400, "provider_not_found", "Provider not found")


def test_an_existing_payment_is_told_before_a_missing_subscription(merchant: httpx2.Client) -> None:
    body = wish()
    payment_id = pay_link(merchant, body)
    answer = ask(merchant, body, subscription_id=999)
    assert refusal_id(answer) == payment_id


def test_an_unknown_alias_is_told_before_a_missing_subscription(mall: Mall) -> None:
    refusal(ask(mall.merchant(7), alias="bank"), 400, "provider_not_found", "Provider not found")


@pytest.mark.parametrize("change", [{"amount": 3}, {"price": "1.00"}, {"alias": "paypal"}, {"event_id": "other"}, {}])
def test_amount_and_price_of_an_existing_payment_are_not_compared(
    mall: Mall, merchant: httpx2.Client, change: dict[str, Any]
) -> None:
    body = wish()
    payment_id = pay_link(merchant, body)
    assert refusal_id(ask(merchant, body, **change)) == payment_id
    assert len(mall.provider.links(body["order_id"])) == 1


def refusal_id(answer: httpx2.Response) -> str:
    told = without(without(answer.json(), "payment_id"), "payment_url")
    assert answer.status_code == 400
    assert told == {"detail": "Payment already exists", "code": "payment_already_exists", "status": "PAYMENT_PENDING"}
    payment_id: str = answer.json()["payment_id"]
    assert answer.json()["payment_url"] == link(payment_id)
    return payment_id


def test_a_paid_payment_stands_in_the_way_and_its_status_is_told(mall: Mall, merchant: httpx2.Client) -> None:
    body = wish()
    payment_id = paid(mall, merchant, body)
    found = ask(merchant, body)
    refusal(
        found,
        400,
        "payment_already_exists",
        "Payment already exists",
        payment_id=payment_id,
        status="PAYMENT_FINISHED",
        payment_url=link(payment_id),
    )
