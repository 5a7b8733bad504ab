"""From the cart to the order: what the form asks for, what it says of mistakes, and that it becomes one order however it is sent."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import anybody
from tests.pages.browsing import BAD_CARD, GOOD_CARD, HOME, Browser, orders_to
from tests.pages.reading import Page
from tests.rig import Server


@pytest.fixture
def browser(server: Server) -> Browser:
    return Browser(server)


@pytest.fixture
def home() -> dict[str, str]:
    """An address that no other test writes."""
    return HOME | {"street": f"{uuid.uuid4()} Main St"}


def wrongs(page: Page) -> set[str]:
    """The fields that the page marks as wrong; each has its mistake beside it."""
    found = set()
    for each in page.root.all(aria_invalid="true"):
        name = each.attributes["aria-describedby"].removeprefix("wrong-")
        assert page.root.one(id=f"wrong-{name}").text
        found.add(name)
    return found


def test_an_order_of_a_guest(browser: Browser, server: Server, home: dict[str, str]) -> None:
    page = browser.put_into_cart()
    browser.follow("Go to checkout")
    assert browser.status == 200
    page = browser.press("/shop/checkout", home | GOOD_CARD)
    assert re.fullmatch(r"/pay/[0-9a-f-]{36}\?t=[A-Za-z0-9_-]{32}", browser.address)
    page = browser.until("Paid. Thank you!")
    assert "₹99.90" in page.text
    assert "···· 4242" in page.text
    [order] = orders_to(server, home["street"])
    assert order["status"] == "paid"
    assert order["buyer_id"].startswith("guest-")
    assert "Your cart is empty." in browser.open("/shop/cart").text


def test_the_order_is_the_signed_in_buyers(browser: Browser, server: Server, home: dict[str, str]) -> None:
    user = anybody()
    browser.open("/shop/sign-in")
    browser.press(
        "/shop/sign-in", {"token": server.token(user, email="signed@example.com", first_name="Sig", last_name="Ned")}, token=""
    )
    browser.put_into_cart()
    browser.open("/shop/checkout")
    form = browser.form("/shop/checkout")
    assert (form.fields["name"], form.fields["email"]) == ("Sig Ned", "signed@example.com")
    browser.send(form, **{**home, **GOOD_CARD})
    assert [order["buyer_id"] for order in orders_to(server, home["street"])] == [str(user)]
    assert len(server.client(user).get("/api/orders").json()["data"]["orders"]) == 1
    [order] = orders_to(server, home["street"])
    assert any(order["order_id"] in address for address in browser.open("/shop/orders").links.values())


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ({"name": ""}, {"name"}),
        ({"email": "nobody"}, {"email"}),
        ({"email": "a@b@c"}, {"email"}),
        ({"street": "   "}, {"street"}),
        ({"city": "x" * 201}, {"city"}),
        ({"postalCode": "", "country": ""}, {"postalCode", "country"}),
        ({"method": ""}, {"method"}),
        ({"method": "payme"}, {"method"}),
        ({"method": "link:nobody"}, {"method"}),
        ({"method": "link"}, {"method"}),
        ({"card": ""}, {"card"}),
        ({"card": "4242 4242 4242 4241"}, {"card"}),
        ({"card": "**** **** **** 4242"}, {"card"}),
        ({"card": "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"}, {"card"}),
        ({"expiry": "13/30"}, {"expiry"}),
        ({"expiry": "01/20"}, {"expiry"}),
        ({"expiry": ""}, {"expiry"}),
    ],
)
def test_a_mistake_is_said_beside_its_field_and_the_rest_stays(
    browser: Browser, server: Server, home: dict[str, str], typed: dict[str, str], wrong: set[str]
) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    page = browser.press("/shop/checkout", home | GOOD_CARD | typed)
    assert browser.status == 422
    assert wrongs(page) == wrong
    alert = page.root.one(role="alert")
    assert {link.attributes["href"] for link in alert.all("a")} == {f"#field-{name}" for name in wrong}
    assert all(list(page.root.all(id=f"field-{name}")) for name in wrong)
    fields = browser.form("/shop/checkout").fields
    for name, value in home.items():
        if name not in wrong:
            assert fields[name] == value
    assert "4242" not in browser.html.replace("4242 4242 4242 4242 is paid", "")
    assert not orders_to(server, home["street"])
    browser.press("/shop/checkout", home | GOOD_CARD)
    assert browser.address.startswith("/pay/"), "mended, it goes on"


def test_a_card_that_is_declined_leaves_the_cart_as_it_was(browser: Browser, home: dict[str, str]) -> None:
    browser.put_into_cart("prod_002", 2)
    browser.open("/shop/checkout")
    browser.press("/shop/checkout", home | BAD_CARD)
    page = browser.until("The payment was declined")
    assert "Nothing was charged." in page.text
    page = browser.follow("Back to the cart")
    assert [form.fields["quantity"] for form in page.forms if form.fields.get("act") == "set"] == ["2"]


def test_a_double_click_is_one_order(browser: Browser, server: Server, home: dict[str, str]) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    form = browser.form("/shop/checkout")
    with ThreadPoolExecutor(6) as hands:
        wish = {**form.fields, **home, **GOOD_CARD}
        answers = list(hands.map(lambda _: browser.client.post(form.action, data=wish, headers=browser._own()), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.url) for answer in answers}) == 1
    assert len(orders_to(server, home["street"])) == 1


def test_two_tabs_are_one_order_even_with_different_wishes(browser: Browser, server: Server, home: dict[str, str]) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    form = browser.form("/shop/checkout")
    browser.send(form, **{**home, **GOOD_CARD})
    paid_at = browser.address
    page = browser.send(form, **{**home, "method": "upi"})
    assert browser.address.startswith(paid_at)
    assert "This cart was ordered already" in page.text
    assert len(orders_to(server, home["street"])) == 1


def test_going_back_and_sending_again_is_the_same_order(browser: Browser, server: Server, home: dict[str, str]) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    form = browser.form("/shop/checkout")
    browser.send(form, **{**home, **GOOD_CARD})
    first = browser.address
    browser.put_into_cart("prod_002")
    browser.send(form, **{**home, **GOOD_CARD})
    assert browser.address == first
    assert len(orders_to(server, home["street"])) == 1
    assert "Mechanical Keyboard" in browser.open("/shop/cart").text, "what was put in since is no part of it"


def test_a_cart_that_changed_since_the_form_was_shown_is_not_ordered(
    browser: Browser, server: Server, home: dict[str, str]
) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    form = browser.form("/shop/checkout")
    browser.put_into_cart("prod_012")
    page = browser.send(form, **{**home, **GOOD_CARD})
    assert "Nothing was ordered; please look again." in page.text
    assert not orders_to(server, home["street"])


@pytest.mark.parametrize(
    "said", [{"total": "1"}, {"total": "x"}, {"version": "x"}, {"version": "-1"}, {"total": ""}, {"version": "9" * 18}]
)
def test_numbers_that_the_form_did_not_have_order_nothing(
    browser: Browser, server: Server, home: dict[str, str], said: dict[str, str]
) -> None:
    browser.put_into_cart()
    browser.open("/shop/checkout")
    browser.press("/shop/checkout", home | GOOD_CARD | said)
    assert browser.address.startswith("/shop/cart")
    assert not orders_to(server, home["street"])


def test_an_empty_cart_has_no_checkout(browser: Browser) -> None:
    browser.open("/shop/checkout")
    assert browser.address == "/shop/cart"


def test_each_offered_way_to_pay_leads_to_its_page(browser: Browser, server: Server, home: dict[str, str]) -> None:
    expected = {
        "upi": "Paid. Thank you!",
        "net_banking": "Paid. Thank you!",
        "cash_on_delivery": "You pay on delivery",
        "link:stripe": "Pay at Stripe",
        "link:paypal": "Pay at Paypal",
    }
    browser.put_into_cart()
    page = browser.open("/shop/checkout")
    offered = {each.attributes["value"] for each in page.root.all("input", type="radio")}
    assert offered == {"credit_card", "link:adyen", *expected}
    for method, words in expected.items():
        browser.put_into_cart()
        browser.open("/shop/checkout")
        browser.press("/shop/checkout", home | {"method": method})
        browser.until(words)


def test_too_many_orders_that_wait_are_said_at_the_method(start_kassa: StartKassa, home: dict[str, str]) -> None:
    browser = Browser(start_kassa(MAX_WAITING_ORDERS=1))
    for number in itertools.count():
        browser.put_into_cart()
        browser.open("/shop/checkout")
        page = browser.press("/shop/checkout", home | {"method": "link:stripe"})
        if number:
            break
    assert browser.status == 429
    assert wrongs(page) == {"method"}
    assert "Too many orders wait" in page.text


def test_a_price_that_moves_while_the_form_is_open_orders_nothing(start_kassa: StartKassa, home: dict[str, str]) -> None:
    server = start_kassa()
    browser = Browser(server)
    browser.put_into_cart()
    browser.open("/shop/checkout")
    server.sql("UPDATE products SET price_minor = price_minor + 100 WHERE channel = 'shop' AND product_id = 'prod_001'")
    page = browser.press("/shop/checkout", home | GOOD_CARD)
    assert "A price has changed meanwhile." in page.text
    assert not orders_to(server, home["street"])


def test_no_card_number_is_kept_anywhere(server: Server, home: dict[str, str]) -> None:
    browser = Browser(server)
    number = "5555341244441115"
    browser.put_into_cart()
    browser.open("/shop/checkout")
    browser.press("/shop/checkout", home | {"method": "credit_card", "card": number, "expiry": "1/2"})
    assert number not in browser.html
    browser.press("/shop/checkout", home | {"method": "credit_card", "card": number, "expiry": "12/49"})
    browser.until("Paid. Thank you!")
    assert number not in browser.html
    assert number not in browser.address
    assert number not in str(list(browser.client.cookies.jar))
    assert number not in server.log_text()
    rows: list[dict[str, Any]] = server.sql("SELECT p::text AS row FROM payments p JOIN orders o USING (merchant_id, payment_id)")
    assert rows
    assert not any(number in row["row"] for row in rows)


def test_the_buyer_is_written_to_in_the_language_of_the_page(server: Server, home: dict[str, str]) -> None:
    browser = Browser(server, "uz")
    browser.put_into_cart()
    browser.open("/shop/checkout")
    browser.press("/shop/checkout", home | GOOD_CARD)
    [order] = orders_to(server, home["street"])
    contact = server.sql("SELECT * FROM notice_recipients WHERE order_id = $1::uuid", order["order_id"])
    assert contact[0]["language"] == "uz"


def test_a_guest_is_forgotten_by_the_address_that_was_given(start_kassa: StartKassa, home: dict[str, str]) -> None:
    server = start_kassa()
    mail = f"{uuid.uuid4().hex}@example.com"
    browser = Browser(server)
    browser.buy(**{**home, "email": mail})
    browser.until("Paid. Thank you!")
    [order] = orders_to(server, home["street"])
    staff = server.client(1, "staff")
    for status in ("processing", "shipped", "delivered"):
        assert staff.put(f"/api/orders/{order['order_id']}/status", json={"status": status}).status_code == 200
    browser.put_into_cart("prod_003")
    command = [sys.executable, "-m", "kassa", "forget", "--email", mail.upper(), "--yes", "--json"]
    beside = {**server.environment, "DATABASE_URL": server.dsn}
    done = subprocess.run(command, env=beside, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert not orders_to(server, home["street"])
    assert "Your cart is empty." in browser.open("/shop/cart").text
    rows = server.sql("SELECT (SELECT count(*) FROM checkouts WHERE customer_email IS NOT NULL) AS left")
    assert rows == [{"left": 0}]
