"""The page on which a buyer pays at Payme's stand-in: what a click plays, what it shows, and what scripts make of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.unit.sandbox.merchant_of_payme import KEY, Merchant, Refusal, served

from kassa.sandbox import create_sandbox
from kassa.sandbox.payme.link import Bill, address_back, read_link

HTML = "text/html,*/*"


@dataclass
class Till:
    """A merchant with one order, and a buyer at the sandbox beside it."""

    caller: Any
    merchant: Merchant

    @property
    def order_id(self) -> str:
        return next(iter(self.merchant.amounts))

    async def click(self, act: str, order: str = "", **headers: str) -> Any:
        return await self.caller.ask("POST", f"/payme/{order or self.order_id}/{act}", **headers)

    async def look(self, path: str = "") -> str:
        page = await self.caller.ask("GET", f"/payme/{path or self.order_id}")
        assert page.status == 200, page.raw
        return page.raw.decode()


@pytest.fixture
async def till(open_sandbox: Any) -> AsyncIterator[Till]:
    async with opened(open_sandbox, Merchant(orders=1)) as one:
        yield one


@contextlib.asynccontextmanager
async def opened(open_sandbox: Any, merchant: Merchant, **change: Any) -> AsyncIterator[Till]:
    async def amount(order_id: str) -> int | None:
        return merchant.amounts.get(order_id)

    async with served(merchant):
        settings = {"payme_url": merchant.url, "payme_key": KEY, "payme_amount": amount} | change
        async with open_sandbox(**settings) as caller:
            yield Till(caller, merchant)


def link(**members: Any) -> str:
    text = ";".join(f"{name}={value}" for name, value in members.items()).replace("ac_", "ac.")
    return quote(base64.b64encode(text.encode()).decode(), safe="")


def methods(answer: Any) -> list[str]:
    return [one["method"] for one in answer.json["calls"]]


async def test_the_page_shows_the_sum_and_two_buttons(till: Till) -> None:
    html = await till.look()
    assert "5\N{NO-BREAK SPACE}000.00 <small>UZS" in html
    assert re.findall(r'<form method="post" action="([^"]+)">', html) == [f"{till.order_id}/pay", f"{till.order_id}/decline"]
    assert "<script" not in html
    assert till.merchant.calls == []


async def test_paying_plays_check_create_and_perform(till: Till) -> None:
    answer = await till.click("pay")
    assert (answer.status, answer.json["state"], answer.json["amount"]) == (200, "performed", 500_000)
    assert methods(answer) == till.merchant.calls == ["CheckPerformTransaction", "CreateTransaction", "PerformTransaction"]
    (attempt,) = till.merchant.attempts.values()
    assert (attempt.state, attempt.payme_id) == (2, answer.json["payme_id"])
    assert re.fullmatch(r"[0-9a-f]{24}", attempt.payme_id)
    html = await till.look()
    assert re.findall(r'action="([^"]+)"', html) == [f"{till.order_id}/refund"]
    assert html.count("<li>") == 3
    assert "&quot;allow&quot;:true" in html
    assert KEY not in html


async def test_a_paid_order_is_not_paid_again(till: Till) -> None:
    await till.click("pay")
    for act in ("pay", "decline"):
        answer = await till.click(act)
        assert (answer.status, answer.json["state"], answer.json["calls"]) == (409, "performed", [])
    assert len(till.merchant.attempts) == 1


async def test_ten_clicks_at_once_are_one_payment(till: Till) -> None:
    answers = await asyncio.gather(*(till.click("pay") for _ in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}
    (attempt,) = (await till.caller.book(only="payme"))["payme"]
    assert attempt["state"] == "performed"
    assert [one.state for one in till.merchant.attempts.values()] == [2]


async def test_declining_leaves_the_order_payable(till: Till) -> None:
    answer = await till.click("decline")
    assert (answer.json["state"], methods(answer)[-1]) == ("cancelled", "CancelTransaction")
    (attempt,) = till.merchant.attempts.values()
    assert (attempt.state, attempt.reason) == (-1, 2)
    assert (await till.click("pay")).json["state"] == "performed"
    assert len(till.merchant.attempts) == 2


async def test_a_refund_gives_back_once(till: Till) -> None:
    assert (await till.click("refund")).status == 409
    await till.click("pay")
    answer = await till.click("refund")
    assert (answer.status, answer.json["state"], methods(answer)) == (200, "returned", ["CancelTransaction"])
    (attempt,) = till.merchant.attempts.values()
    assert (attempt.state, attempt.reason) == (-2, 5)
    assert (await till.click("refund")).status == 409
    assert (await till.click("pay")).status == 409
    assert "<form" not in await till.look()


async def test_a_browser_gets_a_page_with_buttons_that_lead_on(till: Till) -> None:
    page = await till.click("decline", Accept=HTML)
    html = page.raw.decode()
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Declined" in html
    assert re.findall(r'action="([^"]+)"', html) == ["pay", "decline"]
    assert "script" not in page.headers["content-security-policy"].replace("style-src", "")


async def test_a_refusal_is_shown_and_ends_the_attempt(till: Till) -> None:
    till.merchant.status[till.order_id] = "closed"
    page = await till.click("pay", Accept=HTML)
    assert "Not paid" in page.raw.decode()
    assert "-31053" in page.raw.decode()
    assert till.merchant.calls == ["CheckPerformTransaction"]
    till.merchant.status[till.order_id] = "open"
    assert (await till.click("pay")).json["state"] == "performed"


async def test_money_that_cannot_be_taken_is_given_up(open_sandbox: Any) -> None:
    class Closes(Merchant):
        async def PerformTransaction(self, params: dict[str, Any]) -> Any:
            raise Refusal(-31008)

    async with opened(open_sandbox, Closes(orders=1)) as till:
        answer = await till.click("pay")
        assert (answer.json["state"], methods(answer)[-1]) == ("cancelled", "CancelTransaction")
        assert [one.reason for one in till.merchant.attempts.values()] == [3]


async def test_a_refund_that_is_refused_changes_nothing(open_sandbox: Any) -> None:
    class Delivered(Merchant):
        async def CancelTransaction(self, params: dict[str, Any]) -> Any:
            raise Refusal(-31007)

    async with opened(open_sandbox, Delivered(orders=1)) as till:
        await till.click("pay")
        answer = await till.click("refund")
        assert answer.json["state"] == "performed"
        assert answer.json["calls"][0]["answer"]["error"]["code"] == -31007


async def test_silence_is_asked_again_and_then_left_for_the_next_click(open_sandbox: Any) -> None:
    class Busy(Merchant):
        silent = True

        async def PerformTransaction(self, params: dict[str, Any]) -> Any:
            if self.silent:
                raise Refusal(-32400)
            return await super().PerformTransaction(params)

    merchant = Busy(orders=1)
    async with opened(open_sandbox, merchant) as till:
        answer = await till.click("pay")
        assert answer.json["state"] == "created"
        assert methods(answer).count("PerformTransaction") == 3
        assert "did not answer as it should" in (await till.click("pay", Accept=HTML)).raw.decode()
        merchant.silent = False
        answer = await till.click("pay")
        assert (answer.json["state"], methods(answer)) == ("performed", ["PerformTransaction"])
        assert len(merchant.attempts) == 1


async def test_a_click_after_a_restart_goes_on_with_the_same_transaction(open_sandbox: Any) -> None:
    merchant = Merchant(orders=1)
    async with opened(open_sandbox, merchant) as till:
        await till.caller.script("payme", "not_sent", act="perform")
        first = await till.click("pay")
        assert (first.json["state"], methods(first)[-1]) == ("created", "CreateTransaction")
    async with opened(open_sandbox, merchant) as till:
        answer = await till.click("pay")
        assert (answer.json["state"], answer.json["payme_id"]) == ("performed", first.json["payme_id"])


async def test_a_link_is_paid_as_it_is_written(till: Till) -> None:
    payload = link(m="650000000000000000000001", ac_order_id=till.order_id, a=500_000, c="https://shop.example.com/?t=:transaction")
    html = await till.look(f"checkout/{payload}")
    assert f'action="{payload}/pay"' in html
    assert 'href="https://shop.example.com/?t=null"' in html
    answer = await till.caller.ask("POST", f"/payme/checkout/{payload}/pay")
    assert answer.json["state"] == "performed"
    assert f"t={answer.json['payme_id']}" in await till.look(f"checkout/{payload}")


async def test_a_link_that_the_buyer_has_changed_is_sent_as_it_is(till: Till) -> None:
    payload = link(m="1", ac_order_id=till.order_id, a=1)
    answer = await till.caller.ask("POST", f"/payme/checkout/{payload}/pay")
    assert answer.json["state"] == "refused"
    assert answer.json["calls"][0]["answer"]["error"]["code"] == -31001


async def test_what_is_no_payment_is_said_to_be_none(till: Till, open_sandbox: Any) -> None:
    for path in (str(uuid.uuid4()), "42", "checkout/b2Jlbg==", f"checkout/{link(m=1, ac_order_id='x', a='0')}", "checkout/***"):
        assert (await till.caller.ask("GET", f"/payme/{path}")).status == 404, path
        assert (await till.caller.ask("POST", f"/payme/{path}/pay")).status == 404, path
    async with open_sandbox() as bare:
        answer = await bare.ask("GET", f"/payme/{till.order_id}")
        assert (answer.status, b"not set up" in answer.raw) == (404, True)
    assert till.merchant.calls == []


async def test_alone_it_asks_for_the_sum(open_sandbox: Any) -> None:
    async with opened(open_sandbox, Merchant(orders=1), payme_amount=None) as till:
        assert 'name="amount"' in await till.look()
        html = await till.look(f"{till.order_id}?amount=500000")
        assert f'action="{till.order_id}/pay?amount=500000"' in html
        answer = await till.caller.ask("POST", f"/payme/{till.order_id}/pay?amount=500000")
        assert answer.json["state"] == "performed"
        assert "Refund" in await till.look()


@pytest.mark.parametrize(("behaviour", "times"), [("send_twice", 2), ("send_at_once", 4), ("send_late", 1), ("hang_up", 2)])
async def test_calls_go_wrong_as_they_are_scripted(till: Till, behaviour: str, times: int) -> None:
    for act in ("create", "perform"):
        await till.caller.script("payme", behaviour, act=act, **({"seconds": 0} if behaviour in {"send_late", "hang_up"} else {}))
    answer = await till.click("pay")
    assert answer.json["state"] == "performed"
    assert [methods(answer).count(name) for name in ("CheckPerformTransaction", "CreateTransaction", "PerformTransaction")] == [
        1,
        times,
        times,
    ]
    assert len(till.merchant.attempts) == 1


async def test_a_script_fits_only_who_calls(caller: Any) -> None:
    wrong = [
        {"service": "payme", "behaviour": "decline"},
        {"service": "payme", "behaviour": "error"},
        {"service": "payment", "behaviour": "send_twice"},
        {"service": "payme", "act": "check", "behaviour": "send_twice"},
    ]
    for body in wrong:
        assert (await caller.ask("POST", "/control/scripts", body)).status == 422, body
    assert (await caller.ask("PUT", "/control/defaults/payme", {"behaviour": "send_twice"})).status == 200


async def test_the_desk_shows_what_was_played(till: Till) -> None:
    answer = await till.click("pay")
    book = await till.caller.book(service="payme")
    (attempt,) = book["payme"]
    assert (attempt["payme_id"], attempt["state"], attempt["amount"]) == (answer.json["payme_id"], "performed", 500_000)
    assert [one["method"] for one in book["payme_calls"]] == till.merchant.calls
    assert "payme" not in await till.caller.book(service="payment")
    services = (await till.caller.ask("GET", "/control")).json["services"]
    assert services["payme"]["acts"]["perform"] == "PerformTransaction"
    await till.caller.ask("DELETE", "/control/book")
    assert (await till.caller.book())["payme"] == []


async def test_the_key_is_nowhere_in_the_file(tmp_path: Path, till: Till) -> None:
    await till.click("pay")
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


async def test_an_address_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belong together"):
        create_sandbox(tmp_path / "book.sqlite", payme_url="http://localhost/payme/webhook")


def test_only_the_web_is_a_way_back() -> None:
    bill = Bill("o", 1, {"order": "A", "order_id": "B"}, "https://x.example/:account.order_id/:account.order/:transaction")
    assert address_back(bill, "66f0") == "https://x.example/B/A/66f0"
    for address, kept in {"javascript:alert(1)": None, "https://x.example/%3B": "https://x.example/%3B", "//x": None}.items():
        found = read_link(base64.b64encode(f"m=1;ac.order_id=o;a=5;c={address}".encode()).decode(), "order_id")
        assert found is not None
        assert found.back == kept
