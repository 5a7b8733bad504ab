"""Payme's door: every request is answered with 200 and JSON-RPC, in the order of checks of the specification, whatever was sent."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest

from kassa.api import ApiOptions, TokenRules, create_app
from kassa.api.dialect import Dialects
from kassa.api.errors import CallerGone, InternalError, RateLimited, UnknownPath, WrongVerb
from kassa.api.frame import Frame
from kassa.api.limits import Proxies
from kassa.api.options import PaymeOptions
from kassa.api.payme import Door, Rpc
from kassa.api.payme.words import CATALOGUE
from kassa.collect.payme import Cashbox, PaymeRefusal
from kassa.kit import jsontext
from kassa.kit.context import Context
from kassa.kit.database import CommitUnknown, DatabaseAway
from kassa.kit.errors import Conflict, KassaError
from kassa.payments.payme.model import PaymeRules

from .asking import KEYS, SECRET, Heard, NoDatabase, ask, scope_of, yes

KEY = "D3moKassaKey000000000000000000000036"
ORDER = "019b76da-a800-7c3e-9f51-2d8e6a4b7c10"
PAYME_ID = "66f0a1b2c3d4e5f607182930"
PATH = "/payme/webhook"


def box(merchant_id: str = "1", key: str = KEY, **options: Any) -> Cashbox:
    return Cashbox(merchant_id, "650000000000000000000001", key, is_test=True, **options)


@dataclass
class Till:
    """The verbs, played: every call is noted, and `troubles` are raised one after the other before it works."""

    boxes: dict[str, Cashbox] = field(default_factory=lambda: {"1": box(), "7": box("7", "another-key")})
    result: dict[str, Any] = field(default_factory=lambda: {"allow": True})
    troubles: list[Exception] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)
    away: Exception | None = None

    async def cashbox_of(self, _ctx: Any, merchant_id: str) -> Cashbox | None:
        self.asked_for.append(merchant_id)
        if self.away is not None:
            raise self.away
        return self.boxes.get(merchant_id)

    def __getattr__(self, verb: str) -> Any:
        async def play(_ctx: Any, of: Cashbox, *given: Any) -> Any:
            self.calls.append((verb, of.merchant_id, *given))
            if self.troubles:
                raise self.troubles.pop(0)
            return BytesIO(b'{"transactions":[]}') if verb == "statement" else self.result

        return play


def a_door(till: Till, proxies: tuple[str, ...] = (), **options: Any) -> Any:
    async def nowhere(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"elsewhere"})

    door = Door(nowhere, SimpleNamespace(), PaymeOptions(**options), Proxies(proxies), till)  # type: ignore[arg-type]
    return Frame(door, Dialects({"/payme": Rpc()}, otherwise=Rpc()))


def shown(login: str = "Paycom", key: str = KEY) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{key}".encode()).decode()}


def call(method: Any = "CheckTransaction", call_id: Any = 7, **params: Any) -> bytes:
    return json.dumps({"method": method, "id": call_id, "params": params}).encode()


GOOD_CALL = call(id=PAYME_ID)


async def say(
    till: Till | None = None,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    path: str = PATH,
    verb: str = "POST",
    door: Any = None,
) -> dict[str, Any]:
    """The answer of the door, which is a good one whatever it says."""
    heard = await ask(
        door or a_door(till or Till()), verb, path, shown() if headers is None else headers, GOOD_CALL if body is None else body
    )
    return judged(heard)


def judged(heard: Heard) -> dict[str, Any]:
    assert heard.status == 200
    assert heard.header("content-type") == "application/json; charset=UTF-8"
    assert heard.header("content-length") == str(len(heard.body))
    said: dict[str, Any] = heard.json
    assert said["jsonrpc"] == "2.0"
    assert ("result" in said) != ("error" in said)
    assert set(said) - {"result", "error"} == {"jsonrpc", "id"}
    if "error" in said:
        assert said["error"]["message"] == CATALOGUE[said["error"]["code"]]
        assert set(said["error"]) == {"code", "message", "data"}
    return said


def code_of(said: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The code of an error, its data, and the id of its call."""
    return said["error"]["code"], said["error"]["data"], said["id"]


