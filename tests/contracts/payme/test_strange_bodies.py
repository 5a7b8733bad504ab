"""Values that no caller should send, everywhere, and bodies with bytes changed at random: an error of the protocol, never trouble."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from .booking import Booking
from .paycom import METHODS, Cashbox, a_tx, create, fiscal, parsed, rush
from .texts import TROUBLE

AT_ONCE = 40
"""Calls at the same time: more of them for one purchase may wait for each other until they are told to come again."""
STRANGE: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.5,
        -0.0,
        1e300,
        2**31,
        2**63 - 1,
        2**63,
        2**64,
        -(2**63) - 1,
        10**18,
        10**30,
        10**308,
        10**400,
    ),
    *(
        "",
        " ",
        "0",
        "x",
        "\0",
        "\ud800",
        "\ud83d\ude00",
        "\u202e",
        "%s",
        "{}",
        "'; --",
        "../..",
        "${jndi:x}",
        "x" * 65,
        "x" * 10_000,
        "1" * 64,
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {"id": "x"},
        {"order_id": {}},
        {"$ne": None},
        {"\0": "\0"},
        [1.5],
        {"a": 0.1},
        [[[[[[[[]]]]]]]],
    ),
]


def whole(booking: Booking, payme: Cashbox, method: str) -> dict[str, Any]:
    purchase = booking.buy()
    tx = payme.paid(booking.buy())
    found: dict[str, Any] = {
        "CheckPerformTransaction": {"amount": purchase.amount, "account": purchase.account},
        "CreateTransaction": {**create(purchase, a_tx())[1], "time": payme.now()},
        "PerformTransaction": {"id": tx},
        "CancelTransaction": {"id": tx, "reason": 5},
        "CheckTransaction": {"id": tx},
        "GetStatement": {"from": 0, "to": 1},
        "SetFiscalData": fiscal(tx)[1],
    }[method]
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_strange_value_anywhere_is_no_trouble(booking: Booking, payme: Cashbox, method: str) -> None:
    good = whole(booking, payme, method)
    bad = [(name, {**good, name: value}) for name in good for value in STRANGE]
    bad += [
        (f"{name}.{inner}", {**good, name: {**good[name], inner: value}})
        for name in good
        if isinstance(good[name], dict)
        for inner in ("order_id", "receipt_id", "more")
        for value in STRANGE
    ]
    bad += [("more", {**good, "more": value}) for value in STRANGE]
    answers = [
        answer
        for first in range(0, len(bad), AT_ONCE)
        for answer in rush(payme, [(method, params) for _, params in bad[first : first + AT_ONCE]])
    ]
    troubled = [
        (name, json.dumps(params)[:200]) for (name, params), answer in zip(bad, answers, strict=True) if code(answer) == TROUBLE
    ]
    assert troubled == []


def code(answer: Any) -> int:
    body = parsed(answer)
    assert ("result" in body) is ("error" not in body)
    found: int = body.get("error", {"code": 0})["code"]
    return found


@pytest.mark.parametrize("method", METHODS)
def test_bytes_changed_at_random_are_no_trouble(booking: Booking, payme: Cashbox, method: str) -> None:
    dice = random.Random(method)
    raw = json.dumps({"id": 1, "method": method, "params": whole(booking, payme, method)}).encode()
    for _ in range(60):
        changed = bytearray(raw)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(changed))
            changed[place : place + dice.randint(0, 2)] = dice.choice(
                [b"", b"\0", b"\xff", b'"', b"{", b"}", b"[", b"\\", b"9" * 30, b",", b"e9", b"."]
            )
        assert code(payme.post(bytes(changed))) != TROUBLE, bytes(changed)
