"""One endpoint, always 200, and an envelope that is the same everywhere (sections 2.1 to 2.4)."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from .booking import Booking
from .paycom import PATH, UNKNOWN_ORDER, Cashbox, a_tx, basic, check_perform, parsed, refused, result, same_json
from .texts import DENIED, NO_METHOD, NO_ORDER, NO_TRANSACTION, NOT_POST

PATHS = [PATH, f"{PATH}/", f"{PATH}/1", f"{PATH}/1/"]
QUESTION = {"method": "CheckTransaction", "params": {"id": "0" * 24}}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_another_verb_is_refused_with_200(payme: Cashbox, path: str, verb: str) -> None:
    body = json.dumps({"id": 5, **QUESTION}).encode()
    for headers in ({}, {"Authorization": "Basic x"}, {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}):
        answer = payme.client.request(verb, path, content=body, headers=headers)
        refused(answer, NOT_POST, id=None)


@pytest.mark.parametrize("path", PATHS)
def test_head_is_200_too(payme: Cashbox, path: str) -> None:
    answer = payme.client.head(path)
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_the_house_merchant_is_the_same_cashbox(booking: Booking, payme: Cashbox, path: str) -> None:
    purchase = booking.buy()
    there = payme.with_(path=path)
    there.allowed(purchase)
    tx = there.paid(purchase)
    assert payme.seen(tx) == there.seen(tx)


@pytest.mark.parametrize("merchant", ["2", "999999", "nobody", "01", "1%20", "%00", "%D0%B6", "%FF", "1'--", "x" * 300, "PAYME"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_an_unknown_merchant_is_denied_and_never_a_404(payme: Cashbox, merchant: str, slash: str) -> None:
    refused(payme.send({"id": 5, **QUESTION}, f"{PATH}/{merchant}{slash}"), DENIED)


def test_a_query_string_changes_nothing(payme: Cashbox) -> None:
    refused(payme.send({"id": 5, **QUESTION}, f"{PATH}?merchant_id=2&id=7"), NO_TRANSACTION)


@pytest.mark.parametrize(
    "kind",
    [
        "text/json; charset=UTF-8",
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "x",
    ],
)
def test_the_content_type_of_a_request_is_ignored(payme: Cashbox, kind: str) -> None:
    refused(payme.send({"id": 5, **QUESTION}, Content_Type=kind), NO_TRANSACTION)


def test_a_request_without_a_content_type_or_with_an_odd_charset_is_read_as_utf_8(booking: Booking, payme: Cashbox) -> None:
    method, params = check_perform(booking.buy())
    params["account"]["город"] = "Тошкент"
    raw = json.dumps({"id": "ё", "method": method, "params": params}, ensure_ascii=False).encode()
    for kind in ("application/json; charset=latin-1", "text/json; charset=nonsense"):
        assert result(payme.post(raw, Content_Type=kind)) == {"allow": True}
    request = payme.client.build_request("POST", PATH, content=raw, headers={"Authorization": basic(payme.login, payme.key)})
    request.headers.pop("content-type", None)
    assert result(payme.client.send(request)) == {"allow": True}


def test_a_connection_is_kept_alive(payme: Cashbox) -> None:
    raw = json.dumps({"id": 1, **QUESTION}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(payme.login, payme.key)}\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
    parts = urlsplit(payme.server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as line:
        for _ in range(3):
            line.sendall(head + raw)
            got = line.recv(65536)
            while b"-31003" not in got and (more := line.recv(65536)):
                got += more
            assert got.startswith(b"HTTP/1.1 200")
            assert b"-31003" in got


@pytest.mark.parametrize(
    "number", [0, 1, -1, 7001, 2**63, -(10**30), 10**30, "", "7001", "a b", "ключ", "\ud800", "x" * 1000, None]
)
def test_the_id_comes_back_as_it_was(payme: Cashbox, number: Any) -> None:
    refused(payme.send({"id": number, **QUESTION}), NO_TRANSACTION)
    success = parsed(payme.send({"id": number, "method": "GetStatement", "params": {"from": 0, "to": 0}}))
    assert success["result"] == {"transactions": []}
    assert same_json(success["id"], number)


def test_a_request_without_an_id_is_answered_with_null(payme: Cashbox) -> None:
    refused(payme.send(QUESTION), NO_TRANSACTION, id=None)
    assert parsed(payme.send({"method": "GetStatement", "params": {"from": 0, "to": 0}})) == {
        "jsonrpc": "2.0",
        "id": None,
        "result": {"transactions": []},
    }


@pytest.mark.parametrize("version", ["2.0", "1.0", "", 2, 2.0, None, True, [], {}])
def test_the_version_is_never_required_and_never_checked(payme: Cashbox, version: Any) -> None:
    refused(payme.send({"jsonrpc": version, "id": 5, **QUESTION}), NO_TRANSACTION)


def test_members_that_nobody_knows_are_ignored(booking: Booking, payme: Cashbox) -> None:
    method, params = check_perform(booking.buy())
    body = {
        "id": 5,
        "method": method,
        "params": {**params, "id": 9, "x": [None], "jsonrpc": 1},
        "auth": {},
        "error": 1,
        "result": 2,
    }
    assert result(payme.send(body)) == {"allow": True}


@pytest.mark.parametrize(
    ("method", "params", "code", "data"),
    [
        ("CheckPerformTransaction", {"amount": 1, "account": {"order_id": UNKNOWN_ORDER}}, NO_ORDER, "order_id"),
        ("PerformTransaction", {"id": "0" * 24}, NO_TRANSACTION, None),
        ("NoSuchMethod", {}, NO_METHOD, "NoSuchMethod"),
        ("\ud800é\u0000'\"<b>", {}, NO_METHOD, "\ud800é\u0000'\"<b>"),
        (" PerformTransaction", {"id": "0" * 24}, NO_METHOD, " PerformTransaction"),
        ("performtransaction", {"id": "0" * 24}, NO_METHOD, "performtransaction"),
        ("ChangePassword", {"password": "what-payme-wants"}, NO_METHOD, "ChangePassword"),
        ("x" * 5000, {}, NO_METHOD, "x" * 5000),
    ],
)
def test_an_error_names_what_it_is_about(payme: Cashbox, method: str, params: Any, code: int, data: str | None) -> None:
    answer = payme.ask(method, params)
    if code == NO_TRANSACTION:
        refused(answer, code)
    else:
        refused(answer, code, data)


def test_a_key_is_never_changed_by_a_call(booking: Booking, payme: Cashbox) -> None:
    refused(payme.ask("ChangePassword", {"password": "another-key"}), NO_METHOD, "ChangePassword")
    refused(payme.with_(key="another-key").check(a_tx()), DENIED)
    payme.allowed(booking.buy())
    assert "another-key" not in payme.server.log_text()