# The address and the verb


@pytest.mark.parametrize(
    ("path", "merchant"), [(PATH, "1"), (PATH + "/", "1"), (PATH + "/1", "1"), (PATH + "/7", "7"), (PATH + "/7/", "7")]
)
async def test_an_address_with_or_without_a_slash_names_a_merchant(path: str, merchant: str) -> None:
    till = Till()
    said = await say(till, path=path, headers=shown(key=till.boxes[merchant].key))
    assert said == {"jsonrpc": "2.0", "id": 7, "result": {"allow": True}}
    assert till.calls == [("check", merchant, PAYME_ID)]


@pytest.mark.parametrize("path", ["/9", "//", "/%00", "/\x00", "/é", "/" + "1" * 65, "/a b"])
async def test_an_unknown_merchant_is_not_let_in(path: str) -> None:
    till = Till()
    assert code_of(await say(till, path=PATH + path)) == (-32504, None, 7)
    assert till.calls == []
    assert set(till.asked_for) <= {"9", "%00"}, "whatever cannot be a merchant's name is not asked for"


@pytest.mark.parametrize("path", ["/1/2", "/1//", "/../1", "/./1"])
async def test_nobody_is_below_a_merchant(path: str) -> None:
    assert code_of(await say(path=PATH + path)) == (-32504, None, 7)


@pytest.mark.parametrize("path", ["/payme", "/payme/", "/payme/webhooks", "/paymewebhook", "/", "/payme/Webhook"])
async def test_other_addresses_are_not_the_doors(path: str) -> None:
    assert (await ask(a_door(Till()), "POST", path, shown(), GOOD_CALL)).status == 418


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", [PATH, PATH + "/", PATH + "/7", PATH + "/nobody/"])
async def test_another_verb_is_wrong_whatever_else_is_too(verb: str, path: str) -> None:
    till = Till()
    assert code_of(await say(till, b"no json", {}, path, verb)) == (-32300, None, None)
    assert till.asked_for == []


async def test_what_nobody_caught_below_the_address_is_said_in_its_words() -> None:
    for error, code in [(UnknownPath(), -32504), (WrongVerb("POST"), -32300), (InternalError(), -32400), (RateLimited(1), -32400)]:
        answer = Rpc().refuse(error)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (200, code)


# Who calls


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


GOOD = base64.b64encode(f"Paycom:{KEY}".encode()).decode()


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + GOOD[:-2] + "é",
        "Basic " + GOOD + "=",
        "Bearer " + GOOD,
        "Basic" + GOOD,
        GOOD,
        basic(b"Paycom"),
        basic(b"Paycom:"),
        basic(b":"),
        basic(b":" + KEY.encode()),
        basic(b"paycom:" + KEY.encode()),
        basic(b"Paycom :" + KEY.encode()),
        basic(b"Paycom:" + KEY.encode() + b" "),
        basic(b"Paycom:" + KEY.lower().encode()),
        basic(b"Paycom:" + KEY.encode()[:-1]),
        basic(b"Paycom:another-key"),
        basic("Paycom:ключ".encode()),
        basic(b"Paycom:\xff\xfe"),
        basic(b"\x00"),
        f"Basic {GOOD}, Basic {GOOD}",
    ],
)
async def test_whoever_does_not_show_login_and_key_is_refused(sent: str | None) -> None:
    till = Till()
    assert code_of(await say(till, headers={} if sent is None else {"Authorization": sent})) == (-32504, None, 7)
    assert till.calls == []


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC   "])
async def test_the_name_of_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert "result" in await say(headers={"Authorization": scheme + GOOD})


@pytest.mark.parametrize("key", ["a:b:c", ":", "%&?@#$", "ключ", "x" * 255])
async def test_a_key_begins_after_the_first_colon_and_may_hold_anything(key: str) -> None:
    till = Till(boxes={"1": box(key=key)})
    assert "result" in await say(till, headers={"Authorization": basic(b"Paycom:" + key.encode())})


