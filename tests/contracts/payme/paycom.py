"""What Payme's servers send to a cashbox's endpoint, and how its answers are read.

Nothing here knows how Kassa is made: only its address, the key of the cashbox and the Payme specification.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, TypeVar

import httpx2
from tests.rig import Server

from .texts import NO_ORDER, message

T = TypeVar("T")
Json = dict[str, Any]
Call = tuple[str, Json]

PATH: Final = "/payme/webhook"
PAYME_ID: Final = "65a1b2c3d4e5f60718293a4b"
KEY: Final = "x7%Kassa&Tests?Only@Key#36$Chars=000"
LOGIN: Final = "Paycom"
HALF_A_DAY: Final = 43_200_000
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # all is plain HTTP here; loading certificates takes time
METHODS: Final = (
    "CheckPerformTransaction",
    "CreateTransaction",
    "PerformTransaction",
    "CancelTransaction",
    "CheckTransaction",
    "GetStatement",
    "SetFiscalData",
)
UNKNOWN_ORDER: Final = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
_PARAMETERS: Final = {None, "method", "params", "id", "amount", "account", "time", "reason", "from", "to"}
_UNSAID: Final = object()
_numbers: Final = itertools.count(7001)


def basic(login: str, key: str) -> str:
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{login}:{key}".encode()).decode()


def a_tx() -> str:
    """A transaction id that Payme never gave before."""
    return secrets.token_hex(12)


@dataclass(frozen=True)
class Purchase:
    """A purchase that waits to be paid at Payme, as `POST /checkout` answered it."""

    purchase_id: str
    payment_id: str
    amount: int
    payment_url: str
    user: int
    cashbox: Cashbox

    @property
    def account(self) -> Json:
        """How Payme names it."""
        return {self.cashbox.account_field: self.purchase_id}


@dataclass(frozen=True)
class Cashbox:
    """Payme's side of one cashbox: where it calls, and with which login and key."""

    server: Server
    key: str = KEY
    login: str = LOGIN
    account_field: str = "order_id"
    path: str = PATH
    headers: Json = field(default_factory=dict)
    doors: tuple[str, ...] = ()
    _client: list[httpx2.Client] = field(default_factory=list)
    _ahead: list[float] = field(default_factory=list)

    def with_(self, **changes: Any) -> Cashbox:
        """The same, but for these."""
        return replace(self, **changes)

    @property
    def client(self) -> httpx2.Client:
        if not self._client:
            self._client.append(self.server.client(verify=NO_TLS))
        return self._client[0]

    def forget_clients(self) -> None:
        """After a restart: the server closes its clients when it stops."""
        self._client.clear()

    def now(self) -> int:
        """Kassa's time in milliseconds: the database's clock, not this machine's."""
        if not self._ahead:
            before = time.time()
            [row] = self.server.sql("SELECT extract(epoch FROM kassa_now())::float8 AS at")
            self._ahead.append(row["at"] - (before + time.time()) / 2)
        return int((time.time() + self._ahead[0]) * 1000)

    # Sending

    def post(self, raw: bytes, path: str | None = None, /, **headers: str) -> httpx2.Response:
        """POST these bytes with the cashbox's credentials, unless other headers are given."""
        sent = {
            "Authorization": basic(self.login, self.key),
            **self.headers,
            **{n.replace("_", "-"): v for n, v in headers.items()},
        }
        return self.client.post(path or self.path, content=raw, headers=sent)

    def send(self, body: Any, path: str | None = None, /, **headers: str) -> httpx2.Response:
        return self.post(json.dumps(body).encode(), path, **headers)

    def ask(self, method: str, params: Any) -> httpx2.Response:
        return self.send({"jsonrpc": "2.0", "id": next(_numbers), "method": method, "params": params})

    def check_perform(self, purchase: Purchase, **changes: Any) -> httpx2.Response:
        return self.ask(*check_perform(purchase, **changes))

    def create(self, purchase: Purchase, tx: str, **changes: Any) -> httpx2.Response:
        return self.ask(*create(purchase, tx, **{"time": self.now(), **changes}))

    def perform(self, tx: str) -> httpx2.Response:
        return self.ask("PerformTransaction", {"id": tx})

    def cancel(self, tx: str, reason: int = 3) -> httpx2.Response:
        return self.ask("CancelTransaction", {"id": tx, "reason": reason})

    def check(self, tx: str) -> httpx2.Response:
        return self.ask("CheckTransaction", {"id": tx})

    # Sending, and being content with the answer: every change is sent twice, and the second answer equals the first

    def allowed(self, purchase: Purchase) -> None:
        assert result(self.check_perform(purchase)) == {"allow": True}

    def created(self, purchase: Purchase, tx: str | None = None, **changes: Any) -> str:
        """Payme reserves the purchase; gives the id of its transaction."""
        tx = tx or a_tx()
        changes = {"time": self.now(), **changes}
        found = same(lambda: self.create(purchase, tx, **changes))
        assert set(found) == {"create_time", "transaction", "state"}
        assert found["state"] == 1
        assert UUID7.fullmatch(found["transaction"])
        assert is_time(found["create_time"])
        return tx

    def performed(self, tx: str) -> str:
        found = same(lambda: self.perform(tx))
        assert set(found) == {"transaction", "perform_time", "state"}
        assert found["state"] == 2
        assert is_time(found["perform_time"])
        return tx

    def cancelled(self, tx: str, reason: int = 3, state: int = -1) -> str:
        found = same(lambda: self.cancel(tx, reason))
        assert set(found) == {"transaction", "cancel_time", "state"}
        assert found["state"] == state
        assert is_time(found["cancel_time"])
        return tx

    def paid(self, purchase: Purchase, **changes: Any) -> str:
        return self.performed(self.created(purchase, **changes))

    def refunded(self, purchase: Purchase, reason: int = 5) -> str:
        return self.cancelled(self.paid(purchase), reason, -2)

    def seen(self, tx: str) -> Json:
        """CheckTransaction: always six fields, which fit the state (section 5.5)."""
        found = result(self.check(tx))
        fits_its_state(found)
        return found

    def state(self, tx: str) -> tuple[int, int | None]:
        """State and reason."""
        found = self.seen(tx)
        return found["state"], found["reason"]

    def statement(self, since: int, until: int) -> list[Json]:
        found = result(self.ask("GetStatement", {"from": since, "to": until}))
        assert set(found) == {"transactions"}
        rows: list[Json] = found["transactions"]
        return rows


