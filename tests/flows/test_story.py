"""One story through every door: what a merchant's server reads, what the buyer's order says, and what an operator is shown."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx2
import pytest
from tests import rig
from tests.conftest import StartKassa
from tests.contracts.payments.till import NOT_FOUND, NOWHERE, Mall, give_back, paid, pay_link, report, track, wish
from tests.unit.shell.processes import run

BASE = "/api/v1/payments"
ENTRY = {"number", "at", "kind", "title", "subject", "sequence", "details"}
HOME = {"street": "Canary Street 1", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}


@pytest.fixture(scope="module")
def mall(start_kassa: StartKassa) -> Mall:
    return Mall(start_kassa(RATE_LIMIT="off"))


@pytest.fixture
def merchant(mall: Mall) -> httpx2.Client:
    return mall.merchant(1)


def told(who: httpx2.Client, payment_id: str, **query: Any) -> dict[str, Any]:
    answer = who.get(f"{BASE}/{payment_id}/timeline", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"payment_id", "items", "next_after", "has_next"}
    assert all(set(entry) == ENTRY for entry in found["items"])
    return found


def until_paid(buyer: httpx2.Client, order_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 15
    while True:
        order: dict[str, Any] = buyer.get(f"/api/orders/{order_id}").json()["data"]
        if order["status"] == "paid":
            return order
        assert time.monotonic() < deadline, order
        time.sleep(0.05)


def bought(server: rig.Server, user: int) -> dict[str, Any]:
    """An order of the shop that was paid by a link."""
    buyer = server.client(user)
    product = buyer.get("/api/products").json()["data"]["products"][0]["id"]
    assert buyer.post("/api/cart/items", json={"productId": product, "quantity": 1}).status_code in {200, 201}
    placed = buyer.post("/api/orders", json={"shippingAddress": HOME, "paymentMethod": "link:stripe"})
    assert placed.status_code == 201, placed.text
    order = placed.json()["data"]
    return order if order["paymentUrl"] else buyer.get(f"/api/orders/{order['id']}").json()["data"]


def test_an_order_is_told_alike_to_its_merchant_and_to_an_operator(mall: Mall, merchant: httpx2.Client) -> None:
    server = mall.server
    order = bought(server, 7101)
    report(mall, order["paymentId"])
    until_paid(server.client(7101), order["id"])
    staff = server.client(1, role="staff")
    for move in (
        {"status": "processing"},
        {"status": "shipped", "trackingNumber": "T-1"},
        {"status": "shipped", "carrier": "Post"},
    ):
        assert staff.put(f"/api/orders/{order['id']}/status", json=move).status_code == 200
    story = told(merchant, order["paymentId"])["items"]
    assert [entry["number"] for entry in story] == list(range(1, len(story) + 1))
    assert [entry["at"] for entry in story] == sorted(entry["at"] for entry in story)
    titles = [entry["title"] for entry in story]
    for line in ("The purchase began", f"Order {order['orderNumber']} was placed", "The order is paid", "The order is on its way"):
        assert titles.count(line) == 1, titles
    assert titles[-1] == "The order's tracking data changed" or story[-1]["kind"] in {"notice", "delivery"}
    assert "Canary" not in json.dumps(story)
    assert "7101" not in json.dumps([entry["details"] for entry in story])

    for wanted in (order["id"], order["paymentId"]):
        done = run(server.home, "events", "show", wanted, "--json", DATABASE_URL=server.dsn)
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert (shown["order_id"], shown["payment_ids"]) == (order["id"], [order["paymentId"]])
        assert [entry["title"] for entry in shown["entries"] if entry["kind"] not in {"notice", "delivery"}] == [
            entry["title"] for entry in story if entry["kind"] not in {"notice", "delivery"}
        ]

    moves = server.client(7101).get(f"/api/orders/{order['id']}/tracking").json()["data"]["events"]
    assert [each["status"] for each in moves] == ["pending", "paid", "processing", "shipped"]
    updated = server.sql("SELECT sequence, type FROM events WHERE subject = $1 ORDER BY sequence", f"order:{order['id']}")
    assert [row["type"] for row in updated][-2:] == ["order.shipped", "order.updated"]
    with staff.stream("GET", f"/api/orders/{order['id']}/events", headers={"Last-Event-ID": "3"}) as live:
        parts = live.iter_text()
        text = ""
        while len(re.findall(r"^id: ", text, re.MULTILINE)) < 2:
            text += next(parts)
    assert re.findall(r"^id: (\d+)", text, re.MULTILINE)[:2] == ["4", "5"]


def test_a_merchant_reads_page_by_page_and_misses_nothing(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    for _ in range(3):
        assert give_back(merchant, payment_id, amount="1.00").status_code == 201
    whole = told(merchant, payment_id)
    assert (whole["has_next"], whole["next_after"]) == (False, whole["items"][-1]["number"])
    after, read = 0, []
    while True:
        page = told(merchant, payment_id, after=after, limit=2)
        read += page["items"]
        after = page["next_after"]
        if not page["has_next"]:
            break
        assert len(page["items"]) == 2
    assert read == whole["items"]
    beyond = told(merchant, payment_id, after=999_999)
    assert (beyond["items"], beyond["next_after"], beyond["has_next"]) == ([], 999_999, False)


def test_a_no_and_late_money_are_told(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    report(mall, payment_id, "failed")
    report(mall, payment_id)
    lines = [
        (entry["subject"], entry["details"]["type"]) for entry in told(merchant, payment_id)["items"] if entry["kind"] == "payment"
    ]
    assert [type_ for _, type_ in lines] == ["payment.created", "payment.waiting", "payment.declined", "payment.paid"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=", "limit=0", "limit=501", "limit=x", "after=1&after=2"])
def test_a_bad_place_is_refused(mall: Mall, merchant: httpx2.Client, query: str) -> None:
    payment_id = pay_link(merchant)
    answer = merchant.get(f"{BASE}/{payment_id}/timeline?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


def test_only_the_merchant_itself_may_read_it_and_only_with_the_scope(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    place = f"{BASE}/{payment_id}/timeline"
    assert mall.nobody().get(place).status_code == 401
    narrow = mall.with_key("sk_demo_1_read").get(place)
    assert (narrow.status_code, narrow.json()["code"], narrow.json()["required"]) == (403, "insufficient_scope", "events:read")
    for who, named in ((mall.merchant(2), payment_id), (merchant, NOWHERE), (merchant, "x"), (merchant, payment_id.upper())):
        answer = who.get(f"{BASE}/{named}/timeline")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_tracking_says_whom_the_merchant_was_told_by(mall: Mall) -> None:
    who = mall.merchant(3)
    hook = {"url": f"http://127.0.0.1:{rig.free_port()}/hook?token=canary-token", "events": ["payment.*"]}
    made = who.post("/api/v1/webhook-endpoints", json=hook)
    assert made.status_code == 201, made.text
    payment_id = paid(mall, who, wish(price="10.00"))
    events = track(who, payment_id)
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert [event["event_type"] for event in events] == [1, 4, 2, 4, 3, 4]
    states = {1: "LOG_PENDING", 4: "LOG_RETRYING", 5: "LOG_BLOCKED", 6: "LOG_PROCESSING"}
    for event in events:
        if event["event_type"] == 4:
            assert event["event_name"] == "EVENT_MERCHANT_NOTIFICATION_SENT"
            assert event["status_name"] == states[event["status"]]
            assert event["payload"]["endpoint_id"] == made.json()["endpoint_id"]
    text = json.dumps(events) + json.dumps(told(who, payment_id))
    for secret in ("canary-token", made.json()["secret"], "/hook"):
        assert secret not in text
