"""What the back office shows: every page can be read by machine and person, and shows what is there and nothing of others."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.conftest import StartKassa
from tests.contracts.orders.journeys import eventually
from tests.pages.hook import Hook
from tests.pages.office.hands import Clerk, buy, clerk
from tests.rig import Server

PAGES = (
    "/office", "/office/doubt", "/office/orders", "/office/payments", "/office/merchants", "/office/merchants/1", "/office/products",
    "/office/deliveries", "/office/log", "/office/system", "/office/search",
)  # fmt: skip
HEAVIEST = 100_000
NOBODY = uuid.UUID(int=7)


@pytest.fixture(scope="module")
def house(start_kassa: StartKassa) -> Server:
    return start_kassa(EMAIL_BACKEND="console")


@pytest.fixture(scope="module")
def staff(house: Server) -> Clerk:
    return clerk(house, "operator")


@pytest.fixture(scope="module")
def admin(house: Server) -> Clerk:
    return clerk(house, "admin")


@pytest.fixture(scope="module")
def sold(house: Server) -> dict[str, Any]:
    """An order that was paid by card."""
    return buy(house, "prod_002", 3)


def headings_in_order(browser: Clerk) -> None:
    levels = [level for level, _ in browser.page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), browser.page.headings


def within(browser: Clerk) -> Iterator[str]:
    """Addresses of the office that the page on the screen links to."""
    for each in browser.page.root.all("a"):
        if each.attributes["href"].startswith("/office"):
            yield each.attributes["href"]


@pytest.fixture
def merchant() -> Iterator[Hook]:
    """A merchant's server."""
    made = Hook()
    yield made
    made.shutdown()
    made.server_close()


def test_every_page_that_is_linked_can_be_read(house: Server, admin: Clerk, sold: dict[str, Any]) -> None:
    """A walk over all links, some of each kind: no error, one heading first, headings in order, no heavy page."""
    todo, seen, kinds = list(PAGES), set[str](), dict[str, int]()
    while todo:
        address = todo.pop(0)
        kind = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|prod_\w+|=[^&]*|/merchants/\d+", "*", address)
        if address in seen or kinds.get(kind, 0) >= 2:
            continue
        seen.add(address)
        kinds[kind] = kinds.get(kind, 0) + 1
        admin.open(address)
        assert admin.status == 200, f"{address}: {admin.status} {admin.page.text[:300]}"
        headings_in_order(admin)
        assert len(admin.html) < HEAVIEST, address
        assert " style=" not in admin.html, "the policy of the pages forbids it"
        assert "<script>" not in admin.html
        todo += within(admin)
    assert len(kinds) > 25


def test_nothing_is_shown_to_nobody(house: Server, sold: dict[str, Any]) -> None:
    stranger = house.client(follow_redirects=False)
    for address in (*PAGES, f"/office/orders/{sold['order_id']}", f"/office/payments/{sold['payment_id']}", "/office/log/check"):
        answer = stranger.get(address)
        assert answer.status_code == 303, address
        assert answer.headers["location"].startswith("/office/sign-in")
        assert answer.content == b""


def test_an_order_shows_lines_money_books_and_what_happened(staff: Clerk, sold: dict[str, Any]) -> None:
    page = staff.open(f"/office/orders/{sold['order_id']}")
    headings = [text for _, text in page.headings]
    assert {"Lines", "In the books", "What happened", "The checkout's journal"} <= set(headings)
    money = f"₹{sold['amount_minor'] / 100:,.2f}"
    assert page.text.count(money) >= 4, "asked for, captured, can be given back, held by the provider"
    for words in (
        "prod_002",
        "provider:simulated",
        "merchant:1",
        "capture",
        "The purchase began",
        "was placed",
        "order confirmation",
    ):
        assert words in page.text, words
    assert "Can still be given back" in page.text


def test_links_to_acts_are_for_whom_they_are(staff: Clerk, admin: Clerk, sold: dict[str, Any]) -> None:
    here = f"/office/orders/{sold['order_id']}"
    staff.open(here)
    assert {"Ship", "Prepare", "Leave a note"} == {
        words for words, address in staff.page.links.items() if address.startswith(here + "/")
    }
    admin.open(here)
    acts = {words for words, address in admin.page.links.items() if address.startswith(here + "/")}
    assert acts == {"Ship", "Prepare", "Give money back", "Cancel", "Leave a note"}
    for words in acts:
        admin.open(here)
        admin.follow(words)
        assert admin.status == 200, words
    admin.open(f"/office/payments/{sold['payment_id']}")
    assert admin.page.links["Give money back"] == f"/office/payments/{sold['payment_id']}/refund"


