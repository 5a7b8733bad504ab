"""Staff at the back office in a browser: money given back, a payment in doubt decided, a dead webhook sent again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Open
from tests.browser.shopping import buy, state
from tests.browser.visit import HEAVIEST, PHONE, Visit
from tests.conftest import StartKassa, StartSandbox
from tests.contracts.checkout.journeys import a_key, id_of, line, order_form, until
from tests.pages.hook import Hook, hook
from tests.rig import Server

__all__ = ["hook"]
LOOKS = [
    "/office",
    "/office/doubt",
    "/office/search?q=nobody",
    "/office/orders",
    "/office/payments",
    "/office/merchants",
    "/office/products",
    "/office/log",
    "/office/system",
    "/office/approvals",
    "/office/people",
    "/office/sessions",
]


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa(WEBHOOK_RETRY_SECONDS="0")


def sign_in(window: Visit, name: str = "admin") -> Page:
    page = window.go("/office")
    page.get_by_label(re.compile("Name")).fill(name)
    page.get_by_label("Password").fill((window.server.home / "secrets" / "office_password").read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
    return page


def act(page: Page, why: str = "the browser test asks for it") -> None:
    """Give a reason, do it, and see that it was done."""
    page.locator("input[name='why']").fill(why)
    page.locator("main form button.go").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Done")


def newest(shop: Server) -> dict[str, Any]:
    [row] = shop.sql("SELECT order_id, order_number, payment_id, total_minor FROM orders ORDER BY created_at DESC LIMIT 1")
    return row


def test_a_wrong_password_is_told_kindly(shop: Server, visit: Open) -> None:
    window = visit(shop)
    page = window.go("/office")
    page.get_by_label(re.compile("Name")).fill("admin")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert window.barriers() == []
    assert "not this one" not in page.content()


def test_money_is_given_back(shop: Server, visit: Open) -> None:
    state(buy(visit(shop), "Coffee Mug"), "paid")
    order = newest(shop)
    window = visit(shop)
    page = sign_in(window)
    window.go(f"/office/orders/{order['order_id']}")
    window.picture("order")
    assert window.barriers() == []
    assert window.fits_a_phone()
    page.locator(f"a[href^='/office/orders/{order['order_id']}/refund']").first.click()
    page.locator("input[name='amount']").fill("10.00")
    assert window.barriers() == []
    assert window.fits_a_phone()
    act(page)
    until(
        lambda: (
            shop.sql("SELECT refunded_minor FROM payments WHERE payment_id = $1", order["payment_id"])[0]["refunded_minor"] == 1000
        ),
        20,
        "the books say so",
    )
    window.go(f"/office/orders/{order['order_id']}")
    expect(page.locator("main")).to_contain_text("was given back")
    expect(page.get_by_role("row", name=re.compile("refund .*10.00")).first).to_be_visible()
    window.go(f"/office/payments/{order['payment_id']}")
    assert window.barriers() == []
    assert window.fits_a_phone()
    until(
        lambda: order["order_number"] in (log := shop.log_text()) and "10.00" in log.split(order["order_number"])[-1],
        20,
        "the buyer is written to",
    )
    [line_of_log] = shop.sql("SELECT count(*) AS n FROM audit_log WHERE act LIKE '%refund%'")
    assert line_of_log["n"] >= 1


def test_shipping_from_the_office_is_seen_by_the_buyer(shop: Server, visit: Open) -> None:
    buyer = visit(shop)
    page = buy(buyer, "Desk Lamp")
    state(page, "paid")
    order = newest(shop)
    page.locator(f"a[href^='/track/{order['order_id']}']").first.click()
    page.wait_for_url(re.compile("/track/"))
    staff = sign_in(visit(shop), "operator")
    for step in ("process", "ship"):
        staff.goto(f"{shop.url}/office/orders/{order['order_id']}/{step}")
        if step == "ship":
            staff.locator("input[name*='tracking']").fill("1Z999")
        if staff.locator("input[name='why']").count():
            staff.locator("input[name='why']").fill("it leaves today")
        staff.locator("main form button.go").click()
        expect(staff.get_by_role("heading", level=1)).to_have_text("Done")
    expect(page.locator("#track")).to_contain_text("1Z999")


def test_a_payment_in_doubt_is_decided(start_kassa: StartKassa, start_sandbox: StartSandbox, visit: Open) -> None:
    sandbox = start_sandbox()
    shop = start_kassa(**sandbox.settings("payment"))
    sandbox.script("payment", "process", "book_then_cut")
    sandbox.default("payment", "by_key", "error", status=500)
    bought = shop.client(7).post("/checkout/process", json=order_form(line("prod_008")), headers={"Idempotency-Key": a_key()})
    checkout_id = id_of(bought)
    moved = shop.client().post("/sandbox/control/clock", json={"step": "+73h"})
    assert moved.status_code == 200, moved.text
    until(lambda: shop.sql("SELECT status FROM payments")[0]["status"] == "parked", 40, "nobody could say what became of it")
    [payment] = shop.sql("SELECT payment_id FROM payments")
    window = visit(shop)
    page = sign_in(window)
    window.go("/office/doubt")
    expect(page.locator("main")).to_contain_text("parked")
    assert window.barriers() == []
    window.picture("doubt")
    page.locator(f"a[href^='/office/payments/{payment['payment_id']}/resolve']").first.click()
    page.locator("input[name='word'][value='paid']").check()
    page.locator("input[name='ref']").fill(sandbox.book()["charges"][0]["transaction_id"])
    act(page)
    # The word has the same effect as the provider's: the money is booked. The stock was let go of long ago, so it goes back.
    until(
        lambda: shop.sql("SELECT status FROM payments")[0]["status"] == "refunded",
        40,
        "what nobody can sell any more is given back",
    )
    [after] = shop.sql("SELECT captured_minor, refunded_minor FROM payments")
    assert after["captured_minor"] == after["refunded_minor"] == 79900
    until(lambda: shop.client(7).get(f"/checkout/{checkout_id}").json()["status"] == "failed", 20, "the purchase ends")
    window.go("/office/doubt")
    expect(page.locator("main")).not_to_contain_text(str(payment["payment_id"]))


def test_a_dead_webhook_is_sent_again(shop: Server, visit: Open, hook: Hook) -> None:
    hook.status = 500
    merchant = shop.client(headers={"X-Api-Key": "sk_demo_1"})
    endpoint = merchant.post("/api/v1/webhook-endpoints", json={"url": hook.url, "events": ["payment.created"]}).json()
    asked = {"order_id": a_key(), "amount": 1, "price": "3.50", "alias": "stripe", "subscription_id": 1}
    assert merchant.post("/api/v1/payments", json=asked).is_success
    dead = "SELECT delivery_id FROM deliveries WHERE status = 'failed'"
    until(lambda: shop.sql(dead), 20, "nobody tries any more")
    [delivery] = shop.sql(dead)
    hook.status = 204
    window = visit(shop)
    page = sign_in(window, "operator")
    window.go(f"/office/deliveries/{delivery['delivery_id']}")
    page.locator(f"a[href^='/office/deliveries/{delivery['delivery_id']}/replay']").first.click()
    act(page)
    until(lambda: not shop.sql(dead), 20, "it was delivered")
    assert len({headers["webhook-id"] for headers, _ in hook.heard}) == 1
    merchant.delete(f"/api/v1/webhook-endpoints/{endpoint['endpoint_id']}")


@pytest.mark.parametrize("where", LOOKS)
def test_nobody_is_kept_out(shop: Server, visit: Open, where: str) -> None:
    window = visit(shop)
    page = sign_in(window)
    answer = page.goto(f"{shop.url}{where}")
    assert answer is not None
    assert answer.status == 200, where
    assert window.barriers() == []
    if where == "/office":
        window.picture("today")


@pytest.mark.parametrize("where", LOOKS)
def test_a_phone_needs_no_sideways_scroll(shop: Server, visit: Open, where: str) -> None:
    window = visit(shop, viewport=PHONE, is_mobile=True)
    sign_in(window)
    window.go(where)
    assert not window.is_wider_than_its_window()


def test_every_page_is_light(shop: Server, visit: Open) -> None:
    window = visit(shop)
    sign_in(window)
    signed_in = window.context.storage_state()
    weights = {where: visit(shop, storage_state=signed_in).weight(where) for where in LOOKS}
    assert {where: weight for where, weight in weights.items() if not 0 < weight <= HEAVIEST} == {}