async def test_two_headers_are_no_proof() -> None:
    sent = [(b"authorization", f"Basic {GOOD}".encode())] * 2
    heard, pieces = Heard(), [GOOD_CALL]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": False}

    await a_door(Till())({**scope_of("POST", PATH), "headers": sent}, receive, heard.hear)
    assert code_of(judged(heard))[0] == -32504


async def test_an_empty_key_opens_nothing() -> None:
    assert code_of(await say(Till(boxes={"1": box(key="")}), headers=shown(key="")))[0] == -32504


async def test_without_a_cashbox_nobody_is_let_in() -> None:
    assert code_of(await say(Till(boxes={})))[0] == -32504


async def test_another_login_may_be_set() -> None:
    till = Till(boxes={"1": box(login="Merchant")})
    assert code_of(await say(till))[0] == -32504
    assert "result" in await say(till, headers=shown("Merchant"))


async def test_one_merchants_key_does_not_open_anothers_cashbox() -> None:
    assert code_of(await say(path=PATH + "/7"))[0] == -32504
    assert code_of(await say(headers=shown(key="another-key")))[0] == -32504


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (call(call_id=99), 99),
        (call(call_id="text"), "text"),
        (call(call_id=10**4000), 10**4000),
        (call(call_id=1.5), None),
        (call(call_id=True), None),
        (call(call_id=[1]), None),
        (b'{"id":5,"method":', None),
        (b'{"id":5}', 5),
        (b"[5]", None),
        (b"", None),
        (b"\xff", None),
        (b'{"id":5,"a":"' + b"x" * 70000 + b'"}', None),
    ],
)
async def test_who_is_refused_gets_the_id_back_if_it_can_be_read(body: bytes, told: Any) -> None:
    assert code_of(await say(body=body, headers={})) == (-32504, None, told)


ALLOWED = ("185.234.113.0/28", "2001:db8::5")


@pytest.mark.parametrize(
    ("client", "forwarded", "allowed"),
    [
        ("185.234.113.1", None, True),
        ("185.234.113.16", None, False),
        ("::ffff:185.234.113.15", None, True),
        ("2001:db8::5", None, True),
        ("2001:db8::6", None, False),
        ("unix", None, False),
        ("198.51.100.4", "185.234.113.1", False),
        ("10.0.0.1", "185.234.113.1", True),
        ("10.0.0.1", "185.234.113.1, 198.51.100.4", False),
        ("10.0.0.1", None, False),
    ],
)
async def test_only_listed_addresses_may_call_as_the_trusted_proxy_tells_them(
    client: str, forwarded: str | None, allowed: bool
) -> None:
    door = a_door(Till(), proxies=("10.0.0.0/8",), ip_allowlist=ALLOWED)
    headers = shown() | ({"X-Forwarded-For": forwarded} if forwarded else {})
    said = judged(await ask(door, "POST", PATH, headers, GOOD_CALL, client))
    assert ("result" in said) is allowed
    assert allowed or code_of(said) == (-32504, None, 7)


# The body


@pytest.mark.parametrize("declared", [True, False])
async def test_a_long_body_is_refused_without_being_kept(declared: bool) -> None:
    taken = 0

    async def dribble() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 4096

    pieces, heard = dribble(), Heard()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(pieces), "more_body": True}

    headers = shown() | ({"Content-Length": "1000000"} if declared else {})
    await a_door(Till())(scope_of("POST", PATH, headers), receive, heard.hear)
    assert code_of(judged(heard)) == (-32600, None, None)
    assert taken == (0 if declared else 17)
    await pieces.aclose()


async def test_the_limit_is_the_last_length_that_is_taken() -> None:
    body = GOOD_CALL
    exactly = body + b" " * (65536 - len(body))
    assert "result" in await say(body=exactly)
    assert code_of(await say(body=exactly + b" ")) == (-32600, None, None)
    assert code_of(await say(door=a_door(Till(), max_body_bytes=len(body) - 1))) == (-32600, None, None)
    assert "result" in await say(door=a_door(Till(), max_body_bytes=len(body)))


