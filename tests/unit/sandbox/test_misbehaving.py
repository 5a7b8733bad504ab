"""Scripts: every way to go wrong, what the caller sees of it, and what the book says afterwards."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

BROKEN = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
BY_KEY = "/payment/payments/by-key/chk-1:payment"


async def charges(caller: Any) -> int:
    return len((await caller.book())["charges"])


async def test_a_scripted_no_is_clean_and_stays(caller: Any) -> None:
    await caller.script("payment", "decline", act="process", error="stolen_card", message="No.")
    answer = await caller.charge()
    assert (answer.status, answer.json) == (422, {"status": "failed", "error": "stolen_card", "message": "No."})
    assert (await caller.charge()).raw == answer.raw
    assert await charges(caller) == 0
    assert (await caller.charge(key="chk-2:payment")).status == 200


async def test_a_booked_yes_is_never_taken_back(caller: Any) -> None:
    first = await caller.charge()
    await caller.script("payment", "decline", act="process")
    assert (await caller.charge()).raw == first.raw
    assert (await caller.charge(key="chk-2:payment")).status == 422


async def test_a_late_charge_is_in_work_until_it_is_booked(caller: Any) -> None:
    await caller.script("payment", "late", act="process", seconds=1)
    slow = asyncio.create_task(caller.charge())
    await asyncio.sleep(0.1)
    assert (await caller.ask("GET", BY_KEY)).status == 202
    again = await caller.charge()
    assert (again.status, again.headers["retry-after"]) == (409, "1")
    assert await charges(caller) == 0
    answer = await slow
    assert answer.status == 200
    assert (await caller.ask("GET", BY_KEY)).raw == answer.raw == (await caller.charge()).raw
    assert await charges(caller) == 1


async def test_a_late_charge_is_booked_though_the_caller_left(caller: Any) -> None:
    await caller.script("payment", "late", act="process", seconds=0.6)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.charge(), 0.1)
    assert await charges(caller) == 0
    async with asyncio.timeout(10):
        while (await caller.ask("GET", BY_KEY)).status != 200:
            await asyncio.sleep(0.05)
    assert await charges(caller) == 1
    assert (await caller.book(service="payment"))["calls"][0]["answered"] == "gone"


async def test_a_no_may_be_slow_too(caller: Any) -> None:
    await caller.script("payment", "decline", act="process", seconds=0.2)
    started = time.monotonic()
    assert (await caller.charge()).status == 422
    assert time.monotonic() - started >= 0.2


async def test_booked_and_then_silent(caller: Any) -> None:
    await caller.script("payment", "book_then_timeout", act="process", seconds=30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.charge(), 0.2)
    assert (await caller.ask("GET", BY_KEY)).status == 200
    assert await charges(caller) == 1


async def test_booked_and_then_500(caller: Any) -> None:
    await caller.script("payment", "book_then_500", act="process")
    assert (await caller.charge()).status == 500
    assert (await caller.charge()).json["status"] == "success"
    assert await charges(caller) == 1


@pytest.mark.parametrize(("behaviour", "booked"), [("book_then_cut", 1), ("cut", 0)])
async def test_a_cut_is_a_reset_and_other_calls_go_on(caller: Any, behaviour: str, booked: int) -> None:
    await caller.script("payment", behaviour, act="process")
    with pytest.raises(BROKEN):
        await caller.charge()
    assert await charges(caller) == booked
    assert (await caller.book(service="payment"))["calls"][0]["answered"] == "cut"
    assert (await caller.charge()).status == 200
    assert await charges(caller) == 1


async def test_an_error_books_nothing(caller: Any) -> None:
    await caller.script("payment", "error", act="process", status=502)
    assert (await caller.charge()).status == 502
    assert (await caller.ask("GET", BY_KEY)).json["status"] == "never_seen"


@pytest.mark.parametrize("form", ["cut", "foreign", "html"])
async def test_garbage_is_a_200_that_says_nothing(caller: Any, form: str) -> None:
    await caller.script("payment", "garbage", act="process", form=form)
    answer = await caller.charge()
    assert answer.status == 200
    if form == "foreign":
        assert "transactionId" not in answer.json
    else:
        with pytest.raises(ValueError, match="not JSON"):
            _ = answer.json
    assert await charges(caller) == 1


async def test_done_twice_under_one_key_is_done_once(caller: Any) -> None:
    await caller.script("inventory", "answer_twice", act="deduct")
    assert (await caller.deduct("chk-1:inventory", {"prod_few": 1})).json["success"] is True
    assert (await caller.stock("prod_few"))["inventory_stock"] == 4
    book = await caller.book(service="inventory")
    assert (len(book["deductions"]), len(book["calls"])) == (1, 2)


async def test_down_for_some_calls_or_for_some_time(caller: Any) -> None:
    await caller.script("order", "down", times=2)
    statuses = [(await caller.ask("POST", "/order/orders", {})).status for _ in range(3)]
    assert statuses == [503, 503, 422]
    await caller.script("order", "down", seconds=0.6)
    assert (await caller.ask("POST", "/order/orders", {})).status == 503
    assert (await caller.ask("POST", "/order/orders", {})).status == 503
    await asyncio.sleep(0.65)
    assert (await caller.ask("POST", "/order/orders", {})).status == 422
    assert (await caller.ask("GET", "/control/scripts")).json == {"scripts": []}


async def test_a_trickle_is_booked_and_slow(caller: Any) -> None:
    await caller.script("payment", "trickle", act="process", seconds=0.002)
    started = time.monotonic()
    assert (await caller.charge()).json["status"] == "success"
    assert time.monotonic() - started > 0.15
    await caller.script("payment", "trickle", act="process", seconds=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.charge(key="chk-2:payment"), 0.1)
    assert await charges(caller) == 2


async def test_a_huge_answer_is_over_64_kib_and_readable(caller: Any) -> None:
    await caller.script("payment", "huge", act="process")
    answer = await caller.charge()
    assert len(answer.raw) > 64 * 1024
    assert answer.json["status"] == "success"


async def test_a_redirect_leads_to_a_trap_that_is_noted(caller: Any) -> None:
    await caller.script("payment", "redirect", act="process")
    answer = await caller.charge()
    assert (answer.status, answer.headers["location"]) == (307, "/sandbox/trap")
    assert await charges(caller) == 0
    assert (await caller.book(service="trap"))["calls"] == []
    assert (await caller.ask("POST", "/trap", {})).json["status"] == "success"
    assert len((await caller.book(service="trap"))["calls"]) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(
    ("service", "act", "method", "path"),
    [
        ("payment", "by_key", "GET", BY_KEY),
        ("payment", "refund", "POST", "/payment/payments/txn_1/refund"),
        ("inventory", "restock", "POST", "/inventory/inventory/restock"),
        ("order", "cancel", "POST", "/order/orders/order_1/cancel"),
    ],
)
async def test_a_route_can_be_missing(caller: Any, status: int, service: str, act: str, method: str, path: str) -> None:
    await caller.script(service, "no_route", act=act, status=status)
    answer = await caller.ask(method, path)
    assert (answer.status, answer.raw) == (status, b"Not Found")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_never_seen_can_be_a_lie(caller: Any) -> None:
    charged = await caller.charge()
    await caller.script("payment", "never_seen", act="by_key")
    answer = await caller.ask("GET", BY_KEY)
    assert (answer.status, answer.json) == (404, {"status": "never_seen", "key": "chk-1:payment"})
    assert (await caller.ask("GET", BY_KEY)).raw == charged.raw


async def test_scripts_are_used_in_order_and_defaults_stand_behind_them(caller: Any) -> None:
    default = await caller.ask("PUT", "/control/defaults/payment", {"behaviour": "error", "status": 500})
    assert default.status == 200
    await caller.script("payment", "error", status=502)
    await caller.script("payment", "error", status=504)
    statuses = [(await caller.charge()).status for _ in range(4)]
    assert statuses == [502, 504, 500, 500]
    await caller.ask("PUT", "/control/defaults/payment", {"behaviour": "error", "status": 503, "act": "process"})
    assert (await caller.charge()).status == 503
    assert (await caller.ask("GET", BY_KEY)).status == 500
    assert [one["default"] for one in (await caller.ask("GET", "/control/scripts")).json["scripts"]] == [True, True]
    assert (await caller.ask("DELETE", "/control/defaults/payment")).json == {"cleared": 2}
    assert (await caller.charge()).status == 200


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"key": "chk-1"}, True),
        ({"key": "chk-2"}, False),
        ({"amount": "349.7"}, True),
        ({"amount": 349}, False),
        ({"customer_email": "ann@example.com", "amount": "349.70"}, True),
        ({"customer_email": "ann@example.com", "amount": 1}, False),
        ({"card_number": "4111 1111 1111 1111"}, False),
    ],
)
async def test_a_script_waits_for_its_call(caller: Any, match: dict[str, Any], hit: bool) -> None:
    await caller.script("payment", "error", match=match)
    assert (await caller.charge()).status == (500 if hit else 200)
    assert len((await caller.ask("GET", "/control/scripts")).json["scripts"]) == (0 if hit else 1)


async def test_a_script_can_wait_for_a_product(caller: Any) -> None:
    await caller.script("inventory", "error", match={"product_id": "prod_002"})
    await caller.script("product", "error", match={"product_id": "prod_002"})
    assert (await caller.deduct("chk-1:inventory", {"prod_001": 1})).status == 200
    assert (await caller.deduct("chk-2:inventory", {"prod_001": 1, "prod_002": 1})).status == 500
    assert (await caller.ask("GET", "/product/api/products/prod_001")).status == 200
    assert (await caller.ask("GET", "/product/api/products/prod_002")).status == 500


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"service": "nobody", "behaviour": "cut"},
        {"service": "payment", "behaviour": "dance"},
        {"service": "payment", "behaviour": "cut", "act": "dance"},
        {"service": "payment", "behaviour": "cut", "times": 0},
        {"service": "payment", "behaviour": "late", "seconds": -1},
        {"service": "payment", "behaviour": "late", "seconds": "1"},
        {"service": "payment", "behaviour": "error", "status": 999},
        {"service": "payment", "behaviour": "garbage", "form": "odd"},
        {"service": "payment", "behaviour": "cut", "match": {"key": {}}},
        {"service": "payment", "behaviour": "cut", "matches": {}},
        {"service": "payment", "behaviour": "never_seen", "act": "process"},
        {"service": "order", "behaviour": "clamp"},
        {"service": "user", "behaviour": "decline"},
    ],
)
async def test_a_script_that_cannot_be_played_is_refused(caller: Any, script: dict[str, Any]) -> None:
    assert (await caller.ask("POST", "/control/scripts", script)).status == 422


async def test_scripts_can_be_cleared(caller: Any) -> None:
    await caller.script("payment", "cut", times=5)
    await caller.script("order", "cut")
    assert (await caller.ask("DELETE", "/control/scripts?service=order")).json == {"cleared": 1}
    assert (await caller.ask("GET", "/control/scripts")).json["scripts"][0]["left"] == 5
    assert (await caller.ask("DELETE", "/control/scripts")).json == {"cleared": 1}
    assert (await caller.charge()).status == 200


async def test_every_service_can_be_cut(caller: Any) -> None:
    calls = {
        "payment": ("GET", BY_KEY),
        "inventory": ("POST", "/inventory/inventory/deduct"),
        "order": ("POST", "/order/orders"),
        "product": ("GET", "/product/api/products"),
        "user": ("GET", "/user/api/users/1"),
        "notification": ("POST", "/notification/api/notifications/send"),
        "link": ("POST", "/link/payment-links"),
    }
    for service, (method, path) in calls.items():
        await caller.script(service, "cut", times=2)
        with pytest.raises(BROKEN):
            # aiohttp repeats a GET once by itself when a reused connection breaks: hence two times.
            await caller.ask(method, path)
        await caller.ask("DELETE", "/control/scripts")
