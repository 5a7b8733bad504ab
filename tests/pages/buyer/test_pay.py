"""The pay page: whom it opens for, what it says of each state, and what may be done from it."""

from __future__ import annotations

import base64
import uuid

import pytest
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import anybody
from tests.pages.browsing import HOME, Browser
from tests.pages.reading import Page
from tests.rig import Server
from tests.unit.api.asking import KEYS, an_app, ask

from kassa.api.options import Pages
from kassa.kit.secrets import Keys
from kassa.pages import PREFIXES, PageOptions, Refusals, pages_routers
from kassa.pages.buyer import tokens

SELL_IN_UZS = """
    WITH prices AS (UPDATE products SET currency = 'UZS' WHERE merchant_id = '1' AND channel = 'shop')
    UPDATE channels SET currency = 'UZS', methods = array_append(methods, 'payme') WHERE merchant_id = '1' AND channel = 'shop'"""


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Server:
    """A Kassa of our own: its clock is moved."""
    return start_kassa()


@pytest.fixture(scope="module")
def tashkent(start_kassa: StartKassa) -> Server:
    """One that sells in Uzbek sums, by Payme too."""
    server = start_kassa()
    server.sql(SELL_IN_UZS)
    server.restart()
    return server


@pytest.fixture
def browser(town: Server) -> Browser:
    return Browser(town)


def payment_of(browser: Browser) -> str:
    return browser.address.removeprefix("/pay/").partition("?")[0]


def token_of(server: Server, payment_id: str) -> str:
    return tokens.make(Keys(base64.b64decode(server.kassa_secret)), tokens.PAYMENT, "1", payment_id)


def status(browser: Browser) -> str:
    row = browser.server.sql("SELECT status FROM payments WHERE payment_id = $1::uuid", payment_of(browser))
    return str(row[0]["status"])


def by_link(browser: Browser) -> str:
    """Order by a link, up to the page where it is to be paid."""
    browser.buy(method="link:stripe")
    browser.until("Pay at Stripe")
    return browser.address


def press_bank(browser: Browser, act: str) -> Page:
    form = next(each for each in browser.page.forms if each.action.endswith("/bank"))
    return browser.send(form, act=act)


def test_what_is_to_be_paid_and_where(browser: Browser) -> None:
    by_link(browser)
    page = browser.page
    assert "Demo Merchant" in page.text
    assert "Wireless Mouse" in page.text
    assert "₹99.90" in page.text
    assert page.links["Pay at Stripe"].startswith("/sandbox/pay/")
    assert browser.client.get(page.links["Pay at Stripe"]).status_code == 200
    assert page.links["Follow the order"].startswith("/track/")
    assert browser.client.get(page.links["Follow the order"]).status_code == 200


def test_the_link_with_its_token_opens_anywhere_and_nothing_else_does(browser: Browser, town: Server) -> None:
    address = by_link(browser)
    payment_id = payment_of(browser)
    elsewhere = Browser(town)
    elsewhere.open(address)
    assert elsewhere.status == 200
    assert "Pay in another way" not in elsewhere.page.text, "whoever was sent the link cannot cancel"
    order_token = browser.page.links["Follow the order"].partition("?t=")[2]
    for wrong in (
        "",
        "?t=",
        "?t=x",
        f"?t={order_token}",
        f"?t={token_of(town, str(uuid.uuid4()))}",
        "?t=%C3%A4",
        "?t=" + "x" * 3000,
    ):
        assert elsewhere.client.get(f"/pay/{payment_id}{wrong}").status_code == 404
    for nothing in ("x", str(uuid.uuid4()), payment_id[:-1], "%00"):
        assert elsewhere.client.get(f"/pay/{nothing}").status_code == 404
    assert browser.client.get(f"/pay/{payment_id}").status_code == 200, "the buyer's own browser needs no token"


def test_a_payment_of_a_merchant_has_no_page_here(town: Server) -> None:
    client = town.client(headers={"X-API-Key": "sk_demo_1"})
    answer = client.post("/api/v1/payments", json={"order_id": "77", "alias": "stripe", "amount": "1", "price": "10.00"})
    found = town.sql("SELECT payment_id::text AS id FROM payments WHERE ref_kind = 'outside' LIMIT 1")
    assert found, answer.text
    shown = town.client().get(f"/pay/{found[0]['id']}?t={token_of(town, found[0]['id'])}")
    assert shown.status_code == 404