async def test_a_body_in_pieces_is_one_body() -> None:
    body = GOOD_CALL
    assert "result" in await say(body=[body[:1], b"", body[1:20], body[20:]])


async def test_a_lying_length_changes_nothing() -> None:
    for length in ("-1", "x", "0", "²", "9" * 5000):
        said = await say(headers=shown() | {"Content-Length": length})
        assert ("result" in said) is (length[0] != "9")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b'{"id":1,}',
        b"{'id':1}",
        b'{"id":1} {"id":2}',
        b'{"id":1,"method":"CheckTransaction","params":{"id":NaN}}',
        b'{"id":Infinity}',
        b'{"id":-Infinity}',
        b'{"id":01}',
        b'{"id":' + b"1" * 4301 + b"}",
        b'{"id":' + b"9" * 60000 + b"}",
        b"[" * 60000,
        b"[" * 30000 + b"]" * 30000,
        b'{"a":' * 10000 + b"1" + b"}" * 10000,
        b'{"id":"' + b"\xc3\x28" + b'"}',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"id":1}',
        b'{"id":"\x01"}',
        b'{"id":1,"id":2}',
        b'{"id":1,"params":{"amount":1,"amount":2}}',
        b'{"id":1,"a":1e999999999999999999999}',
        b'<?xml version="1.0"?>',
        b"method=CheckTransaction",
    ],
)
async def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    till = Till()
    assert code_of(await say(till, body)) == (-32700, None, None)
    assert till.calls == []


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true", b'[{"id":1,"method":"CheckTransaction","params":{}}]'])
async def test_one_call_is_an_object(body: bytes) -> None:
    assert code_of(await say(body=body)) == (-32600, None, None)


async def test_a_body_that_does_not_come_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kassa.api.payme.door._BODY_WITHIN_S", 0.01)
    heard = Heard()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    await a_door(Till())(scope_of("POST", PATH, shown()), receive, heard.hear)
    assert code_of(judged(heard)) == (-32700, None, None)


async def test_a_caller_who_left_is_not_answered() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    heard, till = Heard(), Till()
    await a_door(till)(scope_of("POST", PATH, shown()), receive, heard.hear)
    assert (heard.status, till.asked_for) == (0, [])
    with pytest.raises(CallerGone):
        await a_door(till)._inner(scope_of("POST", PATH, shown()), receive, heard.hear)


# The envelope


@pytest.mark.parametrize(
    ("call_id", "told"), [(0, 0), (-5, -5), (10**30, 10**30), ("", ""), ("Заказ\ud83d", "Заказ\ud83d"), (None, None)]
)
async def test_the_id_comes_back_as_it_was(call_id: Any, told: Any) -> None:
    assert (await say(body=call(call_id=call_id, id="a")))["id"] == told


async def test_the_id_and_the_version_may_be_missing_or_anything() -> None:
    assert (await say(body=b'{"method":"CheckTransaction","params":{"id":"a"}}'))["id"] is None
    assert "result" in await say(body=b'{"jsonrpc":1.0,"more":[],"id":1,"method":"CheckTransaction","params":{"id":"a","b":{}}}')


@pytest.mark.parametrize("call_id", [1.0, 1.5, True, False, [], {}, [1]])
async def test_an_id_of_another_type_is_not_taken(call_id: Any) -> None:
    assert code_of(await say(body=call("nonsense", call_id)))[::2] == (-32600, None)
    assert code_of(await say(body=b'{"id":1e3,"method":"x","params":{}}'))[::2] == (-32600, None)


@pytest.mark.parametrize(
    "body", [b'{"id":3}', *(b'{"id":3,"method":%b,"params":{}}' % each for each in (b'""', b"null", b"1", b"[]", b"true"))]
)
async def test_a_call_names_its_method(body: bytes) -> None:
    assert code_of(await say(body=body)) == (-32600, "method", 3)


