"""The steps that need no order: the verb, the authorisation, the body, and the types of all parameters (2.5 to 2.8)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.payme.judge import nothing_listed, refused
from kassa.sandbox.payme.script import Sheet
from kassa.sandbox.payme.wire import Message, ask, basic, new_payme_id

_DEEP = 30_000
_LEFT_OUT: Any = object()


def write_authorisation(sheet: Sheet) -> None:
    """Every method with a wrong key, and every other way to be nobody: -32504, with the number of the call."""
    wrong = basic(sheet.endpoint.login, "wrong-" + sheet.endpoint.key[::-1])
    for method, params in _harmless(sheet).items():
        message = ask(method, params, authorization=wrong)
        sheet.add(f"authorisation: {method}", message, refused(-32504), sent=f"{method}, wrong key")
    login, key = sheet.endpoint.login, sheet.endpoint.key
    nobody = {
        "no header": "",
        "another scheme": "Bearer " + basic(login, key).partition(" ")[2],
        "wrong login": basic(login + "x", key),
        "login in other letters": basic(login.swapcase(), key),
        "no key": basic(login, ""),
        "half the key": basic(login, key[:-1]),
        "no colon": "Basic " + base64.b64encode(login.encode()).decode(),
        "not base64": "Basic ***",
        "not ASCII": basic(login, "ключ"),
    }
    for how, header in nobody.items():
        message = ask("CheckTransaction", {"id": new_payme_id()}, authorization=header)
        sheet.add(f"authorisation: {how}", message, refused(-32504), sent=f"CheckTransaction, {how}")
    message = Message(b"{", None, authorization=wrong)
    sheet.add("authorisation: before the body", message, refused(-32504), sent="wrong key and no JSON")
    message = ask("CheckTransaction", {"id": new_payme_id()}, authorization=basic(login, key).replace("Basic", "bASIC"))
    sheet.add("authorisation: scheme in other letters", message, refused(-31003), sent="CheckTransaction, bASIC")


def write_body(sheet: Sheet) -> None:
    """Wrong verbs and bodies that are no call: an answer of the protocol each, never a status of HTTP."""
    for verb in ("GET", "PUT", "PATCH", "DELETE"):
        sheet.add(f"body: {verb}", Message(b"", None, verb), refused(-32300), sent=f"{verb} instead of POST")
    for what, body in _not_json().items():
        sheet.add(f"body: {what}", Message(body), refused(-32700), sent=what)
    for what, body in _no_call(sheet.wish.most_bytes).items():
        sheet.add(f"body: {what}", Message(body), refused(-32600), sent=what)
    for what, method in {"no method": _LEFT_OUT, "an empty method": "", "a number as method": 7}.items():
        call = {"id": 7, "params": {}} | ({} if method is _LEFT_OUT else {"method": method})
        sheet.add(f"body: {what}", Message(exact.dumps(call), 7), refused(-32600), sent=what)
    for method in ("NoSuchMethod", "ChangePassword", "checktransaction"):
        message = ask(method, {"password": "new"})
        sheet.add(f"body: {method}", message, refused(-32601, data=method), sent=method)
    for what, params in {"no params": _LEFT_OUT, "params null": None, "params a list": [1]}.items():
        call = {"method": "CheckTransaction", "id": 7} | ({} if params is _LEFT_OUT else {"params": params})
        sheet.add(f"body: {what}", Message(exact.dumps(call), 7), refused(-32600, data="params"), sent=what)


def write_number(sheet: Sheet) -> None:
    """The number of a call comes back as it was, or null; one of a wrong type is refused."""
    for what, number in {"a large number": 2**60, "text": "seven", "null": None, "none": _LEFT_OUT}.items():
        call: dict[str, Any] = {"method": "CheckTransaction", "params": {"id": new_payme_id()}, "jsonrpc": "1.0"}
        call |= {} if number is _LEFT_OUT else {"id": number}
        message = Message(exact.dumps(call), None if number is _LEFT_OUT else number)
        sheet.add(f"number: {what}", message, refused(-31003), sent=f"CheckTransaction, id is {what}")
    for what, raw in {"a fraction": "7.5", "true": "true", "a list": "[7]", "an object": "{}"}.items():
        text = f'{{"method":"CheckTransaction","id":{raw},"params":{{"id":"x"}}}}'
        sheet.add(f"number: {what}", Message(text.encode()), refused(-32600), sent=f"CheckTransaction, id is {what}")
    body = exact.dumps({"method": "CheckTransaction", "id": 7, "params": {"id": new_payme_id()}})
    message = Message(body + b" " * (sheet.wish.most_bytes - len(body)), 7)
    sheet.add("number: the largest body", message, refused(-31003), sent="CheckTransaction, the largest body")


def write_address(sheet: Sheet) -> None:
    """The address with a slash at its end, and that of one merchant; a merchant whom nobody knows is no page that is missing."""
    house = sheet.endpoint.url.rstrip("/").endswith("/webhook")
    for behind, code, sent in (
        ("/", -31003, "a slash"),
        ("/1", -31003, "/1"),
        ("/1/", -31003, "/1/"),
        ("/nobody", -32504, "/nobody"),
    ):
        sheet.missing = "" if house or behind == "/" else "needs the address without a merchant"
        message = ask("CheckTransaction", {"id": new_payme_id()}, behind=behind)
        sheet.add(f"address: {sent}", message, refused(code), sent=f"CheckTransaction, {sent} at the end")
    sheet.missing = ""


def write_types(sheet: Sheet) -> None:
    """Every parameter missing and of a wrong type: -32600 with its name (SetFiscalData: -32602)."""
    good, wrong = _harmless(sheet), _wrong_values()
    for method, names in {
        "CheckPerformTransaction": ("amount", "account"),
        "CreateTransaction": ("id", "time", "amount", "account"),
        "PerformTransaction": ("id",),
        "CancelTransaction": ("id", "reason"),
        "CheckTransaction": ("id",),
        "GetStatement": ("from", "to"),
    }.items():
        for name in names:
            for what, value in wrong[name].items():
                params = {each: part for each, part in good[method].items() if each != name}
                params |= {} if value is _LEFT_OUT else {name: value}
                step = f"types: {method} {name} {what}"
                sheet.add(step, _raw(method, params), refused(-32600, data=name), sent=f"{method}, {name} {what}")
    fiscal = good["SetFiscalData"]
    for name, value in {"id": 7, "type": "REFUND", "fiscal_data": []}.items():
        message = ask("SetFiscalData", fiscal | {name: value})
        sheet.add(f"types: SetFiscalData {name}", message, refused(-32602, data=name), sent=f"SetFiscalData, {name} wrong")


def write_unknown(sheet: Sheet) -> None:
    """What nobody knows: transactions that were never created, orders that were never made, a period with nothing in it."""
    for method in ("PerformTransaction", "CancelTransaction", "CheckTransaction"):
        message = ask(method, {"id": new_payme_id(), "reason": 1})
        sheet.add(f"unknown: {method}", message, refused(-31003), sent=f"{method} of no transaction")
    fiscal = _harmless(sheet)["SetFiscalData"]
    sheet.add("unknown: SetFiscalData", ask("SetFiscalData", fiscal), refused(-32001), sent="SetFiscalData of no transaction")
    name = sheet.endpoint.account_field
    accounts: dict[str, dict[str, Any]] = {
        "an order of nobody": {name: str(uuid.uuid4())},
        "an empty account": {},
        "null": {name: None},
        "empty text": {name: ""},
        "blanks": {name: "   "},
        "a number": {name: 42},
        "a number of 30 digits": {name: 10**30},
        "true": {name: True},
        "an object": {name: {}},
        "65 characters": {name: "a" * 65},
        "a zero byte": {name: "a\x00b"},
        "no UUID": {name: "order-1'; --"},
        "another field": {f"{name}_x": str(uuid.uuid4())},
    }
    for what, account in accounts.items():
        for method in ("CheckPerformTransaction", "CreateTransaction"):
            message = ask(method, {"id": new_payme_id(), "time": sheet.began_ms, "amount": 100_000, "account": account})
            expect = refused(-31050, data=name)
            sheet.add(f"unknown: {method} {what}", message, expect, sent=f"{method}, {what}")
    for what, (begin, end) in {"an empty period": (1, 2), "a period backwards": (sheet.began_ms, 1)}.items():
        message = ask("GetStatement", {"from": begin, "to": end})
        sheet.add(f"unknown: {what}", message, nothing_listed(), sent=f"GetStatement, {what}")


def _harmless(sheet: Sheet) -> dict[str, dict[str, Any]]:
    """Well-formed parameters of every method that would change nothing anywhere."""
    nobody = {sheet.endpoint.account_field: str(uuid.uuid4())}
    payme_id = new_payme_id()
    return {
        "CheckPerformTransaction": {"amount": 100_000, "account": nobody},
        "CreateTransaction": {"id": payme_id, "time": sheet.began_ms, "amount": 100_000, "account": nobody},
        "PerformTransaction": {"id": payme_id},
        "CancelTransaction": {"id": payme_id, "reason": 5},
        "CheckTransaction": {"id": payme_id},
        "GetStatement": {"from": 1, "to": 2},
        "SetFiscalData": {"id": payme_id, "type": "PERFORM", "fiscal_data": {"receipt_id": 1, "status_code": 0}},
    }


def _not_json() -> dict[str, bytes]:
    start = b'{"method":"CheckTransaction","id":7,"params":{"id":'
    return {
        "no body": b"",
        "half an object": start,
        "NaN": start + b"NaN}}",
        "Infinity": start + b"Infinity}}",
        "a number of 5000 digits": start + b"9" * 5000 + b"}}",
        "lists in lists in lists": b"[" * _DEEP + b"]" * _DEEP,
        "no UTF-8": start + b'"\xff\xfe"}}',
        "a form": b"method=CheckTransaction&id=7",
    }


def _no_call(most_bytes: int) -> dict[str, bytes]:
    return {
        "a batch": b'[{"method":"CheckTransaction","id":7,"params":{"id":"x"}}]',
        "text": b'"CheckTransaction"',
        "a number": b"7",
        "null": b"null",
        "a body too large": b'{"method":"CheckTransaction","id":7,"params":{"id":"' + b"x" * most_bytes + b'"}}',
    }


class _Raw(str):
    """A value that stands in the body as it is written here."""

    __slots__ = ()


def _wrong_values() -> dict[str, dict[str, Any]]:
    none = {"missing": _LEFT_OUT, "null": None}
    number = none | {"as text": "1", "with a fraction": _Raw("500000.0"), "true": True}
    text = none | {"as a number": 7, "empty": "", "of 65 characters": "a" * 65, "not ASCII": "чек"}
    return {
        "amount": number | {"with an exponent": _Raw("5e5")},
        "account": none | {"as text": "1", "as a list": []},
        "id": text,
        "time": number | {"of 12 digits": 10**11, "of 14 digits": 10**13, "negative": -(10**12)},
        "reason": number,
        "from": number | {"negative": -1},
        "to": number | {"negative": -1},
    }


def _raw(method: str, params: Mapping[str, Any]) -> Message:
    """A call in which a number may be written as Python would not write it."""
    shown = ",".join(
        f"{exact.dumps(name).decode()}:{value if isinstance(value, _Raw) else exact.dumps(value).decode()}"
        for name, value in params.items()
    )
    return Message(f'{{"method":"{method}","id":7,"params":{{{shown}}}}}'.encode(), 7)
