"""The stand-in of Payme's Subscribe API: tokens for test cards, receipts with their states, and the calls that a merchant hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.sandbox.merchant_of_payme import KEY, Merchant, Refusal, served

CARD = {"number": "8600 4954 7331 6478", "expire": "0399"}
CASHBOX = "650000000000000000000001"
PAID = ["CheckPerformTransaction", "CreateTransaction", "PerformTransaction"]
METHODS = [
    "cards.create",
    "cards.get_verify_code",
    "cards.verify",
    "cards.check",
    "cards.remove",
    "receipts.create",
    "receipts.pay",
    "receipts.check",
    "receipts.get",
    "receipts.get_all",
    "receipts.cancel",
    "receipts.send",
]


@dataclass
class Till:
    """A merchant with one order, and Payme's API beside it."""

    caller: Any
    merchant: Merchant

    @property
    def order_id(self) -> str:
        return next(iter(self.merchant.amounts))

    async def ask(self, method: str, *, auth: str = f"{CASHBOX}:{KEY}", **params: Any) -> Any:
        answer = await self.caller.ask("POST", "/payme-api", {"id": 31, "method": method, "params": params}, X_Auth=auth)
        assert (answer.status, answer.json["id"], answer.json["jsonrpc"]) == (200, 31, "2.0"), answer.raw
        return answer.json

    async def result(self, method: str, **params: Any) -> Any:
        found = await self.ask(method, **params)
        assert "error" not in found, found
        return found["result"]

    async def no(self, method: str, **params: Any) -> int:
        found = await self.ask(method, **params)
        assert "result" not in found, found
        assert found["error"]["message"]
        code: int = found["error"]["code"]
        return code

    async def token(self) -> str:
        made: str = (await self.result("cards.create", card=CARD, save=True))["card"]["token"]
        assert (await self.result("cards.verify", token=made, code="666666"))["card"]["verify"] is True
        return made

    async def receipt(self, order_id: str = "") -> str:
        order = order_id or self.order_id
        found = await self.result("receipts.create", amount=self.merchant.amounts[order], account={"order_id": order})
        receipt_id: str = found["receipt"]["_id"]
        return receipt_id

    async def paid(self) -> str:
        receipt_id = await self.receipt()
        assert (await self.result("receipts.pay", id=receipt_id, token=await self.token()))["receipt"]["state"] == 4
        return receipt_id

    async def state(self, receipt_id: str) -> int:
        state: int = (await self.result("receipts.check", id=receipt_id))["state"]
        return state


@contextlib.asynccontextmanager
async def opened(open_sandbox: Any, merchant: Merchant) -> AsyncIterator[Till]:
    async with served(merchant), open_sandbox(payme_url=merchant.url, payme_key=KEY) as caller:
        yield Till(caller, merchant)


@pytest.fixture
async def till(open_sandbox: Any) -> AsyncIterator[Till]:
    async with opened(open_sandbox, Merchant(orders=2)) as one:
        yield one


async def test_the_desk_names_it(till: Till) -> None:
    found = (await till.caller.ask("GET", "/control")).json["services"]["payme-api"]
    assert found["setting"] == f"PAYME_API_URL={till.caller.base}/sandbox/payme-api"
    assert sorted(found["acts"]) == sorted(METHODS)


# ── who may call ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("auth", ["", CASHBOX, f"{CASHBOX}:", f"{CASHBOX}:wrong", f":{KEY}", f"{CASHBOX}:{KEY}x"])
async def test_the_key_opens_all_but_what_browsers_do(till: Till, method: str, auth: str) -> None:
    found = await till.ask(method, auth=auth, card=CARD)
    browsers = method in {"cards.create", "cards.get_verify_code", "cards.verify"} and auth in {CASHBOX, f"{CASHBOX}:"}
    assert (found.get("error", {}).get("code") == -32504) is not browsers


