"""A developer at the corner: copies a command, and watches events come in."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Open
from tests.conftest import StartKassa
from tests.contracts.checkout.journeys import a_key
from tests.pages.hook import Hook, hook
from tests.rig import Server

__all__ = ["hook"]


@pytest.fixture(scope="module")
def kassa(start_kassa: StartKassa) -> Server:
    return start_kassa()


def test_a_command_is_copied_by_a_button(kassa: Server, visit: Open) -> None:
    window = visit(kassa, permissions=["clipboard-read", "clipboard-write"])
    page = window.go("/develop/calls/orders")
    command = page.locator("pre[data-copy]").nth(1).inner_text()
    page.get_by_role("button", name="Copy").nth(1).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == command
    assert window.fits_a_phone()


def test_events_come_in_without_a_reload_and_show_their_signature(kassa: Server, visit: Open, hook: Hook) -> None:
    merchant = kassa.client(headers={"X-Api-Key": "sk_demo_1"})
    assert merchant.post("/api/v1/webhook-endpoints", json={"url": hook.url, "events": ["*"], "format": "event"}).is_success
    window = visit(kassa)
    page = window.go("/develop/events")
    page.evaluate("window.here = true")
    asked = {"order_id": a_key(), "amount": 1, "price": "3.50", "alias": "stripe", "subscription_id": 1}
    assert merchant.post("/api/v1/payments", json=asked).is_success
    created = page.get_by_role("link", name="payment.created")
    expect(created.first).to_be_visible()
    expect(page.locator("#events .badge", has_text="success").first).to_be_visible()
    assert page.evaluate("window.here") is True
    assert window.barriers() == []
    window.picture("inspector")
    created.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("payment.created")
    expect(page.locator("main")).to_contain_text("webhook-signature: v1,")
    assert window.barriers() == []
    assert window.fits_a_phone()
