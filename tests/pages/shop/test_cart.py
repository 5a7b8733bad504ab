"""The cart: what is put in, what is wrong with it and how that is mended, and what becomes of it when somebody signs in."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import add, anybody, look
from tests.pages.browsing import Browser
from tests.pages.reading import Form, Page
from tests.rig import Server

_prices = itertools.count(20_000, 100)


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Server:
    """A shop of our own, whose prices and stock may be changed."""
    return start_kassa()


@pytest.fixture
def browser(town: Server) -> Browser:
    return Browser(town)


def quantities(page: Page) -> list[str]:
    return [form.fields["quantity"] for form in page.forms if form.fields.get("act") == "set"]


def line_form(browser: Browser, act: str) -> Form:
    return browser.form("/shop/cart/lines/", act=act)


def change(town: Server, product: str, *, price: int | None = None, stock: int | None = None, sold: bool = True) -> None:
    town.sql(
        "UPDATE products SET price_minor = coalesce($2, price_minor), sold = $3 WHERE channel = 'shop' AND product_id = $1",
        product, price, sold,
    )  # fmt: skip
    if stock is not None:
        town.sql("UPDATE stock_levels SET available = $2 WHERE channel = 'shop' AND product_id = $1", product, stock)


def test_what_is_added_is_in_the_cart(browser: Browser) -> None:
    page = browser.put_into_cart("prod_002", 2)
    assert browser.address == "/shop/cart?said=added"
    assert "It is in your cart." in page.text
    assert quantities(page) == ["2"]
    assert "₹299.80" in page.text
    assert quantities(browser.put_into_cart("prod_002")) == ["3"]


def test_a_double_click_adds_once(browser: Browser) -> None:
    browser.open("/shop")
    form = browser.form("/shop/cart/add", product="prod_003")
    with ThreadPoolExecutor(4) as hands:
        answers = list(hands.map(lambda _: browser.send_raw(form.action, form.fields, **browser._own()), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert quantities(browser.open("/shop/cart")) == ["1"]


def test_a_line_is_changed_and_removed(browser: Browser) -> None:
    browser.put_into_cart("prod_004")
    form = line_form(browser, "set")
    assert quantities(browser.send(form, quantity="7")) == ["7"]
    assert "₹87.50" in browser.page.text
    assert quantities(browser.send(form, quantity="7")) == ["7"], "the same again changes nothing"
    gone = line_form(browser, "remove")
    assert "Your cart is empty." in browser.send(gone).text
    assert browser.send(gone).text == browser.page.text, "removed twice it is gone once"
    assert browser.status == 200


@pytest.mark.parametrize("typed", ["0", "-1", "1000", "1.5", "x", "", "1e2", "٣"])
def test_a_quantity_is_a_number_from_1_to_999(browser: Browser, typed: str) -> None:
    browser.put_into_cart("prod_005", 3)
    page = browser.send(line_form(browser, "set"), quantity=typed)
    assert browser.status == 200
    assert "1 to 999" in page.text
    assert quantities(page) == ["3"]


def test_more_than_there_is_is_not_taken(browser: Browser, town: Server) -> None:
    change(town, "prod_few", stock=5)
    page = browser.put_into_cart("prod_few", 9)
    assert "not that many left" in page.text
    assert "Your cart is empty." in page.text


def test_a_new_price_is_shown_at_its_line_and_accepted_there(browser: Browser, town: Server) -> None:
    browser.put_into_cart("prod_006")
    change(town, "prod_006", price=(price := next(_prices)))
    page = browser.open("/shop/cart")
    assert "The price has changed: it was" in page.text
    assert "Go to checkout" not in page.links
    change(town, "prod_006", price=(price := next(_prices)))
    assert "A price has changed meanwhile" in browser.send(line_form(browser, "accept")).text, "another price than was shown"
    page = browser.send(line_form(browser, "accept"))
    assert "The new price was accepted." in page.text
    assert f"₹{price // 100}.{price % 100:02d}" in page.text
    assert "Go to checkout" in page.links


def test_a_shortage_is_mended_by_taking_what_is_there(browser: Browser, town: Server) -> None:
    change(town, "prod_007", stock=10)
    browser.put_into_cart("prod_007", 8)
    change(town, "prod_007", stock=3)
    page = browser.open("/shop/cart")
    assert "Only 3 are left." in page.text
    assert "Go to checkout" not in page.links
    page = browser.press("/shop/cart/lines/", act="set", quantity="3")
    assert quantities(page) == ["3"]
    assert "Go to checkout" in page.links


def test_what_is_sold_out_or_withdrawn_can_be_removed(browser: Browser, town: Server) -> None:
    browser.put_into_cart("prod_008")
    browser.put_into_cart("prod_009")
    change(town, "prod_008", stock=0)
    change(town, "prod_009", sold=False)
    page = browser.open("/shop/cart")
    assert "sold out at the moment" in page.text
    assert "This is no longer sold." in page.text
    for _ in range(2):
        browser.press("/shop/cart/lines/", act="remove")
    assert "Your cart is empty." in browser.page.text


def test_a_strangers_line_is_not_there(browser: Browser, town: Server) -> None:
    other = Browser(town)
    other.put_into_cart("prod_011", 2)
    theirs = line_form(other, "set")
    browser.put_into_cart("prod_011")
    mine = line_form(browser, "set")
    browser.send(Form("post", theirs.action, mine.fields), quantity="99")
    assert quantities(other.open("/shop/cart")) == ["2"]
    assert quantities(browser.open("/shop/cart")) == ["1"]


def test_signing_in_merges_nothing_and_says_so(browser: Browser, town: Server) -> None:
    user = anybody()
    add(town.client(user), "prod_011", 1)
    browser.put_into_cart("prod_012", 2)
    browser.open("/shop/sign-in")
    page = browser.press("/shop/sign-in", {"token": town.token(user)}, token="")
    assert "This is the cart of your account." in page.text
    assert quantities(page) == ["1"]
    assert "2 pieces lie in the cart that you filled as a guest" in page.text
    form = browser.form("/shop/cart/bring")
    page = browser.send(form)
    assert "Everything was moved into this cart." in page.text
    assert quantities(page) == ["1", "2"]
    assert quantities(browser.send(form)) == ["1", "2"], "pressed twice it is moved once"
    assert sorted(line["quantity"] for line in look(town.client(user))["items"]) == [1, 2]
    page = browser.press("/shop/sign-out")
    assert "You are signed out." in page.text
    assert "Your cart is empty." in browser.open("/shop/cart").text


def test_what_does_not_fit_stays_with_the_guest(browser: Browser, town: Server) -> None:
    user = anybody()
    change(town, "prod_010", stock=5)
    add(town.client(user), "prod_010", 3)
    browser.put_into_cart("prod_010", 4)
    browser.open("/shop/sign-in")
    browser.press("/shop/sign-in", {"token": town.token(user)}, token="")
    page = browser.press("/shop/cart/bring")
    assert "stayed in your cart as a guest" in page.text
    assert quantities(page) == ["3"]
    assert quantities((browser.press("/shop/sign-out"), browser.open("/shop/cart"))[1]) == ["4"]


def test_a_demo_buyer_signs_in_by_a_button(browser: Browser) -> None:
    browser.open("/shop/sign-in")
    page = browser.press("/shop/sign-in", {"demo": "2"})
    assert "You are signed in." in page.text
    assert "buyer2@example.com" in page.text


@pytest.mark.parametrize("wrong", ["", "x", "a.b.c", "<script>alert(1)</script>", "Bearer ", "x" * 3900])
def test_a_token_that_is_none_is_refused_and_not_repeated(browser: Browser, wrong: str) -> None:
    browser.open("/shop/sign-in")
    page = browser.press("/shop/sign-in", {"token": wrong}, token="")
    assert browser.status == 422
    assert page.root.one(role="alert").text
    assert len(wrong) < 3 or wrong not in browser.html
    assert "Sign out" not in browser.open("/shop").text


def test_a_token_that_is_over_or_anothers_is_refused(browser: Browser, town: Server) -> None:
    browser.open("/shop/sign-in")
    for token in (town.token(1, exp=1), town.token(1, exp=None), town.token(1)[:-3] + "abc"):
        browser.press("/shop/sign-in", {"token": token}, token="")
        assert browser.status == 422


def test_a_token_too_long_for_a_cookie_is_refused(browser: Browser, town: Server) -> None:
    browser.open("/shop/sign-in")
    page = browser.press("/shop/sign-in", {"token": town.token(1, padding="x" * 2200)}, token="")
    assert browser.status == 422
    assert "too long" in page.text


def test_what_a_cookie_keeps_cannot_be_read(browser: Browser, town: Server) -> None:
    browser.open("/shop/sign-in")
    token = town.token(anybody())
    browser.press("/shop/sign-in", {"token": token}, token="")
    for cookie in browser.client.cookies.jar:
        assert token.split(".")[1] not in str(cookie.value)
    assert token not in town.log_text()


def test_nobody_keeps_a_cart_that_was_never_filled(town: Server) -> None:
    before = town.sql("SELECT count(*) FROM carts")
    for place in ("/shop", "/shop/cart", "/shop/checkout", "/shop/orders"):
        httpx2.get(town.url + place, trust_env=False, follow_redirects=True)
    assert town.sql("SELECT count(*) FROM carts") == before


def test_a_part_of_the_page_is_in_the_whole(browser: Browser) -> None:
    """What the script picks out of the page that follows a form: without it the add button would seem to do nothing."""
    browser.open("/shop")
    form = browser.form("/shop/cart/add", product="prod_001")
    answer = browser.send_raw(form.action, form.fields, **browser._own(), **{"HX-Request": "true"})
    page = Page(answer.text)
    assert page.root.one(id="basket").text == "Cart 1"
    assert page.root.one(id="said").text == "It is in your cart."
    assert page.root.one(id="lines")
