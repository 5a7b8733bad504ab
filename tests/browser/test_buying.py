"""Somebody buys in a browser: what they press, what they see, and that it happened once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Open
from tests.browser.shopping import BAD_CARD, add, buy, buy_by_keyboard, fill, order_button, press_order, say, state, to_checkout
from tests.conftest import StartKassa
from tests.contracts.checkout.journeys import until
from tests.contracts.payme.conftest import SELL_IN_UZS
from tests.rig import Server


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa()


@pytest.fixture
def made(shop: Server) -> Callable[[], list[dict[str, Any]]]:
    """What was ordered since the test began, oldest first."""
    before = {row["order_id"] for row in shop.sql("SELECT order_id FROM orders")}
    question = """
        SELECT o.order_id, o.order_number, o.status, o.payment_status, p.status AS payment, p.captured_minor, p.refunded_minor
          FROM orders o JOIN payments p USING (merchant_id, payment_id) ORDER BY o.created_at"""
    return lambda: [row for row in shop.sql(question) if row["order_id"] not in before]


def test_by_card(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop)
    page = buy(window)
    state(page, "paid")
    window.picture("pay")
    page.get_by_role("link", name=say("pay.follow")).first.click()
    expect(page.locator("#state")).to_have_text(re.compile(".+"))
    [order] = made()
    assert (order["status"], order["payment"]) == ("paid", "paid")
    expect(page.get_by_role("heading", level=1)).to_have_text(say("track.title", number=order["order_number"]))


def test_a_declined_card_takes_nothing_and_leaves_the_cart(
    shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]
) -> None:
    window = visit(shop)
    page = buy(window, "Coffee Mug", card=BAD_CARD)
    state(page, "declined")
    page.get_by_role("link", name=say("pay.again")).click()
    expect(page.get_by_role("heading", name="Coffee Mug")).to_be_visible()
    [order] = made()
    assert (order["status"], order["payment"], order["captured_minor"]) == ("cancelled", "declined", 0)
    page = to_checkout(window)
    fill(page)
    press_order(page)
    state(page, "paid")
    assert [each["payment"] for each in made()] == ["declined", "paid"]


def test_a_double_click_is_one_order(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop)
    add(window, "Notebook A5")
    page = to_checkout(window)
    fill(page)
    page.locator("form[action='/shop/checkout'] button").dblclick()
    page.wait_for_url(re.compile(r"/pay/"))
    state(page, "paid")
    assert len(made()) == 1


def test_a_double_click_adds_one_piece(shop: Server, visit: Open) -> None:
    window = visit(shop)
    page = window.go("/shop")
    page.get_by_role("button", name=say("shop.add_this", name="Desk Lamp"), exact=True).dblclick()
    expect(page.locator("#said")).to_have_text(say("shop.said_added"))
    window.go("/shop/cart")
    expect(page.get_by_label(say("shop.quantity_of", name="Desk Lamp"))).to_have_value("1")


def test_the_back_button_leads_to_the_same_order(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop)
    page = buy(window, "USB-C Cable")
    state(page, "paid")
    paid_at = page.url
    page.go_back()
    if page.locator("#field-name").count():
        fill(page)
        page.locator("form[action='/shop/checkout'] button").click()
        page.wait_for_load_state()
    assert len(made()) == 1
    page.goto(paid_at)
    page.reload()
    state(page, "paid")
    assert len(made()) == 1


def test_two_tabs_are_one_order(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop)
    add(window, "Water Bottle")
    first = to_checkout(window)
    fill(first)
    second = window.another_tab()
    second.goto(f"{shop.url}/shop/checkout")
    fill(second)
    press_order(first)
    second.locator("form[action='/shop/checkout'] button").click()
    second.wait_for_url(re.compile(r"/pay/"))
    assert second.url.split("?")[0] == first.url.split("?")[0]
    state(first, "paid")
    assert len(made()) == 1


def test_without_a_script(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop, java_script_enabled=False)
    page = buy(window, "Headphones")
    until(lambda: made()[0]["payment"] == "paid", 20, "it is paid")
    page.reload()
    state(page, "paid")
    assert len(made()) == 1


def test_by_keyboard_alone(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    page = buy_by_keyboard(visit(shop), "Mechanical Keyboard")
    state(page, "paid")
    assert len(made()) == 1


def test_mistakes_stand_at_their_fields_and_the_card_is_not_shown_again(
    shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]
) -> None:
    window = visit(shop)
    add(window, "Backpack")
    page = to_checkout(window)
    fill(page, card="4111 1111 1111 1112")
    page.locator("#field-city").fill(" ")
    page.locator("form[action='/shop/checkout'] button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#field-card")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#field-card")).to_have_value("")
    expect(page.locator("#field-name")).to_have_value("Asha Rao")
    assert "1112" not in page.content()
    assert window.barriers() == []
    assert not made()


def test_by_a_link_at_its_provider(shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]) -> None:
    window = visit(shop)
    page = buy(window, "Paper Clip", "link:stripe")
    state(page, "choose")
    page.get_by_role("link", name=say("pay.go", name="Stripe")).click()
    page.locator("button.go").click()
    until(lambda: made()[0]["payment"] == "paid", 20, "the provider reports it")
    page.go_back()
    page.go_back()
    page.reload()
    state(page, "paid")
    assert len(made()) == 1


def test_the_bank_that_is_told_twice_takes_the_money_once(
    shop: Server, visit: Open, made: Callable[[], list[dict[str, Any]]]
) -> None:
    window = visit(shop)
    page = buy(window, "Wireless Mouse", "link:adyen")
    state(page, "choose")
    page.get_by_role("button", name=say("pay.bank_twice")).click()
    state(page, "paid")
    [order] = made()
    [payment] = shop.sql(
        "SELECT captured_minor, amount_minor FROM payments p JOIN orders o USING (payment_id) WHERE o.order_id = $1",
        order["order_id"],
    )
    assert payment["captured_minor"] == payment["amount_minor"]


def test_silence_then_late_money(start_kassa: StartKassa, visit: Open) -> None:
    shop = start_kassa()  # its clock is moved
    window = visit(shop)
    page = buy(window, "Coffee Mug", "link:stripe")
    state(page, "choose")
    page.get_by_role("button", name=say("pay.bank_silent")).click()
    state(page, "expired")
    expect(page.locator("#state")).to_contain_text(say("pay.expired_next"))
    until(
        lambda: shop.sql("SELECT status FROM orders")[0]["status"] == "cancelled", 20, "the stock is let go"
    )  # else it still buys
    page.get_by_role("button", name=say("pay.bank_late")).click()
    state(page, "refunded")
    [payment] = shop.sql("SELECT status, captured_minor, refunded_minor FROM payments WHERE ref_kind = 'order'")
    assert payment["status"] == "refunded"
    assert payment["captured_minor"] == payment["refunded_minor"] > 0
    assert shop.sql("SELECT status FROM orders")[0]["status"] == "cancelled"


def test_by_payme(start_kassa: StartKassa, visit: Open) -> None:
    shop = start_kassa()
    shop.sql(SELL_IN_UZS)
    shop.restart()
    window = visit(shop)
    page = buy(window, "Coffee Mug", "payme")
    state(page, "choose")
    back = page.url
    page.get_by_role("link", name=re.compile(say("pay.go", name="Payme"))).click()
    page.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Paid")
    page.goto(back)
    state(page, "paid")
    [order] = shop.sql("SELECT status, payment_status FROM orders")
    assert (order["status"], order["payment_status"]) == ("paid", "paid")


def test_the_button_says_what_it_costs(shop: Server, visit: Open) -> None:
    window = visit(shop)
    add(window, "Wireless Mouse")
    page = to_checkout(window)
    assert "99.90" in order_button(page)
