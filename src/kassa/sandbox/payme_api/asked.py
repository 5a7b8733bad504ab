"""The methods that need nobody else: everything about cards, and receipts made, shown, listed and sent (12.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kassa.sandbox.model import Tx
from kassa.sandbox.payme_api.book import (
    No,
    drop_card,
    find_card,
    find_receipt,
    make_card,
    make_receipt,
    receipts_between,
    verify_card,
)

_CARDS = frozenset({"8600495473316478", "8600069195406311"})
"""Payme's own test cards, good until 03/99."""
_EXPIRY, _CODE = "0399", "666666"
_MOST_LISTED = 50
_MOST_AMOUNT = 10**15

Params = Mapping[str, Any]


def create_card(tx: Tx, params: Params) -> dict[str, Any]:
    """A token for one of the test cards; of its number only the ends are kept."""
    card = params.get("card")
    number = card.get("number") if isinstance(card, dict) else None
    digits = number.replace(" ", "") if isinstance(number, str) else ""
    if not isinstance(card, dict) or digits not in _CARDS or card.get("expire") != _EXPIRY:
        raise No(-31300, "Only Payme's test cards are known here", "card")
    masked = f"{digits[:6]}******{digits[-4:]}"
    return _shown(make_card(tx, masked), masked, verified=False)


def send_code(tx: Tx, params: Params) -> dict[str, Any]:
    """The code is always the same."""
    find_card(tx, params.get("token"))
    return {"sent": True, "phone": "99890*****31", "wait": 60000}


def verify(tx: Tx, params: Params) -> dict[str, Any]:
    """The card can pay from now on, if the code is right."""
    find_card(tx, params.get("token"))
    if params.get("code") != _CODE:
        raise No(-31103, "Wrong code", "code")
    return _shown(str(params["token"]), verify_card(tx, params["token"]), verified=True)


def check_card(tx: Tx, params: Params) -> dict[str, Any]:
    """What a token stands for."""
    masked, verified = find_card(tx, params.get("token"))
    return _shown(str(params["token"]), masked, verified=verified)


def remove_card(tx: Tx, params: Params) -> dict[str, Any]:
    """The token is worthless from now on."""
    drop_card(tx, params.get("token"))
    return {"success": True}


def create_receipt(tx: Tx, params: Params) -> dict[str, Any]:
    """A receipt in state 0. Nobody is asked whether the order may be paid before somebody pays."""
    amount, account = params.get("amount"), params.get("account")
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= _MOST_AMOUNT:
        raise No(-31611, "Wrong amount", "amount")
    if not isinstance(account, dict) or not account or not all(isinstance(value, str | int) for value in account.values()):
        raise No(-31610, "Wrong account", "account")
    return {"receipt": make_receipt(tx, amount, account).shown()}


def check_receipt(tx: Tx, params: Params) -> dict[str, Any]:
    """The state of a receipt alone."""
    return {"state": find_receipt(tx, str(params.get("id"))).state}


def get_receipt(tx: Tx, params: Params) -> dict[str, Any]:
    """A whole receipt."""
    return {"receipt": find_receipt(tx, str(params.get("id"))).shown()}


def get_receipts(tx: Tx, params: Params) -> Any:
    """Receipts of a time, newest first, at most 50."""
    numbers = [params.get(name, usual) for name, usual in (("from", 0), ("to", 10**15), ("offset", 0), ("count", _MOST_LISTED))]
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
        raise No(-32600, "from, to, offset and count are whole numbers")
    from_ms, to_ms, offset, count = numbers
    return [each.shown() for each in receipts_between(tx, from_ms, to_ms, offset, min(count, _MOST_LISTED))]


def send_receipt(tx: Tx, params: Params) -> dict[str, Any]:
    """Nobody is written to."""
    find_receipt(tx, str(params.get("id")))
    return {"success": isinstance(params.get("phone"), str)}


ASKED: dict[str, Callable[[Tx, Params], Any]] = {
    "cards.create": create_card,
    "cards.get_verify_code": send_code,
    "cards.verify": verify,
    "cards.check": check_card,
    "cards.remove": remove_card,
    "receipts.create": create_receipt,
    "receipts.check": check_receipt,
    "receipts.get": get_receipt,
    "receipts.get_all": get_receipts,
    "receipts.send": send_receipt,
}
OPEN = frozenset({"cards.create", "cards.get_verify_code", "cards.verify"})
"""What a browser may call, with the cashbox's id alone."""


def _shown(token: str, masked: str, *, verified: bool) -> dict[str, Any]:
    return {"card": {"number": masked, "expire": "03/99", "token": token, "recurrent": True, "verify": verified}}