async def test_without_a_cashbox_nobody_is_let_in(open_sandbox: Any) -> None:
    async with open_sandbox() as caller:
        answer = await caller.ask("POST", "/payme-api", {"id": 1, "method": "cards.create", "params": {}}, X_Auth=f"{CASHBOX}:")
        assert answer.json["error"]["code"] == -32504


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", -32700), (b"", -32700), ({"id": 1, "method": "receipts.burn", "params": {}}, -32601), ({"id": 1}, -32601)],
    ids=str,
)
async def test_what_is_no_call(till: Till, body: Any, code: int) -> None:
    answer = await till.caller.ask("POST", "/payme-api", body, X_Auth=f"{CASHBOX}:{KEY}")
    assert (answer.status, answer.json["error"]["code"]) == (200, code)
    assert (await till.caller.ask("GET", "/payme-api")).status == 405


# ── cards ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_a_card_only_its_ends_are_kept(till: Till) -> None:
    card = (await till.result("cards.create", card=CARD, save=True))["card"]
    assert (card["number"], card["expire"], card["verify"]) == ("860049******6478", "03/99", False)
    assert (await till.result("cards.get_verify_code", token=card["token"]))["sent"] is True
    assert await till.no("cards.verify", token=card["token"], code="111111") == -31103
    await till.result("cards.verify", token=card["token"], code="666666")
    assert (await till.result("cards.check", token=card["token"]))["card"]["verify"] is True
    assert await till.result("cards.remove", token=card["token"]) == {"success": True}
    for method in ("cards.check", "cards.remove", "cards.get_verify_code"):
        assert await till.no(method, token=card["token"]) == -31400
    assert "8600495473316478" not in repr(await till.caller.book())
    assert card["token"] not in repr(await till.caller.book())


@pytest.mark.parametrize(
    "card", [None, {}, {"number": "4111111111111111", "expire": "0399"}, {**CARD, "expire": "0330"}, {"number": 7}, "x"], ids=str
)
async def test_other_cards_are_not_known(till: Till, card: Any) -> None:
    assert await till.no("cards.create", card=card) == -31300


# ── receipts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_receipt_is_shown_and_nobody_hears_of_it(till: Till) -> None:
    amount = till.merchant.amounts[till.order_id]
    found = (await till.result("receipts.create", amount=amount, account={"order_id": till.order_id}))["receipt"]
    assert (found["state"], found["amount"], found["currency"], found["pay_time"]) == (0, amount, 860, 0)
    assert found["account"] == [{"name": "order_id", "title": "order_id", "value": till.order_id, "main": True}]
    assert (await till.result("receipts.get", id=found["_id"]))["receipt"] == found
    assert await till.result("receipts.get_all", count=50) == [found]
    assert await till.result("receipts.send", id=found["_id"], phone="998901234567") == {"success": True}
    assert till.merchant.calls == []


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 0}, {"amount": -1}, {"amount": True}, {"amount": "5"}, {"amount": 1.5}, {"amount": 10**16},
        {"account": None}, {"account": {}}, {"account": []}, {"account": {"order_id": None}},
    ],
    ids=str,
)  # fmt: skip
async def test_a_receipt_needs_an_amount_and_an_account(till: Till, params: dict[str, Any]) -> None:
    assert await till.no("receipts.create", **{"amount": 5, "account": {"order_id": "a"}, **params}) in {-31610, -31611}


async def test_a_token_pays_and_the_merchant_performs(till: Till) -> None:
    receipt_id = await till.paid()
    assert till.merchant.calls == PAID
    attempt = till.merchant.attempts[receipt_id]
    assert (attempt.state, attempt.amount) == (2, till.merchant.amounts[till.order_id])
    shown = (await till.result("receipts.get", id=receipt_id))["receipt"]
    assert (shown["state"], shown["card"]) == (4, {"number": "860049******6478"})
    assert shown["pay_time"] > 0
    page = (await till.caller.ask("GET", f"/payme/{till.order_id}?amount=500000")).raw.decode()
    assert "refund" in page, "the page knows that it is paid"
    assert await till.no("receipts.pay", id=receipt_id, token=await till.token()) == -31008
    assert till.merchant.calls == PAID