def test_what_a_person_did_stands_in_the_timeline_and_in_the_log(house: Server, admin: Clerk) -> None:
    order = buy(house)
    admin.act(f"/office/orders/{order['order_id']}/refund", amount="10.00", why="a scratch on the lid")
    page = admin.open(f"/office/orders/{order['order_id']}")
    assert "money is given back" in page.text
    assert "a scratch on the lid" in page.text
    assert "₹10.00" in page.text
    page = admin.open("/office/log")
    assert "a scratch on the lid" in page.text
    assert "The chain holds" in admin.open("/office/log/check").text
    today = admin.open("/office").text
    assert "Refunded ₹" in today


def test_the_front_shows_todays_money_as_bars_and_as_numbers(house: Server, admin: Clerk, sold: dict[str, Any]) -> None:
    page = admin.open("/office")
    captured = house.sql(
        "SELECT sum(amount_minor)::bigint AS s FROM ledger_postings p JOIN ledger_entries e USING (entry_id) WHERE e.kind = 'capture'"
    )[0]["s"]
    assert f"₹{captured / 100:,.2f}" in page.text
    charts = [each for each in page.root.all("svg") if each.attributes.get("role") == "img"]
    assert len(charts) >= 4
    assert all(each.attributes["aria-label"] for each in charts)
    assert any(bar.has("class_", "now") for chart in charts for bar in chart.all("rect"))
    assert "simulated" in page.text


def test_search_finds_by_form_and_tells_no_address(admin: Clerk, sold: dict[str, Any]) -> None:
    admin.open("/office")
    admin.press("/office/search", {"find": sold["order_id"]})
    assert admin.address == f"/office/orders/{sold['order_id']}"
    admin.open("/office/search")
    admin.press("/office/search", {"find": "nobody@example.com"})
    assert admin.address.startswith("/office/search?find=")
    assert "nobody" not in admin.address
    assert "e-mail address of a buyer" in admin.page.text
    assert "Nothing was found" in admin.page.text
    assert admin.form("/office/search").fields["find"] == "nobody@example.com"


def test_a_whole_card_number_is_refused_and_not_shown_again(admin: Clerk) -> None:
    admin.open("/office/search")
    admin.press("/office/search", {"find": "4242 4242 4242 4242"})
    assert admin.status == 422
    assert "4242 4242" not in admin.html
    assert "4242%20" not in admin.address
    assert "last four digits" in admin.page.text


