"""Who may call: one login, one key, and nothing else (section 2.5)."""

from __future__ import annotations

import base64
import json

import pytest

from .booking import Booking
from .paycom import KEY, LOGIN, METHODS, PAYME_ID, Cashbox, a_tx, basic, create, fiscal, refused, result
from .texts import DENIED, NO_TRANSACTION


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


WRONG = {
    "no key": basic(LOGIN, ""),
    "no login": basic("", KEY),
    "another login": basic("Payme", KEY),
    "login in small letters": basic("paycom", KEY),
    "login with a space": basic("Paycom ", KEY),
    "the cashbox as login": basic(PAYME_ID, KEY),
    "another key": basic(LOGIN, "D3moKassaKey000000000000000000000036"),
    "key cut short": basic(LOGIN, KEY[:-1]),
    "key too long": basic(LOGIN, KEY + "0"),
    "key with a space": basic(LOGIN, KEY + " "),
    "key with a new line": basic(LOGIN, KEY + "\n"),
    "key in other letters": basic(LOGIN, KEY.swapcase()),
    "key not ASCII": "Basic " + b64("Paycom:ключ".encode()),
    "key not UTF-8": "Basic " + b64(b"Paycom:\xff\xfe"),
    "key with NUL": "Basic " + b64(f"Paycom:{KEY}\0".encode()),
    "no colon": "Basic " + b64(b"Paycom"),
    "the key after a second colon": basic(LOGIN, f":{KEY}"),
    "login and key swapped": basic(KEY, LOGIN),
    "broken base64": "Basic !!!",
    "base64 with a hole": "Basic " + b64(f"{LOGIN}:{KEY}".encode())[:8] + "*" + b64(f"{LOGIN}:{KEY}".encode())[8:],
    "no value": "Basic",
    "empty": "",
    "another scheme": "Bearer " + b64(f"{LOGIN}:{KEY}".encode()),
    "digest": 'Digest username="Paycom"',
    "the plain words": f"Basic {LOGIN}:{KEY}",
    "a long one": "Basic " + "A" * 6000,
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_credentials_are_denied_with_200_and_the_id(payme: Cashbox, name: str) -> None:
    refused(payme.send({"id": 77, "method": "CheckTransaction", "params": {"id": a_tx()}}, Authorization=WRONG[name]), DENIED)


def test_no_credentials_are_denied(payme: Cashbox) -> None:
    raw = json.dumps({"id": "as-it-was", "method": "CheckTransaction", "params": {"id": a_tx()}}).encode()
    answer = payme.client.post(payme.path, content=raw)
    refused(answer, DENIED)
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_denied_and_nothing_happens(booking: Booking, payme: Cashbox, method: str) -> None:
    purchase = booking.buy()
    tx, fresh = payme.created(purchase), a_tx()
    before = (payme.seen(tx), booking.books(purchase))
    calls = {
        "CheckPerformTransaction": {"amount": purchase.amount, "account": purchase.account},
        "CreateTransaction": {**create(purchase, fresh)[1], "time": payme.now()},
        "PerformTransaction": {"id": tx},
        "CancelTransaction": {"id": tx, "reason": 5},
        "CheckTransaction": {"id": tx},
        "GetStatement": {"from": 0, "to": payme.now()},
        "SetFiscalData": fiscal(tx)[1],
    }
    refused(payme.with_(key="wrong").ask(method, calls[method]), DENIED)
    assert (payme.seen(tx), booking.books(purchase)) == before
    refused(payme.check(fresh), NO_TRANSACTION)


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "bAsIc"])
def test_the_case_of_the_scheme_does_not_matter(payme: Cashbox, scheme: str) -> None:
    good = basic(LOGIN, KEY).removeprefix("Basic")
    refused(
        payme.send({"id": 1, "method": "CheckTransaction", "params": {"id": a_tx()}}, Authorization=scheme + good), NO_TRANSACTION
    )


def test_credentials_are_looked_at_before_the_body(payme: Cashbox) -> None:
    wrong = {"Authorization": basic(LOGIN, "wrong")}
    for raw in (b"", b"{", b"[]", b"[1]", b"NaN", b'"x"', b"\xff", b"1" * 5000, b"[" * 30000):
        refused(payme.post(raw, **wrong), DENIED, id=None)
    refused(payme.post(b'{"id": {"a": 1}, "method": 5}', **wrong), DENIED, id=None)
    refused(payme.post(b'{"id": true}', **wrong), DENIED, id=None)
    refused(payme.post(b'{"id": 1.5}', **wrong), DENIED, id=None)
    refused(payme.post(b'{"id": 12, "method": 5}', **wrong), DENIED, id=12)
    refused(payme.post(b"{}", **wrong), DENIED, id=None)
    refused(payme.post(b'{"method": "NoSuchMethod", "id": "x"}', **wrong), DENIED, id="x")


def test_a_token_of_a_buyer_opens_nothing_here(booking: Booking, payme: Cashbox) -> None:
    token = booking.server.token(7)
    refused(
        payme.send({"id": 1, "method": "GetStatement", "params": {"from": 0, "to": 1}}, Authorization=f"Bearer {token}"), DENIED
    )
    refused(payme.with_(key=token).check(a_tx()), DENIED)


def test_the_key_is_compared_as_it_is(payme: Cashbox) -> None:
    """It holds `%`, `&`, `?`, `@`, `#`, `$` and `=`, and nobody decodes them."""
    assert set("%&?@#$=") < set(KEY)
    assert result(payme.ask("GetStatement", {"from": 0, "to": 0})) == {"transactions": []}
    refused(payme.with_(key=KEY.replace("&", "&amp;")).check(a_tx()), DENIED)