async def test_one_of_two_payments_at_once(till: Till) -> None:
    receipt_id, token = await till.receipt(), await till.token()
    answers = await asyncio.gather(*(till.ask("receipts.pay", id=receipt_id, token=token) for _ in range(5)))
    assert [answer["result"]["receipt"]["state"] for answer in answers if "result" in answer] == [4]
    assert till.merchant.calls == PAID


async def test_two_receipts_of_one_order_are_never_both_paid(till: Till) -> None:
    first, second = await till.paid(), await till.receipt()
    assert await till.no("receipts.pay", id=second, token=await till.token()) == -31052
    assert (await till.state(first), await till.state(second)) == (4, 50)


@pytest.mark.parametrize("token", ["nobody's", None, 7])
async def test_a_token_of_nobody_pays_nothing(till: Till, token: Any) -> None:
    receipt_id = await till.receipt()
    assert await till.no("receipts.pay", id=receipt_id, token=token) == -31400
    unverified = (await till.result("cards.create", card=CARD))["card"]["token"]
    assert await till.no("receipts.pay", id=receipt_id, token=unverified) == -31401
    assert (await till.state(receipt_id), till.merchant.calls) == (0, [])


async def test_a_declined_card_lets_the_order_go(till: Till) -> None:
    receipt_id = await till.receipt()
    await till.caller.script("payme-api", "decline", act="receipts.pay", message="Not enough money")
    found = await till.ask("receipts.pay", id=receipt_id, token=await till.token())
    assert (found["error"]["code"], found["error"]["message"]) == (-31630, "Not enough money")
    attempt = till.merchant.attempts[receipt_id]
    assert (attempt.state, attempt.reason) == (-1, 2)
    assert await till.state(receipt_id) == 50
    assert await till.state(await till.paid()) == 4


async def test_a_merchant_that_says_no_is_not_paid(open_sandbox: Any) -> None:
    class Refuses(Merchant):
        async def PerformTransaction(self, params: dict[str, Any]) -> Any:
            raise Refusal(-31008)

    async with opened(open_sandbox, Refuses(orders=1)) as till:
        receipt_id = await till.receipt()
        assert await till.no("receipts.pay", id=receipt_id, token=await till.token()) == -31623
        assert (till.merchant.attempts[receipt_id].state, till.merchant.attempts[receipt_id].reason) == (-1, 3)
        assert await till.state(receipt_id) == 50


async def test_a_silent_merchant_is_told_again_when_the_receipt_is_asked_about(till: Till) -> None:
    receipt_id = await till.receipt()
    await till.caller.script("payme", "not_sent", act="perform")
    assert (await till.result("receipts.pay", id=receipt_id, token=await till.token()))["receipt"]["state"] == 30
    assert till.merchant.attempts[receipt_id].state == 1
    assert await till.state(receipt_id) == 4
    assert till.merchant.attempts[receipt_id].state == 2


# ── cancelled ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_paid_receipt_is_given_back_once(till: Till) -> None:
    receipt_id = await till.paid()
    for _ in range(2):
        assert (await till.result("receipts.cancel", id=receipt_id))["receipt"]["state"] == 50
    assert till.merchant.calls == [*PAID, "CancelTransaction"]
    attempt = till.merchant.attempts[receipt_id]
    assert (attempt.state, attempt.reason) == (-2, 5)


async def test_what_was_paid_on_the_page_is_a_receipt_too(till: Till) -> None:
    path = f"/payme/{till.order_id}/pay?amount={till.merchant.amounts[till.order_id]}"
    paid = (await till.caller.ask("POST", path)).json
    assert await till.state(paid["payme_id"]) == 4
    assert (await till.result("receipts.cancel", id=paid["payme_id"]))["receipt"]["state"] == 50
    assert till.merchant.attempts[paid["payme_id"]].state == -2


