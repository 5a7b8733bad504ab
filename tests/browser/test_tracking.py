"""A buyer follows an order: what staff does is seen without a reload, also after the connection was gone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Open
from tests.browser.shopping import buy, say, state
from tests.browser.visit import Visit
from tests.conftest import StartKassa
from tests.contracts.checkout.journeys import a_key
from tests.rig import Server


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa()


def follow(window: Visit) -> Page:
    page = buy(window)
    state(page, "paid")
    page.get_by_role("link", name=say("pay.follow")).first.click()
    page.wait_for_url(re.compile(r"/track/"))
    return page


def move(shop: Server, page: Page, status: str, **more: str) -> None:
    order_id = re.search(r"/track/([0-9a-f-]{36})", page.url)
    assert order_id
    answer = shop.client(900, "staff").put(
        f"/api/orders/{order_id[1]}/status", json={"status": status, **more}, headers={"Idempotency-Key": a_key()}
    )
    assert answer.status_code == 200, answer.text


def test_what_staff_does_is_seen_without_a_reload(shop: Server, visit: Open) -> None:
    window = visit(shop)
    page = follow(window)
    page.evaluate("window.here = true")
    expect(page.locator("#state")).to_have_text(say("track.state_paid"))
    move(shop, page, "processing")
    expect(page.locator("#state")).to_have_text(say("track.state_preparing"))
    move(shop, page, "shipped", trackingNumber="1Z999", carrier="DHL")
    expect(page.locator("#state")).to_have_text(say("track.state_on_its_way"))
    expect(page.locator("#track")).to_contain_text("1Z999")
    assert page.evaluate("window.here") is True
    assert window.barriers() == []
    window.picture("track")
    move(shop, page, "delivered")
    expect(page.locator("#state")).to_have_text(say("track.state_delivered"))
    assert page.evaluate("window.here") is True


def test_what_was_missed_while_away_is_there_again(shop: Server, visit: Open) -> None:
    window = visit(shop)
    page = follow(window)
    expect(page.locator("#state")).to_have_text(say("track.state_paid"))
    window.context.set_offline(True)
    move(shop, page, "processing")
    window.context.set_offline(False)
    expect(page.locator("#state")).to_have_text(say("track.state_preparing"), timeout=30_000)
    window.faults.clear()  # the browser says aloud that it was offline


def test_without_a_script_the_page_comes_again_by_itself(shop: Server, visit: Open) -> None:
    window = visit(shop, java_script_enabled=False)
    page = buy(window)
    page.get_by_role("link", name=say("pay.follow")).first.click()
    page.wait_for_url(re.compile(r"/track/"))
    assert page.locator("noscript meta[http-equiv=refresh], meta[http-equiv=refresh]").count() == 1


def test_a_stranger_sees_that_there_is_nothing(shop: Server, visit: Open) -> None:
    window = visit(shop)
    page = follow(window)
    stranger = visit(shop)
    stranger.page.goto(page.url.split("?")[0])
    expect(stranger.page.get_by_role("heading", level=1)).to_have_text(say("nothing.title"))