@pytest.mark.parametrize(
    "method", ["ChangePassword", "createTransaction", "CreateTransaction ", "__class__", "\ud800", "x" * 60000, "Ж"]
)
async def test_an_unknown_method_is_named_as_it_came(method: str) -> None:
    assert code_of(await say(body=call(method))) == (-32601, method, 7)
    assert code_of(await say(body=json.dumps({"id": 7, "method": method, "params": []}).encode())) == (-32601, method, 7)


@pytest.mark.parametrize(
    "params", [b"", b',"params":null', b',"params":[]', b',"params":[{"id":"a"}]', b',"params":"a"', b',"params":1']
)
@pytest.mark.parametrize("method", [b"CheckTransaction", b"SetFiscalData"])
async def test_parameters_have_names(method: bytes, params: bytes) -> None:
    assert code_of(await say(body=b'{"id":3,"method":"%b"%b}' % (method, params))) == (-32600, "params", 3)


# The parameters


GIVEN: dict[str, dict[str, Any]] = {
    "CheckPerformTransaction": {"amount": 500, "account": {"order_id": ORDER}},
    "CreateTransaction": {"id": PAYME_ID, "time": 1767225600123, "amount": 500, "account": {"order_id": ORDER}},
    "PerformTransaction": {"id": PAYME_ID},
    "CancelTransaction": {"id": PAYME_ID, "reason": 5},
    "CheckTransaction": {"id": PAYME_ID},
    "GetStatement": {"from": 1767225600000, "to": 1767225601000},
    "SetFiscalData": {"id": PAYME_ID, "type": "PERFORM", "fiscal_data": {"receipt_id": 48120, "status_code": 0}},
}
VERBS = ("check_perform", "create", "perform", "cancel", "check", "statement", "set_fiscal_data")


@pytest.mark.parametrize(("method", "verb"), list(zip(GIVEN, VERBS, strict=True)))
async def test_a_method_is_a_verb(method: str, verb: str) -> None:
    till = Till(result={"some": ["thing", 1]})
    said = await say(till, call(method, **GIVEN[method], other=1))
    assert till.calls == [(verb, "1", *GIVEN[method].values())]
    assert said["result"] == ({"transactions": []} if method == "GetStatement" else {"some": ["thing", 1]})


NO_WHOLE = [None, True, False, "5", 5.0, 5.5, [5], {}, ...]
"""What is no whole number; `...` stands for a member that is missing."""
NO_ID = [None, 5, "", "é", "a\n", "a\x00", "a" * 65, ["a"], True, 5.0, ...]
NO_OBJECT = [None, 5, "x", [], True, 5.5, ...]
WRONG = [
    *(("CheckPerformTransaction", "amount", value, -32600) for value in NO_WHOLE),
    *(("CheckPerformTransaction", "account", value, -32600) for value in NO_OBJECT),
    *(("CreateTransaction", "id", value, -32600) for value in NO_ID),
    *(("CreateTransaction", "time", value, -32600) for value in [*NO_WHOLE, 0, -1767225600123, 10**12 - 1, 10**13, 10**40]),
    *(("CreateTransaction", "amount", value, -32600) for value in NO_WHOLE),
    *(("CreateTransaction", "account", value, -32600) for value in NO_OBJECT),
    *(("PerformTransaction", "id", value, -32600) for value in NO_ID),
    *(("CancelTransaction", "id", value, -32600) for value in NO_ID),
    *(("CancelTransaction", "reason", value, -32600) for value in NO_WHOLE),
    *(("CheckTransaction", "id", value, -32600) for value in NO_ID),
    *(("GetStatement", name, value, -32600) for name in ("from", "to") for value in [*NO_WHOLE, -1]),
    *(("SetFiscalData", "id", value, -32602) for value in NO_ID),
    *(("SetFiscalData", "type", value, -32602) for value in ["perform", "REFUND", "", None, 1, [], {}, ...]),
    *(("SetFiscalData", "fiscal_data", value, -32602) for value in NO_OBJECT),
]


@pytest.mark.parametrize(("method", "name", "value", "code"), WRONG)
async def test_a_parameter_of_another_type_is_named(method: str, name: str, value: Any, code: int) -> None:
    till = Till()
    params = {**GIVEN[method], name: value}
    if value is ...:
        del params[name]
    assert code_of(await say(till, call(method, 9, **params))) == (code, name, 9)
    assert till.calls == []