# Requests


def check_perform(purchase: Purchase, **changes: Any) -> Call:
    return "CheckPerformTransaction", {"amount": purchase.amount, "account": purchase.account, **changes}


def create(purchase: Purchase, tx: str, **changes: Any) -> Call:
    return "CreateTransaction", {"id": tx, "amount": purchase.amount, "account": purchase.account, **changes}


def fiscal(tx: str, kind: str = "PERFORM", **changes: Any) -> Call:
    """The example of section 9.3, with a receipt id that tests can find again."""
    data = {
        "receipt_id": 48120,
        "status_code": 0,
        "message": "accepted",
        "terminal_id": "EP000000000777",
        "fiscal_sign": "770012345678",
        "qr_code_url": "https://ofd.example/check?r=48120",
        "date": "20260101050004",
    }
    return "SetFiscalData", {"id": tx, "type": kind, "fiscal_data": {**data, **changes}}


# Reading answers


def parsed(answer: httpx2.Response) -> Json:
    """The body of any answer: status 200 whatever happened, one JSON object in UTF-8, without NaN."""
    assert answer.status_code == 200, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"].lower().replace(" ", "") == "application/json;charset=utf-8"
    body: Json = json.loads(answer.content.decode(), parse_float=Decimal, parse_constant=_no_number)
    assert isinstance(body, dict)
    assert body["jsonrpc"] == "2.0"
    return body


