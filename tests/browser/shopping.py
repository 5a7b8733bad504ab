"""What a person does in the shop, step by step, by the words on the page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from tests.browser.visit import Visit, tab_to

from kassa.pages.language import Speech

say = Speech("en").say
"""The words of the pages, so that a test presses what a person reads."""
GOOD_CARD, BAD_CARD = "4111 1111 1111 1111", "4000 0000 0000 0002"
PERSON = {
    "name": "Asha Rao",
    "email": "asha@example.com",
    "street": "12 Lake Road",
    "city": "Mumbai",
    "state": "Maharashtra",
    "postalCode": "400001",
    "country": "India",
}


def add(visit: Visit, name: str) -> None:
    """Put one piece of a product into the cart, from the page of products."""
    page = visit.go("/shop")
    button = page.get_by_role("button", name=say("shop.add_this", name=name), exact=True)
    while not button.count():
        page.get_by_role("link", name=say("shop.after")).click()
    button.click()
    expect(page.locator("#said")).to_have_text(say("shop.said_added"))


def to_checkout(visit: Visit) -> Page:
    """From the cart to the form."""
    page = visit.go("/shop/cart")
    page.get_by_role("link", name=say("shop.to_checkout")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(say("shop.checkout"))
    return page


def fill(page: Page, method: str = "credit_card", card: str = GOOD_CARD) -> None:
    """Fill the form in; `method` as the orders contract names it, or `link:stripe`."""
    for name, value in PERSON.items():
        page.locator(f"#field-{name}").fill(value)
    page.locator(f'input[name="method"][value="{method}"]').check()
    if method == "credit_card":
        page.locator("#field-card").fill(card)
        page.locator("#field-expiry").fill("12/30")


def order_button(page: Page) -> str:
    """The words on the button that orders."""
    return page.locator("form[action='/shop/checkout'] button").inner_text()


def press_order(page: Page) -> None:
    """Order, and come to the page of the payment."""
    page.locator("form[action='/shop/checkout'] button").click()
    page.wait_for_url(re.compile(r"/pay/"))


def buy(visit: Visit, product: str = "Wireless Mouse", method: str = "credit_card", card: str = GOOD_CARD) -> Page:
    """All of it, up to the page of the payment."""
    add(visit, product)
    page = to_checkout(visit)
    fill(page, method, card)
    press_order(page)
    return page


def state(page: Page, word: str) -> None:
    """Wait until the page of the payment says so: `paid`, `declined`, …"""
    expect(page.locator("#state h2")).to_have_text(say(f"pay.{word}"))


def buy_by_keyboard(visit: Visit, product: str) -> Page:
    """The whole purchase with Tab, letters, Space and Enter."""
    page = visit.go("/shop")
    tab_to(page, say("shop.add_this", name=product))
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text(say("shop.said_added"))
    visit.go("/shop")
    tab_to(page, say("shop.cart"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/shop/cart")
    tab_to(page, say("shop.to_checkout"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/shop/checkout")
    for name, value in PERSON.items():
        tab_to(page, say(f"shop.field_{name}"))
        page.keyboard.type(value)
    tab_to(page, say("shop.method_credit_card"))
    page.keyboard.press("Space")
    tab_to(page, say("shop.field_card"))
    page.keyboard.type(GOOD_CARD)
    tab_to(page, say("shop.field_expiry"))
    page.keyboard.type("12/30")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/pay/"))
    return page
