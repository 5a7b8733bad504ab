"""What buyers do over HTTP and what Payme does over its webhook, and how their answers are read.

Nothing here knows how Kassa is made: only its address, its tokens, its public routes and the views of section 9.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
from tests import rig
from tests.rig import Server

from .ambassadors import Agency

Json = dict[str, Any]
T = TypeVar("T")

PAYME_ID = "650000000000000000000001"
PAYME_KEY = "D3moKassaKey000000000000000000000036"
PAYME = {"PAYME_ID": PAYME_ID, "PAYME_KEY": PAYME_KEY, "PAYME_IS_TEST_MODE": "true"}
SHARED = {"KASSA_SECRET": base64.b64encode(b"what all processes of a shop own").decode()}
DEMO_PRICES = {1: 5000000, 2: 7500000, 3: 10000000, 4: 2500000, 5: 15000000}
NOT_FOUND, AMOUNT, BUSY, PAID, CLOSED = -31050, -31001, -31051, -31052, -31053
IMPOSSIBLE = -31008

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
CART = {"id", "user_id", "items", "total", "invalid_ids", "created_at"}
ITEM = {"id", "ambassador_id", "price", "created_at"}
CHECKOUT = ["purchase_id", "payment_id", "amount", "payment_url"]
PURCHASE = {"id", "user_id", "ambassador_id", "price_paid", "created_at"}
_counter = itertools.count(1)


def anybody() -> int:
    """A user id that no other test uses."""
    return 10**9 + secrets.randbelow(10**14)


def a_key() -> str:
    return f"key-{secrets.token_hex(12)}"


def a_transaction() -> str:
    """An id as Payme gives it: 24 characters."""
    return secrets.token_hex(12)


def eventually(question: Callable[[], T], within: float = 4.0) -> T:
    """Ask until the answer is truthy; the last answer when time is over."""
    end = time.monotonic() + within
    while not (found := question()) and time.monotonic() < end:
        time.sleep(0.03)
    return found


# Reading answers


def good(response: httpx2.Response, status: int = 200) -> Json:
    """The body of a success."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["Content-Type"].startswith("application/json")
    body: Json = response.json()
    return body


def refusal(response: httpx2.Response, status: int, code: str, *more: str) -> Json:
    """The body of a refusal, after looking at its shape: `detail`, `code` and the members named here."""
    assert response.status_code == status, (response.status_code, response.text)
    body: Json = response.json()
    assert set(body) == {"detail", "code", *more}, body
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    assert body["code"] == code, body
    return body


def unavailable(response: httpx2.Response) -> None:
    """The refusal of a shop whose source of prices does not answer."""
    refusal(response, 503, "ambassadors_unavailable")
    assert re.fullmatch(r"[1-9]\d*", response.headers["Retry-After"])


def bad_field(response: httpx2.Response, field_name: str = "ambassador_id") -> None:
    """The refusal of a body whose member cannot be read."""
    body = refusal(response, 422, "invalid_body", "errors")
    assert [entry["field"] for entry in body["errors"]] == [field_name]
    for entry in body["errors"]:
        assert set(entry) == {"field", "message"}
        assert entry["message"].strip()


def link_of(url: str) -> tuple[str, list[str]]:
    """Host and key-value pairs of a Payme link."""
    host, slash, packed = url.rpartition("/")
    assert slash
    return host, base64.b64decode(packed, validate=True).decode().split(";")


# Acts of a buyer