def _no_number(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def sent_id(answer: httpx2.Response) -> Any:
    return json.loads(answer.request.content).get("id")


def result(answer: httpx2.Response) -> Json:
    """The result of a call that succeeded."""
    body = parsed(answer)
    assert set(body) == {"jsonrpc", "id", "result"}, body
    assert same_json(body["id"], sent_id(answer)), body["id"]
    found: Json = body["result"]
    return found


def refused(answer: httpx2.Response, code: int, data: Any = _UNSAID, /, **envelope: Any) -> None:
    """An error with this code and its three texts. `data` of an order is the account field; `id=` when it is not the one sent."""
    body = parsed(answer)
    assert set(body) == {"jsonrpc", "id", "error"}, body
    error = body["error"]
    assert set(error) == {"code", "message", "data"}, error
    assert (error["code"], type(error["code"])) == (code, int), error
    assert error["message"] == message(code)
    if data is not _UNSAID:
        assert error["data"] == data, error
    elif NO_ORDER - 49 <= code <= NO_ORDER:
        assert error["data"] == "order_id", error
    else:
        assert error["data"] in _PARAMETERS, error
    assert same_json(body["id"], envelope["id"] if envelope else sent_id(answer)), body["id"]


def same_json(one: object, other: object) -> bool:
    """Equal, and of the same JSON type (`1` is not `true`)."""
    return type(one) is type(other) and one == other


def same(ask: Callable[[], httpx2.Response]) -> Json:
    """Ask twice: the results are equal."""
    first, second = result(ask()), result(ask())
    assert first == second
    return first


def is_time(value: object) -> bool:
    return type(value) is int and len(str(value)) == 13


def fits_its_state(found: Json) -> None:
    """The table of section 5.5."""
    assert set(found) == {"create_time", "perform_time", "cancel_time", "transaction", "state", "reason"}, found
    assert UUID7.fullmatch(found["transaction"])
    assert is_time(found["create_time"])
    state = found["state"]
    assert type(state) is int
    assert state in {1, 2, -1, -2}
    for member, there in (("perform_time", state in {2, -2}), ("cancel_time", state < 0)):
        assert is_time(found[member]) if there else found[member] == 0, found
        assert type(found[member]) is int
        assert not there or found[member] >= found["create_time"]
    assert type(found["reason"]) is (int if state < 0 else type(None)), found


def until(question: Callable[[], T], within: float = 10.0, hope: str = "") -> T:
    """Ask until the answer is truthy, and fail with the hope if it never is."""
    end = time.monotonic() + within
    pause = 0.02
    while not (answer := question()):
        assert time.monotonic() < end, f"within {within} s: {hope}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return answer


# Many at once


def rush(cashbox: Cashbox, calls: Iterable[Call | tuple[float, str, Json]]) -> list[httpx2.Response]:
    """All these calls at the same time, by turns at each door, answered in their order. One with a number first waits so many seconds."""

    async def one(client: httpx2.AsyncClient, call: Call | tuple[float, str, Json], number: int) -> httpx2.Response:
        if len(call) == 3:
            await asyncio.sleep(call[0])
        method, params = call[-2:]
        door = cashbox.doors[number % len(cashbox.doors)] if cashbox.doors else ""
        return await client.post(door + cashbox.path, content=json.dumps({"id": number, "method": method, "params": params}))

    async def all_of_them() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
        headers = {"Authorization": basic(cashbox.login, cashbox.key), **cashbox.headers}
        async with cashbox.server.async_client(limits=limits, verify=NO_TLS, timeout=60, headers=headers) as client:
            return list(await asyncio.gather(*(one(client, call, number) for number, call in enumerate(calls))))

    return asyncio.run(all_of_them())


def code_of(answer: httpx2.Response) -> int:
    """0 for a success, else the error's code; the answer is looked at as a whole."""
    body = parsed(answer)
    if "result" in body:
        result(answer)
        return 0
    code: int = body["error"]["code"]
    refused(answer, code)
    return code