def test_it_asks_again_until_nothing_more_can_happen(browser: Browser) -> None:
    by_link(browser)
    state = browser.page.root.one(id="state")
    assert state.attributes["hx-trigger"] == "every 2s"
    assert browser.page.root.one("meta", http_equiv="refresh")
    part = browser.client.get(state.attributes["hx-get"], headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert Page(part).root.one(id="state")
    town_says = browser.client.post(browser.page.links["Pay at Stripe"].replace("/sandbox/pay/", "/sandbox/payments/") + "/accept")
    assert town_says.status_code == 200
    browser.until("Paid. Thank you!")
    assert "hx-trigger" not in browser.page.root.one(id="state").attributes
    assert not list(browser.page.root.all("meta", http_equiv="refresh"))


def test_looking_changes_nothing(browser: Browser, town: Server) -> None:
    by_link(browser)
    before = town.sql("SELECT version, updated_at FROM orders WHERE payment_id = $1::uuid", payment_of(browser))
    for _ in range(3):
        browser.look_again()
    assert town.sql("SELECT version, updated_at FROM orders WHERE payment_id = $1::uuid", payment_of(browser)) == before


def test_the_bank_pays(browser: Browser) -> None:
    by_link(browser)
    press_bank(browser, "pay")
    browser.until("Paid. Thank you!")
    assert status(browser) == "paid"


def test_the_bank_declines_and_the_things_are_in_the_cart_again(browser: Browser) -> None:
    by_link(browser)
    press_bank(browser, "decline")
    browser.until("The payment was declined")
    assert "in your cart again" in browser.page.text
    assert "Wireless Mouse" in browser.follow("Back to the cart").text


def test_the_bank_pays_twice_and_it_is_paid_once(browser: Browser, town: Server) -> None:
    by_link(browser)
    press_bank(browser, "twice")
    browser.until("Paid. Thank you!")
    rows = town.sql("SELECT captured_minor, refunded_minor FROM payments WHERE payment_id = $1::uuid", payment_of(browser))
    assert rows == [{"captured_minor": 9990, "refunded_minor": 0}]


def test_the_bank_is_silent_until_the_time_is_over(browser: Browser) -> None:
    by_link(browser)
    press_bank(browser, "silent")
    browser.until("The time to pay is over")
    assert "in your cart again" in browser.page.text
    assert "hx-trigger" in browser.page.root.one(id="state").attributes, "whoever plays the bank sees what comes of it"


def test_money_that_comes_late_goes_back(browser: Browser) -> None:
    by_link(browser)
    press_bank(browser, "late")
    browser.until("Your money was given back")
    assert status(browser) == "refunded"


def test_the_bank_does_nothing_that_it_cannot(browser: Browser) -> None:
    by_link(browser)
    form = next(each for each in browser.page.forms if each.action.endswith("/bank"))
    for act in ("", "x", "charge"):
        assert "cannot be done any more" in browser.send(form, act=act).text
    browser.send(form, act="pay")
    browser.until("Paid. Thank you!")
    assert "Play the bank" not in browser.page.text
    assert "cannot be done any more" in browser.send(form, act="decline").text
    assert status(browser) == "paid"


def test_another_way_to_pay_gives_the_cart_back(browser: Browser, town: Server) -> None:
    address = by_link(browser)
    form = next(each for each in browser.page.forms if each.action.endswith("/let-go"))
    page = browser.send(form)
    assert browser.address == "/shop/checkout"
    assert "Wireless Mouse" in page.text
    browser.send(form)
    assert browser.address == "/shop/checkout", "pressed twice it is done once"
    browser.press("/shop/checkout", HOME | {"method": "upi"})
    browser.until("Paid. Thank you!")
    assert "The order was cancelled" in browser.open(address).text
    assert "Pay in another way" not in browser.page.text


def test_a_paid_order_is_not_let_go(browser: Browser) -> None:
    by_link(browser)
    form = next(each for each in browser.page.forms if each.action.endswith("/let-go"))
    press_bank(browser, "pay")
    browser.until("Paid. Thank you!")
    page = browser.send(form)
    assert "cannot be done any more" in page.text
    assert status(browser) == "paid"


@pytest.mark.parametrize("action", ["/bank", "/let-go"])
def test_a_form_that_is_not_from_this_page_does_nothing(browser: Browser, action: str) -> None:
    by_link(browser)
    form = next(each for each in browser.page.forms if each.action.endswith(action))
    for fields, headers, refused in (
        ({"mark": "x"}, {}, 409),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({"t": "x", "mark": ""}, {}, 409),
    ):
        answer = browser.send_raw(form.action, {**form.fields, "act": "pay", **fields}, **headers)
        assert answer.status_code == refused, answer.text
    assert status(browser) == "waiting"


def test_cash_is_paid_at_the_door(browser: Browser) -> None:
    browser.buy(method="cash_on_delivery")
    assert "You pay on delivery" in browser.page.text
    assert "hx-trigger" not in browser.page.root.one(id="state").attributes


@pytest.mark.parametrize(
    ("state", "since"),
    [
        ("unknown", "unknown_since = kassa_now(), next_ask_at = kassa_now() + interval '1 day'"),
        ("parked", "unknown_since = kassa_now()"),
    ],
)
def test_while_nobody_knows_the_buyer_is_told_not_to_pay_again(start_kassa: StartKassa, state: str, since: str) -> None:
    server = start_kassa()
    browser = Browser(server)
    browser.buy(method="link:stripe")
    browser.until("Pay at Stripe")
    server.sql(f"UPDATE payments SET status = '{state}', {since} WHERE payment_id = $1::uuid", payment_of(browser))
    page = browser.look_again()
    assert "Please do not pay again" in page.text
    assert "Pay at Stripe" not in page.text
    assert "Pay in another way" not in page.text
    assert "Play the bank" not in page.text
    assert "hx-trigger" in page.root.one(id="state").attributes


def test_payme(tashkent: Server) -> None:
    browser = Browser(tashkent)
    browser.buy(method="payme")
    browser.until("Pay at Payme")
    assert "UZS" in browser.page.text
    link = browser.page.links["Pay at Payme"]
    assert link.startswith("/sandbox/payme/checkout/")
    assert browser.client.get(link).status_code == 200
    press_bank(browser, "pay")
    browser.until("Paid. Thank you!")


@pytest.mark.parametrize(
    ("act", "words"), [("decline", "Pay at Payme"), ("twice", "Paid. Thank you!"), ("late", "The time to pay is over")]
)
def test_payme_as_the_bank_plays_it(tashkent: Server, act: str, words: str) -> None:
    """Declined at Payme the same link can be paid again; too late, it refuses."""
    browser = Browser(tashkent)
    browser.buy(method="payme")
    browser.until("Pay at Payme")
    press_bank(browser, act)
    browser.until(words)


def test_an_ambassador_is_paid_from_the_same_page(town: Server) -> None:
    user = anybody()
    client = town.client(user)
    assert client.post("/cart/items", json={"ambassador_id": 1}).status_code in {200, 201}
    made = client.post("/checkout")
    assert made.is_success, made.text
    [row] = town.sql("SELECT payment_id::text AS id FROM orders WHERE channel = 'ambassadors' AND buyer_id = $1", str(user))
    browser = Browser(town)
    page = browser.open(f"/pay/{row['id']}?t={token_of(town, row['id'])}")
    assert "Ambassador #1" in page.text
    press_bank(browser, "pay")
    browser.until("Paid. Thank you!")
    assert "cart" not in browser.page.text.lower()


async def test_in_production_nobody_plays_the_bank() -> None:
    routers = pages_routers(PageOptions(("buyer",), KEYS, secure=True))
    app = an_app(pages=Pages(routers, PREFIXES, Refusals()))
    path = f"/pay/{uuid.uuid4()}/bank"
    assert (await ask(app, "POST", path)).status == 404
    assert (await ask(app, "GET", path)).status == 404