@pytest.mark.parametrize("written", [b"5e2", b"500.0", b"5E+2", b"-0.0", b"1e400"])
async def test_a_number_with_a_fraction_or_an_exponent_is_no_whole_number(written: bytes) -> None:
    body = b'{"id":1,"method":"CheckPerformTransaction","params":{"amount":%b,"account":{}}}' % written
    assert code_of(await say(body=body)) == (-32600, "amount", 1)


@pytest.mark.parametrize("amount", [0, -1, 2**63, 10**30, -(10**4000)])
async def test_a_whole_amount_of_any_size_is_a_matter_of_business(amount: int) -> None:
    till = Till()
    assert "result" in await say(till, call("CheckPerformTransaction", amount=amount, account={}))
    assert till.calls == [("check_perform", "1", amount, {})]


@pytest.mark.parametrize("reason", [0, -7, 5, 99, 2**70])
async def test_any_whole_reason_is_passed_on(reason: int) -> None:
    till = Till()
    await say(till, call("CancelTransaction", id="a", reason=reason))
    assert till.calls == [("cancel", "1", "a", reason)]


@pytest.mark.parametrize("value", [None, 5, True, 5.5, [], {}, "", "\x00", "\ud800", 10**30, " x "])
async def test_the_value_of_the_account_is_judged_by_the_verb(value: Any) -> None:
    till = Till()
    assert "result" in await say(till, call("CheckPerformTransaction", amount=1, account={"order_id": value}))
    assert till.calls == [("check_perform", "1", 1, {"order_id": value})]


@pytest.mark.parametrize(
    "written", ['"\\ud800"', '"\\u0000"', "1" * 4000, "1.50", "-0.0", "1e400", '{"deep":[1.5,null,true]}', '"+998 90 \\u0414"']
)
@pytest.mark.parametrize("name", ["account", "fiscal_data"])
async def test_what_is_kept_as_it_came_can_be_written_as_it_came(name: str, written: str) -> None:
    till = Till()
    method = "SetFiscalData" if name == "fiscal_data" else "CheckPerformTransaction"
    body = '{"id":7,"method":"METHOD","params":{"id":"a","type":"CANCEL","amount":1,"NAME":{"other":WRITTEN}}}'
    for place, text in (("METHOD", method), ("NAME", name), ("WRITTEN", written)):
        body = body.replace(place, text)
    assert "result" in await say(till, body.encode())
    assert jsontext.write(till.calls[0][-1]["other"]) == written.replace("1e400", "1E+400")


@pytest.mark.parametrize(("value", "passed"), [(0, 0), (10**13 - 1, 10**13 - 1), (10**13, 10**13), (10**40, 10**13)])
async def test_a_period_may_end_after_all_times(value: int, passed: int) -> None:
    till = Till()
    await say(till, b'{"id":1,"method":"GetStatement","params":{"from":0,"to":%d}}' % value)
    assert till.calls == [("statement", "1", 0, passed)]


@pytest.mark.parametrize("receipt_id", [1, "EP01", None, 1.5])
async def test_a_fiscal_receipt_is_passed_on_as_it_came(receipt_id: Any) -> None:
    till = Till()
    data = {"receipt_id": receipt_id, "status_code": 7, "unknown": [1]}
    await say(till, call("SetFiscalData", id="a", type="CANCEL", fiscal_data=data))
    assert till.calls == [("set_fiscal_data", "1", "a", "CANCEL", data)]


@pytest.mark.parametrize("receipt_id", [True, [], {}])
async def test_the_id_of_a_fiscal_receipt_is_text_or_a_number(receipt_id: Any) -> None:
    said = await say(body=call("SetFiscalData", id="a", type="CANCEL", fiscal_data={"receipt_id": receipt_id}))
    assert code_of(said) == (-32602, "receipt_id", 7)


