"""Payme's Subscribe API, as far as Kassa calls it: receipts made, paid with a card's token, asked about and cancelled (section 12).

Every call carries the cashbox's key and comes back in one of three ways: an answer that was judged, a clear no (`PaymeSaidNo`), or
nothing that can be believed (`NoAnswer` of the neighbour, and its kin): then what happened is not known, and `check` is what comes
next. A number of a card never passes here; tokens and keys never stand in what is raised or logged.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kassa.kit.errors import Refused
from kassa.kit.neighbour import Answer, Neighbour, NoAnswer, said
from kassa.payments.payme.model import Cashbox

LIVE_API, TEST_API = "https://checkout.paycom.uz/api", "https://checkout.test.paycom.uz/api"

NEW, PAID, QUEUED_FOR_CANCEL, GIVEN_BACK = 0, 4, 21, 50
_STATES = frozenset({NEW, 1, 2, 3, PAID, 5, 6, 20, QUEUED_FOR_CANCEL, 30, GIVEN_BACK})
"""Section 12.4. A receipt in a state that is not here cannot be judged."""
_UNDECIDED = frozenset({-32400})
"""Payme's own failure: an error that says nothing about what was done."""
_LIMIT_S = 5.0
_ID = re.compile(r"[!-~]{1,64}")

_numbers = itertools.count(1)


class PaymeSaidNo(Refused):
    """Payme refused a call of the Subscribe API."""

    code = "payme_refused"

    def __init__(self, number: int, said: str | None) -> None:
        super().__init__()
        self.number = number
        """Payme's code."""
        self.said = said
        """Its message, safe to keep."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Payme's record of a payment. On a cashbox with billing its id is the id of the transaction that comes through our webhook."""

    receipt_id: str
    state: int
    amount_minor: int


class Receipts:
    """The client: `hosts` is the API of real cashboxes (False) and of test ones (True), each with its own breaker."""

    def __init__(self, hosts: Mapping[bool, Neighbour]) -> None:
        self._hosts = hosts

    async def create(self, box: Cashbox, account: str, amount_minor: int) -> Receipt:
        """A receipt over `amount_minor` tiyin for an account. It moves no money, and called twice there are two.

        Raises `PaymeSaidNo`; `NotSent`, `BreakerOpen`, `NoAnswer` when there may or may not be one.
        """
        params = {"amount": amount_minor, "account": {box.account_field: account}, "description": f"Order {account}"}
        result = _result(*await self._call(box, "receipts.create", params, act="receipt.create"))
        receipt = _receipt(result, None, amount_minor)
        if receipt.state != NEW or not _is_for(result, box.account_field, account):
            raise NoAnswer
        return receipt

    async def pay(self, box: Cashbox, receipt: Receipt, token: str) -> Receipt:
        """Pay a receipt with a card's token. Its answer is no credit: that is Payme's PerformTransaction alone (12.2).

        Never repeat it: after silence `check` says what became of it. Raises as `create` does.
        """
        params = {"id": receipt.receipt_id, "token": token}
        number, answer = await self._call(box, "receipts.pay", params, act="receipt.pay")
        return _receipt(_result(number, answer, hidden=token), receipt.receipt_id, receipt.amount_minor)

    async def check(self, box: Cashbox, receipt_id: str) -> int:
        """The state of a receipt (12.4); changes nothing. Raises as `create` does."""
        state = _result(*await self._call(box, "receipts.check", {"id": receipt_id}, act="receipt.ask")).get("state")
        return _state(state)

    async def get(self, box: Cashbox, receipt_id: str, amount_minor: int) -> Receipt:
        """The whole receipt; one over another amount counts as no answer. Raises as `create` does."""
        result = _result(*await self._call(box, "receipts.get", {"id": receipt_id}, act="receipt.ask"))
        return _receipt(result, receipt_id, amount_minor)

    async def cancel(self, box: Cashbox, receipt_id: str, amount_minor: int) -> Receipt:
        """Cancel a receipt: a paid one is given back, whole. State 50 when it is done, 21 while it is queued.

        After silence ask `check` before it is called again. Raises as `create` does.
        """
        result = _result(*await self._call(box, "receipts.cancel", {"id": receipt_id}, act="receipt.cancel"))
        return _receipt(result, receipt_id, amount_minor)

    async def check_card(self, box: Cashbox, token: str) -> bool:
        """Whether a token stands for a card that was verified. Raises as `create` does; an unknown token is `PaymeSaidNo`."""
        number, answer = await self._call(box, "cards.check", {"token": token}, act="receipt.ask")
        card = _result(number, answer, hidden=token).get("card")
        if not isinstance(card, dict) or not isinstance(card.get("verify"), bool):
            raise NoAnswer
        return bool(card["verify"])

    async def remove_card(self, box: Cashbox, token: str) -> None:
        """Make a token worthless. Called twice, the second is `PaymeSaidNo`."""
        number, answer = await self._call(box, "cards.remove", {"token": token}, act="card.remove")
        if _result(number, answer, hidden=token).get("success") is not True:
            raise NoAnswer

    async def _call(self, box: Cashbox, method: str, params: Mapping[str, Any], *, act: str) -> tuple[int, Answer]:
        number = next(_numbers)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        headers = {"X-Auth": f"{box.cashbox_id}:{box.key}"}
        answer = await self._hosts[box.is_test].call("POST", "", act=act, timeout_s=_LIMIT_S, body=body, headers=headers)
        return number, answer


def _result(number: int, answer: Answer, hidden: str | None = None) -> dict[str, Any]:
    """The result of call `number`. Raises `PaymeSaidNo` for a clear no, `NoAnswer` for whatever cannot be believed."""
    body = answer.body
    if answer.status != 200 or body is None or body.get("id", number) != number:
        raise NoAnswer
    error, result = body.get("error"), body.get("result")
    if error is None and isinstance(result, dict):
        return result
    if not isinstance(error, dict) or result is not None:
        raise NoAnswer
    code: Any = error.get("code")
    if not _is_whole(code) or code in _UNDECIDED:
        raise NoAnswer
    raise PaymeSaidNo(code, _words(error.get("message"), hidden))


def _words(message: Any, hidden: str | None) -> str | None:
    """A message, text or one text a language, without what must not be kept."""
    if isinstance(message, dict):
        message = next((message[name] for name in ("en", "ru", "uz") if isinstance(message.get(name), str)), None)
    if not isinstance(message, str):
        return None
    return said(message.replace(hidden, "****") if hidden else message)


def _receipt(result: Mapping[str, Any], receipt_id: str | None, amount_minor: int) -> Receipt:
    """The receipt of a result. Another id or amount than the one that was asked for is nothing to act on: `NoAnswer`."""
    found = result.get("receipt")
    if not isinstance(found, dict):
        raise NoAnswer
    name, amount = found.get("_id"), found.get("amount")
    if not isinstance(name, str) or not _ID.fullmatch(name) or (receipt_id is not None and name != receipt_id):
        raise NoAnswer
    if not _is_whole(amount) or amount != amount_minor:
        raise NoAnswer
    return Receipt(name, _state(found.get("state")), amount_minor)


def _is_for(result: Mapping[str, Any], field: str, account: str) -> bool:
    """Whether the receipt of a result is for this account: a list of members there, each with its name and value."""
    members = result["receipt"].get("account")
    if not isinstance(members, list):
        return False
    return [each.get("value") for each in members if isinstance(each, dict) and each.get("name") == field] == [account]


def _state(value: Any) -> int:
    if not _is_whole(value) or value not in _STATES:
        raise NoAnswer
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