@dataclass(frozen=True)
class Buyer:
    """Somebody with a token."""

    user: int | str
    token: str
    http: httpx2.Client = field(repr=False)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx2.Response:
        said = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return self.http.request(method, path, headers=said, **options)

    def put(self, ambassador: Any, **options: Any) -> httpx2.Response:
        return self.send("POST", "/cart/items", json={"ambassador_id": ambassador}, **options)

    def drop(self, ambassador: Any) -> httpx2.Response:
        return self.send("DELETE", "/cart/items", json={"ambassador_id": ambassador})

    def check_out(self, **options: Any) -> httpx2.Response:
        return self.send("POST", "/checkout", **options)

    def add(self, *ambassadors: int) -> list[Json]:
        """Put each into the cart; every one must be new there."""
        return [good(self.put(one), 201) for one in ambassadors]

    def cart(self) -> Json:
        return good(self.send("GET", "/cart"))

    def in_cart(self) -> list[int]:
        """Whom the cart shows, in its order."""
        return [item["ambassador_id"] for item in self.cart()["items"]]

    def buy(self, *ambassadors: int) -> Json:
        """Put them into the cart and check out: the purchase and its link."""
        self.add(*ambassadors)
        return good(self.check_out(), 201)

    def purchases(self, **query: Any) -> Json:
        return good(self.send("GET", "/purchases", params=query))

    def owns(self) -> list[int]:
        """Whom this buyer has bought, in ascending order."""
        return sorted(row["ambassador_id"] for row in self.purchases(limit=100)["purchases"])


# Acts of Payme


@dataclass(frozen=True)
class Cashbox:
    """Payme, as it calls this merchant's webhook."""

    http: httpx2.Client = field(repr=False)
    login: str = "Paycom"
    key: str = PAYME_KEY
    account: str = "order_id"
    clock: Callable[[], int] = lambda: int(time.time() * 1000)

    def call(self, method: str, **params: Any) -> Json:
        credentials = base64.b64encode(f"{self.login}:{self.key}".encode()).decode()
        body = {"method": method, "id": next(_counter), "params": params}
        response = self.http.post("/payme/webhook", json=body, headers={"Authorization": f"Basic {credentials}"})
        assert response.status_code == 200, response.text
        said: Json = response.json()
        assert said["id"] == body["id"]
        return said

    def result(self, method: str, **params: Any) -> Json:
        said = self.call(method, **params)
        assert "result" in said, said
        result: Json = said["result"]
        return result

    def error(self, method: str, **params: Any) -> int:
        said = self.call(method, **params)
        assert "error" in said, said
        code: int = said["error"]["code"]
        return code

    def order(self, purchase: Json) -> Json:
        return {"amount": purchase["amount"], "account": {self.account: purchase["purchase_id"]}}

    def allows(self, purchase: Json) -> bool:
        """Whether this purchase may be paid now."""
        return "result" in self.call("CheckPerformTransaction", **self.order(purchase))

    def why_not(self, purchase: Json) -> int:
        """The code with which this purchase may not be paid."""
        return self.error("CheckPerformTransaction", **self.order(purchase))

    def create(self, purchase: Json) -> str:
        """Hold a purchase; the id of the transaction."""
        transaction = a_transaction()
        result = self.result("CreateTransaction", id=transaction, time=self.clock(), **self.order(purchase))
        assert result["state"] == 1
        return transaction

    def perform(self, transaction: str) -> Json:
        result = self.result("PerformTransaction", id=transaction)
        assert result["state"] == 2
        return result

    def cancel(self, transaction: str, reason: int = 3) -> int:
        """Give up or give back; the state that follows."""
        state: int = self.result("CancelTransaction", id=transaction, reason=reason)["state"]
        return state

    def state(self, transaction: str) -> int:
        state: int = self.result("CheckTransaction", id=transaction)["state"]
        return state

    def pay(self, purchase: Json) -> str:
        """All the way; the id of the transaction."""
        transaction = self.create(purchase)
        self.perform(transaction)
        return transaction


# Places