async def test_what_nobody_paid_is_simply_over(till: Till) -> None:
    receipt_id = await till.receipt()
    assert (await till.result("receipts.cancel", id=receipt_id))["receipt"]["state"] == 50
    assert await till.no("receipts.pay", id=receipt_id, token=await till.token()) == -31008
    assert till.merchant.calls == []


async def test_a_cancel_that_is_told_late_is_queued(till: Till) -> None:
    receipt_id = await till.paid()
    await till.caller.script("payme", "send_late", act="cancel", seconds=0.3)
    assert (await till.result("receipts.cancel", id=receipt_id))["receipt"]["state"] == 21
    assert till.merchant.attempts[receipt_id].state == 2
    await asyncio.sleep(0.8)
    assert till.merchant.attempts[receipt_id].state == -2
    assert till.merchant.calls.count("CancelTransaction") == 1
    assert await till.state(receipt_id) == 50


async def test_a_cancel_that_is_not_told_is_told_when_somebody_asks(till: Till) -> None:
    receipt_id = await till.paid()
    await till.caller.script("payme", "not_sent", act="cancel")
    assert (await till.result("receipts.cancel", id=receipt_id))["receipt"]["state"] == 21
    assert await till.state(receipt_id) == 50
    assert till.merchant.attempts[receipt_id].state == -2


async def test_a_merchant_whose_goods_have_left_keeps_the_money(open_sandbox: Any) -> None:
    class Refuses(Merchant):
        async def CancelTransaction(self, params: dict[str, Any]) -> Any:
            raise Refusal(-31007)

    async with opened(open_sandbox, Refuses(orders=1)) as till:
        receipt_id = await till.paid()
        assert (await till.result("receipts.cancel", id=receipt_id))["receipt"]["state"] == 4


@pytest.mark.parametrize("method", ["receipts.pay", "receipts.cancel", "receipts.check", "receipts.get", "receipts.send"])
async def test_nobodys_receipt(till: Till, method: str) -> None:
    assert await till.no(method, id="66f0b000c3d4e5f607182999", token=await till.token()) == -31602


# ── how it goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["book_then_500", "garbage", "huge"])
async def test_a_payment_is_booked_though_its_answer_is_lost(till: Till, fault: str) -> None:
    receipt_id, token = await till.receipt(), await till.token()
    await till.caller.script("payme-api", fault, act="receipts.pay")
    body = {"id": 1, "method": "receipts.pay", "params": {"id": receipt_id, "token": token}}
    await till.caller.ask("POST", "/payme-api", body, X_Auth=f"{CASHBOX}:{KEY}")
    assert await till.state(receipt_id) == 4


@pytest.mark.parametrize(("fault", "status"), [("error", 500), ("down", 503), ("no_route", 404), ("redirect", 307)])
async def test_a_payment_that_never_arrived_is_not_booked(till: Till, fault: str, status: int) -> None:
    receipt_id, token = await till.receipt(), await till.token()
    await till.caller.script("payme-api", fault, act="receipts.pay", match={"key": receipt_id})
    body = {"id": 1, "method": "receipts.pay", "params": {"id": receipt_id, "token": token}}
    answer = await till.caller.ask("POST", "/payme-api", body, X_Auth=f"{CASHBOX}:{KEY}")
    assert answer.status == status
    assert (await till.state(receipt_id), till.merchant.calls) == (0, [])


async def test_calls_are_noted_without_what_they_carried(till: Till) -> None:
    receipt_id = await till.paid()
    calls = (await till.caller.book(service="payme-api", only="calls"))["calls"]
    assert [(call["act"], call["key"]) for call in calls] == [
        ("receipts.create", till.order_id),
        ("cards.create", None),
        ("cards.verify", None),
        ("receipts.pay", receipt_id),
    ]
    receipts = (await till.caller.book(only="payme_receipts"))["payme_receipts"]
    assert [(receipt["_id"], receipt["state"]) for receipt in receipts] == [(receipt_id, 4)]
    assert (await till.caller.ask("DELETE", "/control/book")).status == 200
    assert (await till.caller.book(only="payme_receipts"))["payme_receipts"] == []