@pytest.mark.parametrize("payme_id", ["a", "a" * 64, " ~ ", PAYME_ID])
async def test_payme_names_its_transactions_as_it_likes(payme_id: str) -> None:
    till = Till()
    await say(till, call("PerformTransaction", id=payme_id))
    assert till.calls == [("perform", "1", payme_id)]


# What the verbs say


@pytest.mark.parametrize("code", CATALOGUE)
@pytest.mark.parametrize("data", [None, "order_id"])
async def test_a_refusal_is_told_with_its_texts(code: int, data: str | None) -> None:
    till = Till(troubles=[PaymeRefusal(code, data)])
    assert code_of(await say(till)) == (code, data, 7)
    assert len(till.calls) == 1, "no is no"


def test_the_texts_are_three_and_none_is_empty() -> None:
    assert set(CATALOGUE) == {
        *(-32300, -32700, -32600, -32601, -32504, -32400, -32001, -32602),
        *(-31001, -31003, -31007, -31008, -31050, -31051, -31052, -31053),
    }
    assert all(set(texts) == {"ru", "uz", "en"} and all(texts.values()) for texts in CATALOGUE.values())
    assert CATALOGUE[-31050] == {"ru": "Заказ не найден", "uz": "Buyurtma topilmadi", "en": "Order not found"}


@pytest.mark.parametrize("trouble", [DatabaseAway(), Conflict(), CommitUnknown()])
async def test_what_another_transaction_spoiled_is_tried_again(trouble: Exception) -> None:
    till = Till(troubles=[trouble] * 3)
    assert "result" in await say(till)
    assert len(till.calls) == 4
    till = Till(troubles=[trouble] * 9)
    assert code_of(await say(till)) == (-32400, None, 7)
    assert len(till.calls) == 4


async def test_a_database_that_stays_away_is_not_asked_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kassa.api.payme.door._AGAIN_WITHIN_S", -1.0)
    till = Till(troubles=[DatabaseAway()] * 9)
    assert code_of(await say(till)) == (-32400, None, 7)
    assert len(till.calls) == 1