@dataclass(frozen=True)
class Shop:
    """A running Kassa, its ambassadors service (None: its own catalog) and Payme."""

    server: Server
    http: httpx2.Client = field(repr=False)
    payme: Cashbox
    source: Agency | None = None
    sign: Callable[[int | str], str] | None = None

    @property
    def agency(self) -> Agency:
        assert self.source is not None
        return self.source

    def buyer(self, user: int | str | None = None, **claims: Any) -> Buyer:
        """A buyer whom nobody has seen before, unless told otherwise."""
        who = anybody() if user is None else user
        return Buyer(who, self.sign(who) if self.sign else self.server.token(who, **claims), self.http)

    def payment(self, purchase: Json) -> Json:
        """The row of a purchase in `purchases.payments`."""
        [row] = self.server.sql("SELECT * FROM purchases.payments WHERE purchase_id::text = $1", purchase["purchase_id"])
        return row

    def status(self, purchase: Json) -> str:
        """`pending`, `completed`, `failed` or `cancelled`."""
        status: str = self.payment(purchase)["status"]
        return status

    def is_over(self, purchase: Json) -> bool:
        """Whether an unpaid purchase is closed: its payment is cancelled and Payme learns of it."""
        return self.status(purchase) == "cancelled" and self.payme.why_not(purchase) == CLOSED

    def is_served(self) -> bool:
        """Whether its source of prices answers it."""
        return self.buyer().put(self.agency.hire(1)[0]).status_code == 201

    def later(self, seconds: float) -> None:
        """That much time passes."""
        self.server.sql("SELECT kassa_move_clock(make_interval(secs => $1))", float(seconds))

    def books_agree(self) -> None:
        """Every invariant holds, recomputed from the tables."""
        checked = subprocess.run(
            [sys.executable, "-m", "kassa", "verify"],
            env=self.server.environment,
            cwd=self.server.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def is_well(self) -> None:
        """It lives, and nothing that it printed looks like a crash."""
        assert self.server.alive()
        assert "Traceback" not in self.server.log_text()


@contextmanager
def open_shop(server: Server, source: Agency | None = None, **cashbox: Any) -> Iterator[Shop]:
    """Doors to a running Kassa, closed at the end of the block."""
    with httpx2.Client(base_url=server.url, timeout=30, trust_env=False, verify=False) as http:
        yield Shop(server, http, Cashbox(http, **cashbox), source)


def kassas_clock(server: Server) -> Callable[[], int]:
    """Payme's clock in a place where time is moved: milliseconds."""

    def now() -> int:
        ms: int = server.sql("SELECT (extract(epoch FROM kassa_now()) * 1000)::bigint AS ms")[0]["ms"]
        return ms

    return now


def at_once(buyer: Buyer, times: int, method: str, path: str, **options: Any) -> list[httpx2.Response]:
    """The same request, so many times at the same moment, each over a connection of its own."""

    async def rush() -> list[httpx2.Response]:
        headers = {"Authorization": f"Bearer {buyer.token}", **options.pop("headers", {})}
        limits = httpx2.Limits(max_connections=times)
        url = str(buyer.http.base_url)
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits, trust_env=False) as client:
            return list(await asyncio.gather(*(client.request(method, path, **options) for _ in range(times))))

    return rig.run_alone(rush)


def fill(buyer: Buyer, ambassadors: list[int]) -> list[httpx2.Response]:
    """Put many into the cart, a few at a time."""

    async def post() -> list[httpx2.Response]:
        headers = {"Authorization": f"Bearer {buyer.token}"}
        limits = httpx2.Limits(max_connections=4)
        url = str(buyer.http.base_url)
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits, trust_env=False) as client:
            asks = (client.post("/cart/items", json={"ambassador_id": one}) for one in ambassadors)
            return list(await asyncio.gather(*asks))

    return rig.run_alone(post)


def events_of(shop: Shop, *subjects: str) -> list[Json]:
    """What merchant 1 reads of these subjects, oldest first."""
    response = shop.http.get("/api/v1/events", params={"subject": list(subjects), "limit": 500}, headers={"X-Api-Key": "sk_demo_1"})
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


def told_of(shop: Shop, purchase: Json) -> list[str]:
    """The types of all events of a purchase's order and payment, oldest first."""
    subjects = f"order:{purchase['purchase_id']}", f"payment:{purchase['payment_id']}"
    return [event["type"] for event in events_of(shop, *subjects)]
