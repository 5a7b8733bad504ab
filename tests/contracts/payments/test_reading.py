"""Show, tracking, ping, and ids of strangers (section 5; F67)."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .provider import says
from .till import (
    BASE,
    INSTANT,
    NOT_FOUND,
    NOWHERE,
    STATUS_NAMES,
    Json,
    Mall,
    a_key,
    an_order,
    ask,
    give_back,
    keyed,
    paid,
    pay_link,
    report,
    show,
    track,
    wish,
)

EVENT_NAMES = {
    1: "EVENT_PAYMENT_CREATED",
    2: "EVENT_PROVIDER_REQUEST_SENT",
    3: "EVENT_PROVIDER_PAYMENT_ACCEPTED",
    4: "EVENT_MERCHANT_NOTIFICATION_SENT",
    5: "EVENT_PAYMENT_CANCELLED",
    6: "EVENT_PAYMENT_REFUNDED",
    7: "EVENT_PAYMENT_EXPIRED",
    8: "EVENT_PAYMENT_DISPUTED",
}
LOG_NAMES = {1: "LOG_PENDING", 2: "LOG_SUCCESS", 3: "LOG_FAILED", 4: "LOG_RETRYING", 5: "LOG_BLOCKED", 6: "LOG_PROCESSING"}
EVENT = {"event_type", "event_name", "status", "status_name", "message", "payload", "timestamp"}


def kinds(events: list[Json]) -> list[tuple[int, int]]:
    return [(event["event_type"], event["status"]) for event in events]


def is_a_timeline(events: list[Json]) -> None:
    for event in events:
        assert set(event) == EVENT
        assert event["event_name"] == EVENT_NAMES[event["event_type"]]
        assert event["status_name"] == LOG_NAMES[event["status"]]
        assert event["payload"] is None or isinstance(event["payload"], dict)
        assert INSTANT.fullmatch(event["timestamp"])
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)


# Show


def test_a_bare_id_is_the_same_as_show(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    bare = merchant.get(f"{BASE}/{payment_id}")
    assert bare.status_code == 200, bare.text
    assert bare.json() == show(merchant, payment_id)
    assert mall.with_headers(X_Merchant_Id="1").get(f"{BASE}/{payment_id}").json() == bare.json()
    assert mall.nobody().get(f"{BASE}/{payment_id}").status_code == 401


def test_show_follows_the_money(mall: Mall, merchant: httpx2.Client) -> None:
    def sums() -> tuple[Any, ...]:
        found = show(merchant, payment_id)
        assert found["status_name"] == STATUS_NAMES[found["status"]]
        return found["status"], found["captured"], found["refunded"], found["refundable"]

    payment_id = pay_link(merchant, price="10.00")
    first = show(merchant, payment_id)
    assert sums() == (1, "0.00", "0.00", "0.00")
    report(mall, payment_id)
    assert sums() == (2, "10.00", "0.00", "10.00")
    assert give_back(merchant, payment_id, amount="2.50").status_code == 201
    assert sums() == (2, "10.00", "2.50", "7.50")
    assert give_back(merchant, payment_id).status_code == 201
    assert sums() == (6, "10.00", "10.00", "0.00")
    last = show(merchant, payment_id)
    assert (last["reason"], last["created_at"]) == (None, first["created_at"])
    assert last["updated_at"] > first["updated_at"]


def test_a_declined_payment_has_a_word_for_it(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    assert show(merchant, payment_id)["reason"] is None
    report(mall, payment_id, "failed")
    found = show(merchant, payment_id)
    assert found["reason"] is None or isinstance(found["reason"], str)
    assert (found["status"], found["captured"]) == (3, "0.00")


# Tracking


def test_tracking_tells_the_story(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    answer = merchant.get(f"{BASE}/{payment_id}/tracking").json()
    assert set(answer) == {"payment_id", "payment_status", "payment_status_name", "events"}
    assert (answer["payment_id"], answer["payment_status"], answer["payment_status_name"]) == (payment_id, 1, "PAYMENT_PENDING")
    is_a_timeline(answer["events"])
    created, asked = answer["events"]
    assert created["event_type"] == 1
    assert (asked["event_type"], asked["status"]) == (2, 2)

    report(mall, payment_id)
    give_back(merchant, payment_id, amount="1.00")
    give_back(merchant, payment_id)
    answer = merchant.get(f"{BASE}/{payment_id}/tracking").json()
    assert (answer["payment_status"], answer["payment_status_name"]) == (6, "PAYMENT_REFUNDED")
    is_a_timeline(answer["events"])
    assert answer["events"][:2] == [created, asked]
    assert kinds(answer["events"])[2] == (3, 2)
    later = [event["event_type"] for event in answer["events"][3:]]
    assert later.count(6) >= 2
    assert set(later) <= {4, 6}


def test_a_declined_payments_story_says_so(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    report(mall, payment_id, "failed")
    events = track(merchant, payment_id)
    is_a_timeline(events)
    assert [each for each in kinds(events) if each[0] != 4][1:] == [(2, 2), (3, 3)]


def test_a_failed_links_story_says_so(mall: Mall, merchant: httpx2.Client) -> None:
    order_id = an_order()
    mall.provider.for_link(order_id, says(500))
    payment_id = ask(merchant, order_id=order_id).json()["payment_id"]
    answer = merchant.get(f"{BASE}/{payment_id}/tracking").json()
    is_a_timeline(answer["events"])
    assert answer["events"][0]["event_type"] == 1
    assert (2, 3) in kinds(answer["events"])
    assert (answer["payment_status"], answer["payment_status_name"]) == (3, "PAYMENT_FAILED")


def test_no_secret_is_in_a_story(mall: Mall, merchant: httpx2.Client) -> None:
    key = a_key()
    payment_id = paid(mall, merchant, wish(), headers=keyed(key))
    for name in ("show", "tracking"):
        text = mall.nobody().get(f"{BASE}/{payment_id}/{name}").text
        assert [word for word in ("sk_demo", key, mall.server.webhook_secret, "X-Internal-Signature") if word in text] == []


def test_reads_see_the_callers_own_writes(mall: Mall, merchant: httpx2.Client) -> None:
    for _ in range(10):
        payment_id = pay_link(merchant)
        assert show(merchant, payment_id)["status"] == 1
        report(mall, payment_id)
        assert show(merchant, payment_id)["status"] == 2
        assert merchant.get(f"{BASE}/{payment_id}/tracking").json()["payment_status"] == 2


# Strangers


@pytest.fixture(scope="module")
def canary(mall: Mall) -> Json:
    """A paid and partly refunded payment of merchant 1, and its words."""
    who = mall.merchant(1)
    payment_id = paid(mall, who, wish(order_id="canary-order", event_id="canary-event", price="77.31"))
    assert give_back(who, payment_id, amount="1.13", reason="canary-reason").status_code == 201
    return show(who, payment_id)


FOREIGN = [
    ("GET", "", None),
    ("GET", "/show", None),
    ("GET", "/tracking", None),
    ("GET", "/refunds", None),
    ("GET", "/ledger", None),
    ("POST", "/refunds", {}),
    ("POST", "/refunds", {"amount": "1.00"}),
    ("POST", "/refunds", {"amount": "1000000.00"}),
    ("POST", "/refunds", {"lines": [{"line_id": "prod_001", "quantity": 1}]}),
]


@pytest.mark.parametrize(("method", "tail", "body"), FOREIGN, ids=str)
@pytest.mark.parametrize("caller", [{"X_Api_Key": "sk_demo_2"}, {"X_Merchant_Id": "2"}, {"X_Api_Key": "sk_demo_7"}], ids=str)
def test_a_strangers_payment_is_not_there(
    mall: Mall, canary: Json, method: str, tail: str, body: Json | None, caller: dict[str, str]
) -> None:
    """F67: the same answer as for an id that nobody has, and nothing of the payment in it."""
    who = mall.with_headers(**caller)
    answers = [
        who.request(method, f"{BASE}/{number}{tail}", json=body, headers=keyed()) for number in (canary["payment_id"], NOWHERE)
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert "canary" not in answers[0].text
    before = {name: canary[name] for name in ("status", "refunded", "refundable", "updated_at")}
    now = show(mall.merchant(1), canary["payment_id"])
    assert {name: now[name] for name in before} == before


def test_no_list_shows_a_strangers_payment(mall: Mall, canary: Json) -> None:
    who = mall.merchant(2)
    queries: list[Json] = [{"limit": 100}, {"order_id": "canary-order"}, {"cursor": "", "limit": 100}, {"status": 2, "cursor": ""}]
    for query in queries:
        text = who.get(BASE, params=query).text
        assert canary["payment_id"] not in text
        assert "canary" not in text


def test_a_stranger_who_takes_the_same_order_id_learns_nothing(mall: Mall, canary: Json) -> None:
    answer = ask(mall.merchant(3), order_id="canary-order", price=1)
    assert answer.status_code == 200
    assert canary["payment_id"] not in answer.text


@pytest.mark.parametrize("payment_id", [NOWHERE, "x", "1", "%00", "019b76da-a801-7d90-a2b6-4c7f1e3d5b6g"])
@pytest.mark.parametrize("name", ["show", "tracking"])
def test_the_public_too_is_told_not_found(mall: Mall, payment_id: str, name: str) -> None:
    answer = mall.nobody().get(f"{BASE}/{payment_id}/{name}")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("tail", ["/refunds", "/ledger"])
def test_refunds_and_ledger_are_never_public(mall: Mall, canary: Json, tail: str) -> None:
    answer = mall.nobody().get(f"{BASE}/{canary['payment_id']}{tail}")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


# Ping


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": "sk_nobody"}, {"X-Merchant-Id": "999"}], ids=str)
def test_ping_answers_everybody(mall: Mall, headers: dict[str, str]) -> None:
    answer = mall.nobody().get(f"{BASE}/ping", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert json.loads(answer.content) == {"ok": True}
