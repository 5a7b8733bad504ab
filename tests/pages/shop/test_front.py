"""The shop's front, its pictures, and who may send its forms."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import httpx2
import pytest
from tests.pages.browsing import Browser
from tests.pages.reading import Page
from tests.rig import Server

PLACES = ["/shop", "/shop/cart", "/shop/orders", "/shop/sign-in"]


@pytest.fixture
def browser(server: Server) -> Browser:
    return Browser(server)


def test_a_guest_sees_what_is_sold_with_prices(browser: Browser) -> None:
    page = browser.open("/shop")
    assert page.headings[0] == (1, "Products")
    assert {"Wireless Mouse", "Diamond Ring", "Sold-out Sneakers"} <= {words for _, words in page.headings}
    assert "₹99.90" in page.text
    assert "₹9,999,999.99" in page.text


def test_what_is_sold_out_has_no_form(browser: Browser) -> None:
    browser.open("/shop")
    assert "prod_soldout" not in {form.fields.get("product") for form in browser.page.forms}
    assert "Sold out" in browser.page.text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("language", ["en", "ru", "uz"])
def test_every_page_is_whole_in_every_language(server: Server, place: str, language: str) -> None:
    browser = Browser(server, language)
    page = browser.open(place)
    assert browser.status == 200
    assert page.language == language
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert "style=" not in browser.html
    assert "<script>" not in browser.html
    for control in page.root.all("input"):
        if control.attributes.get("type") != "hidden":
            assert _has_label(page, control.attributes), control.attributes


def test_a_page_with_all_that_it_needs_is_light(browser: Browser) -> None:
    page = browser.open("/shop")
    weight = len(browser.html.encode())
    files = [each.attributes["href"] for each in page.root.all("link")]
    files += [each.attributes["src"] for each in (*page.root.all("script"), *page.root.all("img"))]
    for file in set(files):
        weight += len(browser.client.get(file, headers={"Accept-Encoding": "identity"}).content)
    assert weight <= 100_000, weight


def test_a_language_that_was_chosen_stays(browser: Browser) -> None:
    browser.open("/shop/cart")
    browser.press("/language", {"language": "ru"})
    assert browser.address == "/shop/cart"
    assert browser.page.language == "ru"
    assert browser.open("/shop").text.count("В корзину") > 5  # noqa: RUF001 - Russian


def test_a_picture_is_drawn_from_the_id_and_always_the_same(browser: Browser) -> None:
    first, again = (browser.client.get("/shop/pictures/prod_001.svg") for _ in range(2))
    other = browser.client.get("/shop/pictures/prod_002.svg")
    assert first.headers["content-type"] == "image/svg+xml"
    assert first.content == again.content != other.content
    assert ET.fromstring(first.content).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"style" not in first.content


@pytest.mark.parametrize("name", ["prod_001", "prod_001.png", ".svg", "a%20b.svg", "%3Cscript%3E.svg", "x" * 51 + ".svg"])
def test_other_names_are_no_pictures(browser: Browser, name: str) -> None:
    assert browser.client.get(f"/shop/pictures/{name}").status_code == 404


def test_a_browser_may_do_nothing_that_a_page_does_not_need(browser: Browser) -> None:
    headers = browser.client.get("/shop").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    kept = headers["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=Lax" in kept


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "9" * 30])
def test_a_page_number_is_a_whole_number(browser: Browser, page: str) -> None:
    answer = browser.client.get(f"/shop?page={page}")
    assert answer.status_code == 422
    assert Page(answer.text).headings


def test_a_form_of_another_site_does_nothing(browser: Browser) -> None:
    browser.open("/shop")
    form = browser.form("/shop/cart/add", product="prod_001")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert browser.send_raw(form.action, form.fields, **headers).status_code == 403
    assert _pieces(browser.open("/shop/cart")) == 0


def test_a_form_that_was_shown_to_somebody_else_does_nothing(server: Server, browser: Browser) -> None:
    browser.open("/shop")
    stolen = Browser(server)
    stolen.open("/shop")
    form = stolen.form("/shop/cart/add", product="prod_001")
    for mark in (form.fields["mark"], "", "x" * 43, form.fields["mark"] + "x"):
        answer = browser.send_raw(form.action, form.fields | {"mark": mark}, **{"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 409
        assert "load it again" in Page(answer.text).text
    assert _pieces(browser.open("/shop/cart")) == 0


@pytest.mark.parametrize("cookie", ["x", "a" * 5000, "AAAA", '"', "%00"])
def test_a_cookie_of_somebodys_own_making_is_nobodys(server: Server, cookie: str) -> None:
    answer = httpx2.get(f"{server.url}/shop", headers={"Cookie": f"kassa_guest={cookie}; kassa_buyer={cookie}"}, trust_env=False)
    assert answer.status_code == 200
    assert "kassa_guest=" in answer.headers["set-cookie"]
    assert "Sign in" in answer.text


def _pieces(page: Page) -> int:
    return sum(int(form.fields["quantity"]) for form in page.forms if form.fields.get("act") == "set")


def _has_label(page: Page, attributes: dict[str, str]) -> bool:
    inside = any(attributes == each.attributes for label in page.root.all("label") for each in label.all())
    return inside or "aria-label" in attributes or attributes.get("type") == "hidden"