@pytest.mark.parametrize(
    "trouble", [ZeroDivisionError("of asha@example.com"), TimeoutError(), KassaError(), PaymeRefusal(-31099), KeyError("x")]
)
async def test_whatever_goes_wrong_is_temporary_and_says_nothing_of_itself(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    till = Till(troubles=[trouble])
    assert code_of(await say(till)) == (-32400, None, 7)
    assert len(till.calls) == 1
    assert any(record.levelno >= logging.WARNING for record in caplog.records)


async def test_without_a_database_nobody_can_be_judged() -> None:
    assert code_of(await say(Till(away=DatabaseAway()))) == (-32400, None, 7)
    assert code_of(await say(Till(away=RuntimeError()), b"no json")) == (-32400, None, None)


async def test_a_long_statement_is_sent_in_parts_and_its_file_is_closed() -> None:
    rows = b'{"transactions":[%b]}' % b",".join([b'{"id":"66f0a1b2c3d4e5f607182930"}'] * 9000)
    with tempfile.SpooledTemporaryFile(max_size=1000) as file:
        file.write(rows)
        till = Till()
        till.statement = lambda *_: _given(file)  # type: ignore[attr-defined]
        heard = await ask(a_door(till), "POST", PATH, shown(), call("GetStatement", **GIVEN["GetStatement"]))
        assert len(judged(heard)["result"]["transactions"]) == 9000
        assert heard.body == b'{"jsonrpc":"2.0","id":7,"result":%b}' % rows
        assert max(map(len, heard.parts)) <= 65536
        assert file.closed


async def _given(what: Any) -> Any:
    return what


async def test_a_reason_longer_than_a_machine_word_comes_back() -> None:
    till = Till(result={"reason": 2**80, "perform_time": 0})
    assert (await say(till))["result"] == {"reason": 2**80, "perform_time": 0}


# The log


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    names = ("method", "payme_id", "order_id", "outcome")
    return [{name: record.__dict__[name] for name in names} for record in caplog.records if record.getMessage() == "payme"]


async def test_a_line_says_what_was_asked_and_what_came_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kassa.payme")
    await say(body=call("CreateTransaction", **{**GIVEN["CreateTransaction"], "account": {"order_id": f" {ORDER.upper()} "}}))
    await say(Till(troubles=[PaymeRefusal(-31003)]))
    await say(body=b"nonsense")
    await say(Till(troubles=[ZeroDivisionError()]))
    assert lines(caplog) == [
        {"method": "CreateTransaction", "payme_id": PAYME_ID, "order_id": ORDER, "outcome": "ok"},
        {"method": "CheckTransaction", "payme_id": PAYME_ID, "order_id": "-", "outcome": -31003},
        {"method": "-", "payme_id": "-", "order_id": "-", "outcome": -32700},
        {"method": "CheckTransaction", "payme_id": PAYME_ID, "order_id": "-", "outcome": -32400},
    ]
    assert all(record.__dict__["ms"] >= 0 for record in caplog.records if record.getMessage() == "payme")


async def test_no_line_holds_a_key_or_what_a_stranger_wrote(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    mine = "asha-at-example"
    await say(headers=shown(key="the-wrong-one-" + mine))
    await say(headers={}, body=call(mine))
    await say(body=call(mine))
    await say(body=call("CheckPerformTransaction", amount=1, account={"order_id": mine, "phone": mine}))
    await say(body=call("CheckTransaction", id="é" + mine))
    await say(Till(away=DatabaseAway()), body=call(mine))
    said = repr([record.__dict__ for record in caplog.records])
    for secret in (KEY, GOOD, mine, base64.b64encode(mine.encode()).decode()):
        assert secret not in said


# In its place, before everything that other surfaces share


def the_app(**options: Any) -> Any:
    """The whole application, of a house with a cashbox and without a database."""
    given = Context(db=NoDatabase(), keys=KEYS, ports={PaymeRules: PaymeRules(house=box())})  # type: ignore[arg-type]
    return create_app(given, ApiOptions(surfaces=frozenset(), tokens=TokenRules(SECRET), schema_is_current=yes, **options))


async def test_it_is_open_whatever_surfaces_are_served() -> None:
    app = the_app()
    assert code_of(await say(door=app)) == (-32400, None, 7)
    assert code_of(await say(door=app, body=call("Nothing"))) == (-32601, "Nothing", 7)
    assert code_of(await say(door=app, headers={})) == (-32504, None, 7)
    assert (await ask(app, "POST", "/api/v1/payments/webhook")).status == 404


@pytest.mark.parametrize("path", ["/payme", "/payme/", "/payme/webhooks", "/payme/webhook.json", "/payme/Webhook"])
@pytest.mark.parametrize("verb", ["GET", "POST", "OPTIONS"])
async def test_beside_it_there_is_nobodys_cashbox(verb: str, path: str) -> None:
    assert code_of(await say(door=the_app(), verb=verb, path=path)) == (-32504, None, None)


async def test_no_rate_and_no_browser_rule_answers_in_its_place() -> None:
    app = the_app(rate_limit="1/day", cors_origins=("https://shop.example.com",))
    for _ in range(3):
        assert code_of(await say(door=app, body=b"")) == (-32700, None, None)
    asked = {"Origin": "https://other.example.com", "Access-Control-Request-Method": "POST"}
    assert code_of(await say(door=app, verb="OPTIONS", headers=asked)) == (-32300, None, None)


async def test_every_answer_has_what_all_answers_have() -> None:
    heard = await ask(the_app(), "POST", PATH, {"X-Request-Id": "order-form/7731"}, b"")
    assert judged(heard)
    assert (heard.header("x-request-id"), heard.header("cache-control")) == ("order-form/7731", "no-store")


async def test_the_log_of_requests_has_the_route_and_no_merchants_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kassa.access")
    await say(door=the_app(), path=PATH + "/some-merchant")
    await say(door=the_app(), path=PATH + "/")
    routes = [record.__dict__["route"] for record in caplog.records if record.name == "kassa.access"]
    assert routes == [PATH + "/{merchant_id}", PATH]