def test_a_search_of_another_site_is_refused(house: Server, admin: Clerk) -> None:
    answer = admin.send_raw("/office/search", {"find": "x"}, Origin="https://evil.example", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "address",
    [
        *(f"/office/{kind}/{NOBODY}" for kind in ("orders", "payments", "checkouts", "refunds", "deliveries", "endpoints", "cases")),
        "/office/orders/x", "/office/products/shop/unicorn", "/office/products/nowhere/prod_001", "/office/merchants/nobody",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(staff: Clerk, admin: Clerk, address: str) -> None:
    for browser in (staff, admin):
        browser.open(address)
        assert browser.status == 404, address


@pytest.mark.parametrize(
    "query",
    [
        "older=x", "newer='", "older=%00", "status=nothing", "merchant=%F0%9F%98%80", "after=yesterday~x", "after=~", "sort=all", "by=x",
        "before=-1", "before=99999999999999999999999", "act=x", "who=%00", "channel=x", "find=AAAA", "find=%FF", "page=2",
        f"older={NOBODY}", f"newer={NOBODY}",
    ],
)  # fmt: skip
def test_a_strange_address_is_no_error_of_ours(admin: Clerk, query: str) -> None:
    for address in PAGES:
        admin.open(f"{address}?{query}")
        assert admin.status == 200, f"{address}?{query}: {admin.status}"


def test_staff_see_their_own_merchant_only(house: Server, staff: Clerk, admin: Clerk) -> None:
    for address in ("/office/orders", "/office/payments", "/office/products", "/office/log"):
        assert staff.open(f"{address}?merchant=2").text == staff.open(address).text, address
    assert [words for words in staff.open("/office/merchants").links.values() if re.fullmatch(r"/office/merchants/\d+", words)] == [
        "/office/merchants/1"
    ]
    staff.open("/office/merchants/2")
    assert staff.status == 404
    admin.open("/office/merchants/2")
    assert admin.status == 200
    key = house.sql("SELECT key_id::text FROM api_keys WHERE merchant_id = '2' LIMIT 1")[0]["key_id"]
    assert f"/office/keys/{key}/revoke?merchant=2" in admin.page.links.values()


def test_lists_are_read_page_by_page(house: Server, staff: Clerk) -> None:
    house.sql(
        """
        INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, status, currency, amount_minor, provider_key,
                              created_at, updated_at)
        SELECT '1', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'outside', 'old-' || n, 'link', 'link:stripe',
               'expired', 'INR', 100 + n, 'key-' || n, now() - interval '9 days', now() FROM generate_series(1, 120) n
        """
    )
    staff.open("/office/payments?status=expired")
    seen: list[str] = []
    while True:
        seen += re.findall(r">(old-\d+)<", staff.html)
        older = [each.attributes["href"] for each in staff.page.root.all("a", rel="next")]
        if not older:
            break
        staff.open(older[0])
    assert seen == [f"old-{n}" for n in range(120, 0, -1)]
    staff.open(staff.page.root.one("a", rel="prev").attributes["href"])
    assert "old-21" in staff.page.text
    assert re.search(r"50 shown of \d+", staff.page.text)


def test_money_in_doubt_has_its_age_its_meaning_and_its_next_steps(house: Server, staff: Clerk, admin: Clerk) -> None:
    payment_id = str(uuid.uuid4())
    house.sql(
        """
        INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, status, currency, amount_minor, provider_key,
                              unknown_since, next_ask_at, created_at, updated_at)
        VALUES ('1', $1::text::uuid, 'order', $1, 'link', 'link:stripe', 'parked', 'INR', 123456, 'a-key', now() - interval '5 hours',
                NULL, now() - interval '5 hours', now())
        """,
        payment_id,
    )
    page = admin.open("/office/doubt")
    [item] = [each for each in page.root.all("article") if payment_id in each.text]
    for words in ("parked", "₹1,234.56", "5 hours", "Nobody says whether it was paid"):
        assert words in item.text, words
    steps = {each.text.split(" payment:")[0]: each.attributes["href"] for each in item.all("a")}
    assert steps == {"Look": f"/office/payments/{payment_id}", "Say what you found": f"/office/payments/{payment_id}/resolve"}
    for address in steps.values():
        assert admin.open(address) is not None
        assert admin.status == 200
    [item] = [each for each in staff.open("/office/doubt").root.all("article") if payment_id in each.text]
    assert {each.attributes["href"] for each in item.all("a")} == {f"/office/payments/{payment_id}"}, "only an admin decides"
    assert "₹1,234.56" in admin.open("/office").text


def test_the_number_of_what_waits_stands_in_the_navigation(house: Server, start_kassa: StartKassa) -> None:
    fresh = clerk(start_kassa(), "admin")
    assert "Doubt" in fresh.open("/office/orders").links
    fresh.server.sql(
        """
        INSERT INTO cases (merchant_id, case_id, kind, subject, act, opened_at)
        SELECT '1', gen_random_uuid(), 'amount_mismatch', 'payment:' || n, '', now() FROM generate_series(1, 7) n
        """
    )
    eventually(lambda: "Doubt 7" in fresh.open("/office/orders").links, within=10)
    page = fresh.open("/office/doubt")
    assert "7 shown of 7" in page.text
    case = next(address for address in page.links.values() if address.startswith("/office/cases/"))
    fresh.open(case)
    assert fresh.status == 200
    assert "A provider reported another sum" in fresh.page.text


def test_what_merchants_were_told_and_what_they_answered(start_kassa: StartKassa, merchant: Hook) -> None:
    merchant.status = 500
    house = start_kassa(MERCHANT_CALLBACK_URL=merchant.url + "?token=in-the-query", ALLOW_PRIVATE_CALLBACKS="true")
    admin = clerk(house, "admin")
    order = buy(house)
    eventually(lambda: len(merchant.heard) > 0, within=15)
    page = admin.open(f"/office/orders/{order['order_id']}")
    delivery = next(address for address in page.links.values() if address.startswith("/office/deliveries/"))
    eventually(lambda: "500" in admin.open(delivery).text, within=15)
    assert "Attempts" in [text for _, text in admin.page.headings]
    endpoint = next(address for address in admin.page.links.values() if address.startswith("/office/endpoints/"))
    admin.open(endpoint)
    assert admin.status == 200
    assert "payment.paid" in admin.page.text
    for address in (endpoint, "/office/merchants/1", "/office/deliveries", delivery):
        assert "in-the-query" not in admin.open(address).root.text + admin.html, address
