"""Lists, pages, cursors and filters (section 5)."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from .till import (
    BASE,
    INSTANT,
    ITEM,
    STATUS_NAMES,
    Json,
    Mall,
    a_key,
    at_once,
    malformed,
    paid,
    pay_link,
    refusal,
    report,
    show,
    wish,
)

PAGE = {"page", "limit", "total", "has_next", "next_cursor", "items"}
SLICE = {"limit", "has_next", "next_cursor", "items"}


def page(who: httpx2.Client, **query: Any) -> Json:
    answer = who.get(BASE, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert set(found) == PAGE
    return found


def piece(who: httpx2.Client, cursor: str = "", **query: Any) -> Json:
    answer = who.get(BASE, params={"cursor": cursor, **query})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert set(found) == SLICE
    return found


def ids(found: Json) -> list[str]:
    return [item["payment_id"] for item in found["items"]]


def walk(who: httpx2.Client, **query: Any) -> list[str]:
    """All ids, cursor by cursor."""
    seen: list[str] = []
    cursor = ""
    while True:
        found = piece(who, cursor, **query)
        seen += ids(found)
        assert found["has_next"] == (found["next_cursor"] is not None)
        if found["next_cursor"] is None:
            return seen
        cursor = found["next_cursor"]


@pytest.fixture(scope="module")
def seven(own_mall: Mall) -> list[str]:
    """Seven payments of merchant 2, the newest first."""
    return [pay_link(own_mall.merchant(2), amount="1.50") for _ in range(7)][::-1]


@pytest.fixture(scope="module")
def mixed(own_mall: Mall) -> dict[str, str]:
    """Payments of merchant 3 in every state, with three providers."""
    who = own_mall.merchant(3)
    made = {
        "waiting": pay_link(who, order_id=7001),
        "paid": paid(own_mall, who, order_id="7002", alias="paypal"),
        "failed": pay_link(who, order_id="x-7003"),
        "refunded": paid(own_mall, who, alias="adyen"),
        "last": pay_link(who, alias="paypal"),
    }
    report(own_mall, made["failed"], "failed")
    answer = who.post(f"{BASE}/{made['refunded']}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201
    return made


# Pages


def test_a_merchant_without_payments_has_an_empty_page(own_mall: Mall) -> None:
    who = own_mall.merchant(6)
    assert page(who) == {"page": 1, "limit": 20, "total": 0, "has_next": False, "next_cursor": None, "items": []}
    assert piece(who) == {"limit": 20, "has_next": False, "next_cursor": None, "items": []}


def test_an_item_has_the_members_of_the_contract(own_mall: Mall, seven: list[str]) -> None:
    who = own_mall.merchant(2)
    item = page(who)["items"][0]
    assert set(item) == ITEM
    assert INSTANT.fullmatch(item["created_at"])
    assert (item["payment_id"], item["provider"], item["amount"], item["price"]) == (seven[0], "stripe", "1.5", "349.70")
    assert (item["currency"], item["status"], item["status_name"]) == ("EUR", 1, "PAYMENT_PENDING")
    whole = show(who, seven[0])
    assert {name: whole[name] for name in ITEM} == item


def test_the_newest_payment_stands_first(own_mall: Mall, seven: list[str]) -> None:
    found = page(own_mall.merchant(2))
    assert ids(found) == seven
    times = [item["created_at"] for item in found["items"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, 8, 100])
def test_pages_cut_the_list_into_pieces(own_mall: Mall, seven: list[str], limit: int) -> None:
    who = own_mall.merchant(2)
    for number in range(1, 9):
        found = page(who, page=number, limit=limit)
        first = (number - 1) * limit
        assert (found["page"], found["limit"], found["total"]) == (number, limit, 7)
        assert ids(found) == seven[first : first + limit]
        assert found["has_next"] is (first + limit < 7)


def test_one_page_of_twenty_is_the_default(own_mall: Mall, seven: list[str]) -> None:
    assert page(own_mall.merchant(2)) == page(own_mall.merchant(2), page=1, limit=20)


# Cursors


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
def test_cursors_walk_through_the_list(own_mall: Mall, seven: list[str], limit: int) -> None:
    assert walk(own_mall.merchant(2), limit=limit) == seven


def test_a_cursor_of_a_page_leads_on(own_mall: Mall, seven: list[str]) -> None:
    who = own_mall.merchant(2)
    first = page(who, limit=3)
    assert isinstance(first["next_cursor"], str)
    assert ids(piece(who, first["next_cursor"], limit=3)) == seven[3:6]


def test_a_cursor_may_be_followed_twice(own_mall: Mall, seven: list[str]) -> None:
    who = own_mall.merchant(2)
    cursor = piece(who, limit=2)["next_cursor"]
    assert ids(piece(who, cursor, limit=2)) == ids(piece(who, cursor, limit=2)) == seven[2:4]
    assert ids(piece(who, cursor, limit=4)) == seven[2:6]


def test_a_walk_is_not_disturbed_by_new_payments(own_mall: Mall) -> None:
    who = own_mall.merchant(5)
    old = [pay_link(who, price=7) for _ in range(9)][::-1]
    seen, cursor = [], ""
    while True:
        found = piece(who, cursor, limit=2)
        seen += ids(found)
        pay_link(who, price=7)
        if found["next_cursor"] is None:
            break
        cursor = found["next_cursor"]
    assert seen == old


def test_payments_that_come_at_once_are_each_listed_once(own_mall: Mall) -> None:
    who = own_mall.merchant(4)
    made = at_once(*[lambda: pay_link(who, wish()) for _ in range(20)])
    assert sorted(walk(who, limit=3)) == sorted(made)
    assert walk(who, limit=3) == ids(page(who, limit=100))


def test_a_cursor_of_another_merchant_is_malformed(own_mall: Mall, seven: list[str], mixed: dict[str, str]) -> None:
    cursor = piece(own_mall.merchant(2), limit=2)["next_cursor"]
    malformed(own_mall.merchant(3).get(BASE, params={"cursor": cursor}), cursor)


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-2], lambda c: c + "A", lambda c: ("A" if c[0] != "A" else "B") + c[1:], str.swapcase, lambda c: c * 40]
)
def test_a_broken_cursor_is_malformed(own_mall: Mall, seven: list[str], spoil: Any) -> None:
    cursor = spoil(piece(own_mall.merchant(2), limit=2)["next_cursor"])
    malformed(own_mall.merchant(2).get(BASE, params={"cursor": cursor}), cursor)


def test_a_page_with_a_cursor_is_malformed(own_mall: Mall, seven: list[str]) -> None:
    who = own_mall.merchant(2)
    for cursor in ("", piece(who, limit=2)["next_cursor"]):
        malformed(who.get(BASE, params={"page": 1, "cursor": cursor}))


# Filters, for pages and for cursors alike


def both(who: httpx2.Client, query: Any) -> list[str]:
    """What a filter lets through, read both ways."""
    pairs = list(query.items()) if isinstance(query, dict) else list(query)
    by_page = who.get(BASE, params=pairs)
    by_cursor = who.get(BASE, params=[("cursor", ""), *pairs])
    assert (by_page.status_code, by_cursor.status_code) == (200, 200), by_page.text
    assert by_page.json()["items"] == by_cursor.json()["items"]
    assert by_page.json()["total"] == len(by_page.json()["items"])
    return ids(by_page.json())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["last", "refunded", "failed", "paid", "waiting"]),
        ({"status": 1}, ["last", "waiting"]),
        ({"status": 2}, ["paid"]),
        ({"status": 3}, ["failed"]),
        ({"status": 6}, ["refunded"]),
        ([("status", 2), ("status", 6)], ["refunded", "paid"]),
        ([("status", 1), ("status", 2), ("status", 3), ("status", 6)], ["last", "refunded", "failed", "paid", "waiting"]),
        ({"provider": "paypal"}, ["last", "paid"]),
        ({"provider": "paypal", "status": 2}, ["paid"]),
        ({"provider": "Paypal"}, []),
        ({"order_id": 7001}, ["waiting"]),
        ({"order_id": "7002"}, ["paid"]),
        ({"order_id": "x-7003"}, ["failed"]),
        ({"order_id": "7003"}, []),
        ({"order_id": "7001", "status": 2}, []),
        ({"created_from": "2000-01-01T00:00:00Z"}, ["last", "refunded", "failed", "paid", "waiting"]),
        ({"created_from": "2000-01-01T00:00:00.000000Z", "created_to": "2001-01-01T00:00:00.000000Z"}, []),
        ({"created_to": "2001-01-01T00:00:00Z"}, []),
        ({"created_from": "2999-01-01T00:00:00Z"}, []),
        ({"created_to": "2999-01-01T00:00:00Z", "status": 2}, ["paid"]),
    ],
    ids=str,
)
def test_a_filter_lets_the_right_payments_through(own_mall: Mall, mixed: dict[str, str], query: Any, names: list[str]) -> None:
    assert both(own_mall.merchant(3), query) == [mixed[name] for name in names]


def test_times_cut_between_payments(own_mall: Mall, mixed: dict[str, str]) -> None:
    who = own_mall.merchant(3)
    times = {name: show(who, payment_id)["created_at"] for name, payment_id in mixed.items()}
    later = [mixed[name] for name in ("last", "refunded", "failed")]
    assert set(both(who, {"created_from": times["paid"]})) - {mixed["paid"]} == set(later)
    assert set(both(who, {"created_to": times["paid"]})) - {mixed["paid"]} == {mixed["waiting"]}


def test_a_filter_holds_over_all_pieces(own_mall: Mall, mixed: dict[str, str]) -> None:
    who = own_mall.merchant(3)
    assert walk(who, limit=1, provider="paypal") == [mixed["last"], mixed["paid"]]
    first = page(who, limit=1, provider="paypal")
    assert (first["total"], first["has_next"]) == (2, True)


@pytest.mark.parametrize(("name", "status"), [("waiting", 1), ("paid", 2), ("failed", 3), ("refunded", 6)])
def test_a_status_stands_beside_its_name(own_mall: Mall, mixed: dict[str, str], name: str, status: int) -> None:
    [item] = [item for item in page(own_mall.merchant(3))["items"] if item["payment_id"] == mixed[name]]
    assert (item["status"], item["status_name"]) == (status, STATUS_NAMES[status])


def test_a_merchant_sees_own_payments_only(own_mall: Mall, seven: list[str], mixed: dict[str, str]) -> None:
    """I10."""
    assert set(ids(page(own_mall.merchant(2), limit=100))) == set(seven)
    assert set(ids(page(own_mall.merchant(3), limit=100))) == set(mixed.values())
    assert both(own_mall.merchant(2), {"order_id": "x-7003"}) == []
    refusal(own_mall.nobody().get(BASE), 401, "unauthorized", "Unauthorized")


def test_a_payment_is_listed_as_soon_as_it_is_answered(own_mall: Mall) -> None:
    who = own_mall.merchant(1)
    for _ in range(5):
        payment_id = pay_link(who)
        assert ids(page(who, limit=1)) == [payment_id]
        report(own_mall, payment_id)
        assert page(who, limit=1)["items"][0]["status"] == 2
