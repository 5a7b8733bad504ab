"""Acts at the back office: who may, what a form of another session or site is worth, and one effect with one line for each."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from fastapi.routing import APIRoute
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import anybody, buy_waiting, eventually
from tests.pages.office.hands import Clerk, buy, clerk, lines_of, order
from tests.rig import Server

from kassa.kit.secrets import Keys
from kassa.pages import office
from kassa.pages.options import PageOptions

ADMIN_ONLY = {
    "/office/orders/{order_id}/refund",
    "/office/orders/{order_id}/cancel",
    "/office/payments/{payment_id}/refund",
    "/office/payments/{payment_id}/resolve",
    "/office/refunds/{refund_id}/done",
    "/office/products/{channel}/{product_id}/stock",
    "/office/keys/{key_id}/revoke",
    "/office/cases/{case_id}/close",
    "/office/log/check",
    "/office/people",
    "/office/people/{account_id}",
}
"""Paths that staff may neither see nor use."""
ADMIN_POST_ONLY = {"/office/approvals/{approval_id}"}
LOOKS = {"/office/search"}
"""Forms that change nothing, so that they need no mark."""
FOR_ANYBODY = {"/office/sign-in"}
ROUTES = sorted(
    (method, cast("APIRoute", route).path)
    for route in office.router(PageOptions(("office",), Keys(bytes(32)))).routes
    for method in cast("APIRoute", route).methods or ()
)


@pytest.fixture(scope="module")
def house(start_kassa: StartKassa) -> Server:
    return start_kassa(EMAIL_BACKEND="console")


@pytest.fixture(scope="module")
def staff(house: Server) -> Clerk:
    return clerk(house, "operator")


@pytest.fixture(scope="module")
def admin(house: Server) -> Clerk:
    return clerk(house, "admin")


# Who may


def address_of(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", lambda found: "shop" if found[0] == "{channel}" else str(uuid.uuid4()), path)


def test_the_matrix_has_routes_and_knows_every_exception() -> None:
    paths = {path for _, path in ROUTES}
    assert len(ROUTES) > 30
    assert paths >= ADMIN_ONLY | ADMIN_POST_ONLY | FOR_ANYBODY


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_sees_anything_without_signing_in(house: Server, method: str, path: str) -> None:
    answer = house.client().request(method, address_of(path), **({"data": {}} if method == "POST" else {}))
    if path in FOR_ANYBODY:
        assert answer.status_code in {200, 422}
        return
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/office/sign-in")
    assert not answer.content


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_staff_and_admins_may_what_the_table_says(staff: Clerk, admin: Clerk, method: str, path: str) -> None:
    """A form without its mark is refused as such (409) from whoever may send it, and as not theirs (403) from whoever may not."""
    if path in FOR_ANYBODY:
        return
    only = path in ADMIN_ONLY or (method == "POST" and path in ADMIN_POST_ONLY)
    more = {"data": {"why": "a reason"}} if method == "POST" else {}
    answers = {
        name: who.client.request(method, address_of(path), follow_redirects=False, **more)
        for name, who in (("staff", staff), ("admin", admin))
    }
    told = {name: answer.status_code for name, answer in answers.items()}
    assert (told["staff"] == 403) == only, told
    assert told["admin"] != 403
    for status in (told["admin"], *([] if only else [told["staff"]])):
        assert status in ({409} if method == "POST" and path not in LOOKS else {200, 303, 404, 422}), told


def test_a_form_of_another_session_or_another_site_is_worth_nothing(house: Server, admin: Clerk) -> None:
    bought = buy(house)
    address = f"/office/orders/{bought['order_id']}/cancel"
    admin.open(address)
    good = admin.form(address).fields | {"why": "a reason"}
    other = clerk(house, "admin")
    other.open(address)
    stolen = good | {"mark": other.form(address).fields["mark"]}
    assert admin.client.post(address, data=stolen).status_code == 409
    assert admin.client.post(address, data={**good, "mark": ""}).status_code == 409
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        assert admin.client.post(address, data=good, headers=headers).status_code == 403
    assert admin.client.post(address, json=good).status_code == 422
    assert order(house, bought["order_id"])["status"] == "paid"
    assert lines_of(house, f"order:{bought['order_id']}") == []


# What they do


def test_a_refund_by_lines_puts_the_goods_back_and_has_one_line(house: Server, admin: Clerk) -> None:
    bought = buy(house)
    available = "SELECT available FROM stock_levels WHERE merchant_id = '1' AND channel = 'shop' AND product_id = 'prod_001'"
    before = house.sql(available)[0]["available"]
    admin.act(f"/office/orders/{bought['order_id']}/refund", why="one was broken", quantity__prod_001="1", restock__prod_001="yes")
    assert admin.said == "The money was given back."
    after = order(house, bought["order_id"])
    assert (after["refunded_minor"], after["status"], after["payment"]) == (9990, "paid", "paid")
    assert house.sql(available)[0]["available"] == before + 1
    assert lines_of(house, f"payment:{bought['payment_id']}") == [("admin:admin", "payment.refund", "one was broken")]


def test_a_form_that_is_sent_again_and_again_gives_back_once(house: Server, admin: Clerk) -> None:
    bought = buy(house)
    address = f"/office/orders/{bought['order_id']}/refund"
    admin.open(address)
    fields = admin.form(address).fields | {"amount": "10.00", "why": "a scratch"}

    def press(_: int) -> tuple[int, str]:
        answer = admin.client.post(address, data=fields, follow_redirects=False)
        return answer.status_code, answer.headers.get("location", "")

    with ThreadPoolExecutor(4) as hands:
        answers = list(hands.map(press, range(4)))
    answers.append(press(5))
    assert (303, answers[-1][1]) in answers
    assert {status for status, _ in answers} <= {303, 422}, answers
    assert order(house, bought["order_id"])["refunded_minor"] == 1000
    assert len(lines_of(house, f"payment:{bought['payment_id']}")) == 1


@pytest.mark.parametrize(
    ("typed", "mistake"),
    [
        ({"amount": "10"}, "Say why"),
        ({"amount": "0", "why": "a reason"}, "above zero"),
        ({"amount": "ten", "why": "a reason"}, "above zero"),
        ({"amount": "1.001", "why": "a reason"}, "above zero"),
        ({"amount": "1000000", "why": "a reason"}, "exceeds"),
        ({"amount": "1", "quantity__prod_001": "1", "why": "a reason"}, "not both"),
        ({"quantity__prod_001": "3", "why": "a reason"}, "more is asked back"),
        ({"quantity__prod_001": "x", "why": "a reason"}, "whole number"),
    ],
)
def test_a_form_with_a_mistake_is_shown_again_with_what_was_typed(
    house: Server, admin: Clerk, typed: dict[str, str], mistake: str
) -> None:
    bought = buy(house)
    address = f"/office/orders/{bought['order_id']}/refund"
    page = admin.act(address, **typed)
    assert admin.status == 422
    assert mistake in page.root.one(role="alert").text
    assert admin.form(address).fields.get("amount", "") == typed.get("amount", "")
    assert order(house, bought["order_id"])["refunded_minor"] == 0
    assert lines_of(house, f"payment:{bought['payment_id']}") == []


def test_an_order_is_shipped_with_its_tracking_number_and_delivered(house: Server, staff: Clerk) -> None:
    bought = buy(house)
    about = f"order:{bought['order_id']}"
    staff.act(
        f"/office/orders/{bought['order_id']}/ship", tracking="TR-1", carrier="DHL", why="it left the house", note="On its way"
    )
    assert staff.said == "The order was shipped. The buyer is told."
    after = order(house, bought["order_id"])
    assert (after["status"], after["tracking_number"], after["carrier"]) == ("shipped", "TR-1", "DHL")
    staff.act(f"/office/orders/{bought['order_id']}/deliver", why="the carrier said so")
    assert order(house, bought["order_id"])["status"] == "delivered"
    whys = ["it left the house", "it left the house", "the carrier said so"]
    assert lines_of(house, about) == [("staff:operator", "order.move", why) for why in whys]
    staff.act(f"/office/orders/{bought['order_id']}/ship", why="once more")
    assert staff.status == 422
    assert "cannot go from delivered to shipped" in staff.said


def test_a_note_is_for_the_buyer_and_its_words_are_not_in_the_audit_log(house: Server, staff: Clerk) -> None:
    bought = buy(house)
    staff.act(f"/office/orders/{bought['order_id']}/note", note="Left with Mrs Rao next door")
    [row] = house.sql("SELECT note FROM order_timeline WHERE order_id = $1::text::uuid AND note IS NOT NULL", bought["order_id"])
    assert row["note"] == "Left with Mrs Rao next door"
    assert lines_of(house, f"order:{bought['order_id']}") == [("staff:operator", "order.note", None)]
    assert "Rao" not in str(house.sql("SELECT what, why FROM audit_log"))


def test_a_cancelled_order_goes_back_in_full_once(house: Server, admin: Clerk) -> None:
    bought = buy(house)
    admin.act(f"/office/orders/{bought['order_id']}/cancel", why="the buyer called")
    assert admin.said.startswith("The order was cancelled.")
    eventually(lambda: order(house, bought["order_id"])["payment"] == "refunded")
    after = order(house, bought["order_id"])
    assert (after["status"], after["payment"], after["refunded_minor"]) == ("cancelled", "refunded", after["amount_minor"])
    assert lines_of(house, f"order:{bought['order_id']}") == [("admin:admin", "order.move", "the buyer called")]


def test_a_payment_in_doubt_is_resolved_by_a_persons_word(house: Server, admin: Clerk) -> None:
    waiting = buy_waiting(house.client(anybody()))
    made = order(house, waiting["id"])
    address = f"/office/payments/{made['payment_id']}/resolve"
    admin.open(address)
    assert "Look for" in admin.page.text
    admin.act(address, word="paid", ref="ch_1", why="seen in the provider's list")
    assert admin.said == "The payment is paid. Whatever follows from that is under way."
    eventually(lambda: order(house, waiting["id"])["status"] == "paid")
    assert order(house, waiting["id"])["payment"] == "paid"
    told = ("admin:admin", "payment.decide", "seen in the provider's list")
    assert lines_of(house, f"payment:{made['payment_id']}") == [told]
    admin.act(address, word="declined", why="a second thought")
    assert admin.status == 422
    assert "not in doubt" in admin.said


def test_stock_is_changed_once_a_form_and_never_below_what_is_reserved(house: Server, admin: Clerk) -> None:
    address, about = "/office/products/shop/prod_009/stock", "product:shop:prod_009"
    before = house.sql("SELECT available FROM stock_levels WHERE channel = 'shop' AND product_id = 'prod_009'")[0]["available"]
    admin.open(address)
    fields = admin.form(address).fields | {"change": "-3", "why": "three were broken"}
    for _ in range(3):
        assert admin.client.post(address, data=fields, follow_redirects=False).status_code == 303
    after = house.sql("SELECT available FROM stock_levels WHERE channel = 'shop' AND product_id = 'prod_009'")[0]["available"]
    assert after == before - 3
    admin.act(address, change="-999999", why="all are gone")
    assert (admin.status, admin.said) == (422, "The stock cannot be lowered below what is reserved.")
    assert lines_of(house, about) == [("admin:admin", "stock.adjust", "three were broken")]


def test_a_revoked_key_is_refused_at_once(house: Server, admin: Clerk) -> None:
    [key] = house.sql("SELECT key_id::text FROM api_keys WHERE merchant_id = '2'")
    holder = house.client(headers={"X-API-Key": "sk_demo_2"})
    assert holder.get("/api/v1/payments").status_code == 200
    admin.act(f"/office/keys/{key['key_id']}/revoke", why="it was in a log")
    assert admin.said == "The key was revoked. It is refused from now on."
    assert holder.get("/api/v1/payments").status_code == 401
    rows = house.sql("SELECT act, why FROM audit_log WHERE merchant_id = '2' AND subject = $1", f"key:{key['key_id']}")
    assert rows == [{"act": "key.revoke", "why": "it was in a log"}]


def test_a_case_is_closed_with_what_was_decided(house: Server, admin: Clerk) -> None:
    case_id = str(uuid.uuid4())
    house.sql(
        "INSERT INTO cases (merchant_id, case_id, kind, subject, act, opened_at) VALUES ('1', $1::text::uuid, 'amount_mismatch', $2, '', kassa_now())",
        case_id, f"payment:{uuid.uuid4()}",
    )  # fmt: skip
    admin.act(f"/office/cases/{case_id}/close", why="paid back by hand")
    assert admin.said == "The case was closed."
    assert house.sql("SELECT decision FROM cases WHERE case_id = $1::text::uuid", case_id) == [{"decision": "paid back by hand"}]
    admin.act(f"/office/cases/{case_id}/close", why="once more")
    assert (admin.status, admin.said) == (422, "This case is closed already.")
    assert lines_of(house, f"case:{case_id}") == [("admin:admin", "case.close", "paid back by hand")]


def test_a_message_is_sent_once_more_as_another_one(house: Server, staff: Clerk) -> None:
    bought = buy(house)
    sent = "SELECT event_id::text, status, again FROM notices WHERE order_id = $1::text::uuid AND event_type = 'order.paid'"
    eventually(lambda: [row["status"] for row in house.sql(sent, bought["order_id"])] == ["sent"], within=10)
    [row] = house.sql(sent, bought["order_id"])
    staff.act(f"/office/notices/{bought['order_id']}:{row['event_id']}/send", why="the buyer did not get it")
    assert staff.said == "The message is sent once more."
    eventually(lambda: [(row["status"], row["again"]) for row in house.sql(sent, bought["order_id"])] == [("sent", 1)], within=10)
    assert [(each["status"], each["again"]) for each in house.sql(sent, bought["order_id"])] == [("sent", 1)]
    told = ("staff:operator", "notice.again", "the buyer did not get it")
    assert lines_of(house, f"order:{bought['order_id']}") == [told]


def test_a_dead_delivery_is_sent_again_alone_and_with_all_that_failed(house: Server, staff: Clerk) -> None:
    seller = house.client(headers={"X-Merchant-Id": "1"})
    made = seller.post("/api/v1/webhook-endpoints", json={"url": "http://127.0.0.1:9/hook", "events": ["order.paid"]}).json()
    bought = buy(house)
    dead = "UPDATE deliveries SET status = 'failed', next_at = NULL, lease_until = NULL, ended_at = kassa_now() WHERE endpoint_id = $1::text::uuid"
    state = "SELECT delivery_id::text, status, replayed FROM deliveries WHERE endpoint_id = $1::text::uuid"
    assert bought
    house.sql(dead, made["endpoint_id"])
    [row] = house.sql(state, made["endpoint_id"])
    staff.act(f"/office/deliveries/{row['delivery_id']}/replay", why="their server is back")
    assert staff.said == "The delivery is sent again now."
    assert [each["replayed"] for each in house.sql(state, made["endpoint_id"])] == [True]
    house.sql(dead, made["endpoint_id"])
    staff.act(f"/office/endpoints/{made['endpoint_id']}/replay", why="all of them")
    assert [each["status"] for each in house.sql(state, made["endpoint_id"])] != ["failed"]
    told = [("staff:operator", "delivery.replay", why) for why in ("their server is back", "all of them")]
    assert lines_of(house, f"endpoint:{made['endpoint_id']}")[-2:] == told


def test_staff_do_not_reach_another_merchants_rows(house: Server, staff: Clerk, admin: Clerk) -> None:
    seller = house.client(headers={"X-Merchant-Id": "3"})
    made = seller.post("/api/v1/webhook-endpoints", json={"url": "http://127.0.0.1:9/hook", "events": ["*"]}).json()
    address = f"/office/endpoints/{made['endpoint_id']}/replay"
    staff.open(address)
    assert staff.status == 404
    admin.open(address)
    assert admin.status == 200
    [key] = house.sql("SELECT key_id::text FROM api_keys WHERE merchant_id = '3'")
    seller.post(f"/api/v1/webhook-endpoints/{made['endpoint_id']}/test")
    [told] = house.sql("SELECT delivery_id::text FROM deliveries WHERE endpoint_id = $1::text::uuid", made["endpoint_id"])
    admin.open(f"/office/keys/{key['key_id']}/revoke")
    assert admin.status == 200
    for path in (f"/office/deliveries/{told['delivery_id']}/replay", f"/office/endpoints/{made['endpoint_id']}/replay"):
        admin.open(path)
        staff.open(path)
        assert (admin.status, staff.status) == (200, 404), path
