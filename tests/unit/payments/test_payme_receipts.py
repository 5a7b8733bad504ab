"""The client of Payme's Subscribe API: what it says, and how an answer is judged when it is not what was asked for (section 12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from kassa.kit.neighbour import Answer, BreakerOpen, NoAnswer, NotSent
from kassa.payments.payme.model import Cashbox
from kassa.payments.payme.subscribe import LIVE_API, TEST_API, PaymeSaidNo, Receipt, Receipts

KEY, TOKEN = "D3mo%Key&36", "a-token-of-a-card"
BOX = Cashbox("1", "650000000000000000000001", KEY, is_test=True)
ORDER = "019b76da-a800-7c3e-9f51-2d8e6a4b7c10"
ID = "66f0b000c3d4e5f607182999"
AMOUNT = 1_500_000
ACCOUNT = [{"name": "order_id", "title": "Order", "value": ORDER, "main": True}]

Judged = Callable[[Receipts], Awaitable[Any]]


@dataclass
class Payme:
    """Payme, which answers one thing, and remembers what it was asked. `number` None: the number of the call comes back."""

    result: Any = None
    error: Any = None
    status: int = 200
    body: Any = ...
    number: Any = None
    raises: Exception | None = None
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, method: str, path: str, **sent: Any) -> Answer:
        self.sent.append({"verb": method, "path": path, **sent})
        if self.raises:
            raise self.raises
        if self.body is not ...:
            return Answer(self.status, self.body, {})
        number = sent["body"]["id"] if self.number is None else self.number
        said = {name: value for name, value in (("result", self.result), ("error", self.error)) if value is not None}
        return Answer(self.status, {"jsonrpc": "2.0", "id": number, **said}, {})

    @property
    def api(self) -> Receipts:
        return Receipts({True: self, False: Payme(raises=AssertionError("the other host"))})  # type: ignore[dict-item]


def receipt(**changes: Any) -> dict[str, Any]:
    return {"receipt": {"_id": ID, "state": 4, "amount": AMOUNT, "account": ACCOUNT, **changes}}


async def create(api: Receipts) -> Any:
    return await api.create(BOX, ORDER, AMOUNT)


async def pay(api: Receipts) -> Any:
    return await api.pay(BOX, Receipt(ID, 0, AMOUNT), TOKEN)


async def check(api: Receipts) -> Any:
    return await api.check(BOX, ID)


async def get(api: Receipts) -> Any:
    return await api.get(BOX, ID, AMOUNT)


async def cancel(api: Receipts) -> Any:
    return await api.cancel(BOX, ID, AMOUNT)


async def check_card(api: Receipts) -> Any:
    return await api.check_card(BOX, TOKEN)


async def remove_card(api: Receipts) -> Any:
    return await api.remove_card(BOX, TOKEN)


ALL = [create, pay, check, get, cancel, check_card, remove_card]
GOOD = {
    create: receipt(state=0),
    pay: receipt(),
    check: {"state": 4},
    get: receipt(),
    cancel: receipt(state=21),
    check_card: {"card": {"token": TOKEN, "verify": True}},
    remove_card: {"success": True},
}
ASKED = {
    create: ("receipts.create", {"amount": AMOUNT, "account": {"order_id": ORDER}, "description": f"Order {ORDER}"}),
    pay: ("receipts.pay", {"id": ID, "token": TOKEN}),
    check: ("receipts.check", {"id": ID}),
    get: ("receipts.get", {"id": ID}),
    cancel: ("receipts.cancel", {"id": ID}),
    check_card: ("cards.check", {"token": TOKEN}),
    remove_card: ("cards.remove", {"token": TOKEN}),
}
BELIEVED = {
    create: Receipt(ID, 0, AMOUNT),
    pay: Receipt(ID, 4, AMOUNT),
    check: 4,
    get: Receipt(ID, 4, AMOUNT),
    cancel: Receipt(ID, 21, AMOUNT),
    check_card: True,
    remove_card: None,
}


def test_where_payme_is() -> None:
    assert (LIVE_API, TEST_API) == ("https://checkout.paycom.uz/api", "https://checkout.test.paycom.uz/api")


@pytest.mark.parametrize("act", ALL)
async def test_a_call_carries_the_cashbox_its_key_and_a_number_of_its_own(act: Judged) -> None:
    payme = Payme(GOOD[act])
    assert await act(payme.api) == BELIEVED[act]
    await act(payme.api)
    first, second = payme.sent
    assert (first["verb"], first["path"], first["timeout_s"]) == ("POST", "", 5.0)
    assert first["headers"] == {"X-Auth": f"{BOX.cashbox_id}:{KEY}"}
    assert (first["body"]["method"], first["body"]["params"]) == ASKED[act]
    assert first["body"]["jsonrpc"] == "2.0"
    assert first["body"]["id"] != second["body"]["id"]


async def test_the_mode_of_the_cashbox_chooses_the_host() -> None:
    live, test = Payme({"state": 4}), Payme({"state": 0})
    api = Receipts({False: live, True: test})  # type: ignore[dict-item]
    assert await api.check(Cashbox("1", "650000000000000000000002", "k", is_test=False), ID) == 4
    assert await api.check(BOX, ID) == 0


async def test_the_account_has_the_name_that_the_cashbox_gives_it() -> None:
    box = Cashbox("1", BOX.cashbox_id, KEY, is_test=True, account_field="purchase_id")
    payme = Payme(receipt(state=0, account=[{"name": "purchase_id", "value": ORDER}]))
    await payme.api.create(box, ORDER, AMOUNT)
    assert payme.sent[0]["body"]["params"]["account"] == {"purchase_id": ORDER}


@pytest.mark.parametrize("silence", [NotSent(), BreakerOpen(), NoAnswer()])
@pytest.mark.parametrize("act", ALL)
async def test_silence_stays_silence(act: Judged, silence: Exception) -> None:
    with pytest.raises(type(silence)):
        await act(Payme(raises=silence).api)


@pytest.mark.parametrize("act", ALL)
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "result": "good"},
        {"status": 302, "result": "good"},
        {"status": 404, "result": "good"},
        {"status": 201, "result": "good"},
        {"body": None},
        {"body": {}},
        {"body": {"weather": "fine", "degrees": 21}},
        {"number": 999_999_999, "result": "good"},
        {"number": "1", "result": "good"},
        {"result": []},
        {"result": "yes"},
        {"result": {}},
        {"error": "no"},
        {"error": {}},
        {"error": {"code": "-31630"}},
        {"error": {"code": True}},
        {"error": {"code": Decimal("-31630.0")}},
        {"error": {"code": -31630}, "result": "good"},
        {"error": {"code": -32400, "message": "System error"}},
    ],
    ids=str,
)
async def test_what_cannot_be_believed_is_no_answer(act: Judged, answer: dict[str, Any]) -> None:
    if answer.get("result") == "good":
        answer = {**answer, "result": GOOD[act]}
    with pytest.raises(NoAnswer):
        await act(Payme(**answer).api)


@pytest.mark.parametrize("act", [create, pay, get, cancel])
@pytest.mark.parametrize(
    "changed",
    [
        {"_id": None}, {"_id": 7}, {"_id": ""}, {"_id": "a b"}, {"_id": "x" * 65}, {"_id": "a\x00b"},
        {"amount": AMOUNT + 1}, {"amount": str(AMOUNT)}, {"amount": Decimal(AMOUNT)}, {"amount": None}, {"amount": True},
        {"state": None}, {"state": "4"}, {"state": 7}, {"state": -1}, {"state": True}, {"state": Decimal(4)},
    ],
    ids=str,
)  # fmt: skip
async def test_a_receipt_that_is_not_the_one_that_was_meant_is_no_answer(act: Judged, changed: dict[str, Any]) -> None:
    good = GOOD[act]["receipt"]  # type: ignore[index]
    with pytest.raises(NoAnswer):
        await act(Payme({"receipt": {**good, **changed}}).api)


@pytest.mark.parametrize("act", [pay, get, cancel])
async def test_another_receipt_is_no_answer(act: Judged) -> None:
    with pytest.raises(NoAnswer):
        await act(Payme(receipt(_id="66f0b000c3d4e5f607182998")).api)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": 4},
        {"account": None},
        {"account": {"order_id": ORDER}},
        {"account": []},
        {"account": [{"name": "order_id", "value": "019b76da-a800-7c3e-9f51-2d8e6a4b7c11"}]},
        {"account": [{"name": "other", "value": ORDER}]},
        {"account": ACCOUNT * 2},
        {"account": [7]},
    ],
    ids=str,
)
async def test_a_new_receipt_is_for_our_account_and_unpaid(changed: dict[str, Any]) -> None:
    with pytest.raises(NoAnswer):
        await create(Payme(receipt(**{"state": 0, **changed})).api)


@pytest.mark.parametrize("state", [None, "4", 7, True, Decimal(4), [4]])
async def test_a_state_that_nobody_knows_is_no_answer(state: Any) -> None:
    with pytest.raises(NoAnswer):
        await check(Payme({"state": state}).api)


@pytest.mark.parametrize("card", [None, {}, {"verify": 1}, {"verify": "true"}, []])
async def test_a_card_is_verified_or_not(card: Any) -> None:
    with pytest.raises(NoAnswer):
        await check_card(Payme({"card": card}).api)
    assert await check_card(Payme({"card": {"verify": False}}).api) is False


@pytest.mark.parametrize("success", [None, 1, "true", False])
async def test_a_card_is_removed_only_when_payme_says_so(success: Any) -> None:
    with pytest.raises(NoAnswer):
        await remove_card(Payme({"success": success}).api)


@pytest.mark.parametrize("act", ALL)
async def test_a_clear_no_has_its_code_and_safe_words(act: Judged) -> None:
    error = {"code": -31630, "message": {"ru": "Нет", "uz": "Yo'q", "en": f"No {TOKEN} 8600495473316478\x00"}, "data": None}
    with pytest.raises(PaymeSaidNo) as no:
        await act(Payme(error=error).api)
    assert no.value.number == -31630
    assert no.value.said is not None
    assert no.value.said.startswith("No ")
    assert "8600495473316478" not in no.value.said
    if act in {pay, check_card, remove_card}:
        assert TOKEN not in no.value.said
    assert (KEY in str(no.value), TOKEN in str(no.value)) == (False, False)


@pytest.mark.parametrize(
    ("message", "said"), [("No", "No"), ({"ru": "Нет"}, "Нет"), (None, None), (7, None), ({}, None), ([], None)]
)
async def test_words_may_be_missing(message: Any, said: str | None) -> None:
    with pytest.raises(PaymeSaidNo) as no:
        await check(Payme(error={"code": -31003, "message": message}).api)
    assert no.value.said == said


async def test_an_error_of_null_is_none() -> None:
    payme = Payme(body=None)

    async def call(_verb: str, _path: str, **sent: Any) -> Answer:
        return Answer(200, {"id": sent["body"]["id"], "error": None, "result": {"state": 50}}, {})

    payme.call = call  # type: ignore[method-assign]
    assert await check(payme.api) == 50
