"""A running Kassa with two sides in it, and everything that each of them has: what one must never see of the other.

Every text that a side may write somewhere holds its canary, and every id that it was given is remembered, so that a leak is found
by looking for both in whatever the other one is told.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2
from tests.contracts.payme.booking import kassa
from tests.contracts.payments.till import NO_TLS, signature
from tests.contracts.purchases.journeys import PAYME, PAYME_KEY, SHARED
from tests.rig import Server

from .documents import Operation, Place

NOWHERE: Final = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
"""An id that nobody has."""
BUYERS, MERCHANTS, PAYME_DOOR, PROVIDERS = "buyers", "merchants", "payme", "providers"
SETTINGS: Final = {**PAYME, **SHARED, "PROVIDER_WEBHOOK_SECRET": "what-only-the-provider-and-tests-know"}
ADDRESS: Final = {"street": "", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "IN"}


def key_of(operation: Operation | str) -> str:
    """The idempotency key under which the owner writes at this operation; whoever guesses it must gain nothing."""
    return "owner-" + re.sub(r"[^A-Za-z0-9]+", "-", str(operation))


@dataclass
class Side:
    """A buyer and a merchant who belong together, by name."""

    name: str
    user: int
    merchant_id: str
    api_key: str
    payme_key: str
    canary: str = field(default_factory=lambda: f"canary{secrets.token_hex(8)}")
    ids: dict[Place, str] = field(default_factory=dict)
    """What names a thing of this side, by where it stands in a request."""
    more: dict[str, str] = field(default_factory=dict)
    """Other ids and secrets that were told to this side alone."""

    def secret_words(self) -> set[str]:
        """Texts that nobody else may be told. Short numbers are no secret."""
        return {self.canary, str(self.user)} | {each for each in {*self.ids.values(), *self.more.values()} if len(each) > 12}


@dataclass
class Town:
    """The server, and who is in it."""

    server: Server
    sink: str
    owner: Side
    stranger: Side
    patient: bool = True
    """Whether what merchants are told is waited for."""
    revoked: str = ""
    reading: str = ""
    http: httpx2.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = self.server.client(verify=NO_TLS)

    def token(self, side: Side, **claims: Any) -> str:
        return self.server.token(side.user, **claims)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx2.Response:
        return self.http.request(method, path, headers=headers or {}, **options)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"Paycom:{key}".encode()).decode()}


def good(answer: httpx2.Response) -> Any:
    assert answer.is_success, (answer.request.method, str(answer.request.url), answer.status_code, answer.text)
    return answer.json() if answer.content else None


@contextmanager
def a_sink() -> Iterator[str]:
    """A merchant's server that takes everything; gives its address."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()


def found_by(town: Town, side: Side) -> Side:
    """Give a side everything that the API can name. What it writes once it writes under the keys of `key_of`."""
    _as_a_buyer(town, side)
    _as_a_guest_and_at_the_till(town, side)
    _as_a_merchant(town, side)
    _at_payme(town, side)
    return side


def _as_a_buyer(town: Town, side: Side) -> None:
    me = bearer(town.token(side))

    def write(operation: str, path: str, **options: Any) -> Any:
        return good(town.ask(operation.split(maxsplit=1)[0], path, {**me, "Idempotency-Key": key_of(operation)}, **options))

    for number in (1, 2):
        address = {**ADDRESS, "street": f"{side.canary} Road {number}", "landmark": side.canary}
        good(town.ask("POST", "/api/cart/items", me, json={"productId": "prod_004", "quantity": 1}))
        order = {"shippingAddress": address, "paymentMethod": "link:stripe", "paymentDetails": None}
        placed = write("POST /api/orders", "/api/orders", json=order) if number == 1 else None
        if placed is not None:
            data = placed["data"]
            found = data.get("order", data)
            side.ids["path", "order_id"] = found["id"]
            side.more["order number"] = found["orderNumber"]
    staff = bearer(town.server.token(1, "staff"))
    moved = {"status": "pending", "trackingNumber": f"{side.canary}-T", "carrier": f"{side.canary} Mail", "note": side.canary}
    town.ask("PUT", f"/api/orders/{side.ids['path', 'order_id']}/status", staff, json=moved)
    write("POST /api/cart/items", "/api/cart/items", json={"productId": "prod_007", "quantity": 3})
    cart = good(town.ask("GET", "/api/cart", me))["data"]
    side.ids["path", "item_id"] = cart.get("cart", cart)["items"][-1]["id"]
    write("POST /cart/items", "/cart/items", json={"ambassador_id": 3})
    bought = write("POST /checkout", "/checkout")
    side.more |= {"purchase": bought["purchase_id"], "purchase payment": bought["payment_id"]}
    transaction = secrets.token_hex(12)
    _at_cashbox(town, "/payme/webhook", PAYME_KEY, transaction, bought["amount"], bought["purchase_id"])
    performed = {"method": "PerformTransaction", "id": 1, "params": {"id": transaction}}
    assert "result" in good(town.ask("POST", "/payme/webhook", basic(PAYME_KEY), json=performed))
    good(town.ask("POST", "/cart/items", me, json={"ambassador_id": 5}))


def _as_a_guest_and_at_the_till(town: Town, side: Side) -> None:
    form = {
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
        "customer_email": f"{side.canary}@example.com",
        "shipping_address": {"street": side.canary, "number": "1", "city": "X", "state": "Y", "zip_code": "1"},
        "items": [{"product_id": "prod_011", "quantity": 1}],
    }
    headers = {**bearer(town.token(side)), "Idempotency-Key": key_of("POST /checkout/process")}
    done = good(town.ask("POST", "/checkout/process", headers, json=form))
    side.ids["path", "checkout_id"] = done["checkout_id"]
    side.more["checkout order"] = str(done["order_id"])


def _as_a_merchant(town: Town, side: Side) -> None:
    mine = {"X-Api-Key": side.api_key}

    def write(operation: str, **options: Any) -> Any:
        path = operation.split()[1].format(**{name: value for (where, name), value in side.ids.items() if where == "path"})
        return good(town.ask(operation.split(maxsplit=1)[0], path, {**mine, "Idempotency-Key": key_of(operation)}, **options))

    ids = side.ids
    endpoint = {"url": f"{town.sink}/{side.canary}", "events": ["*"], "description": side.canary}
    made = write("POST /api/v1/webhook-endpoints", json=endpoint)
    ids["path", "endpoint_id"], side.more["endpoint secret"] = made["endpoint_id"], made["secret"]
    wish = {"order_id": f"{side.canary}-A", "amount": 2, "price": "349.70", "alias": "stripe", "event_id": f"{side.canary}-event"}
    ids["path", "payment_id"] = ids["body", "payment_id"] = write("POST /api/v1/payments", json=wish)["payment_id"]
    ids["query", "order_id"] = ids["body", "order_id"] = f"{side.canary}-A"
    raw = json.dumps({"payment_id": ids["path", "payment_id"], "status": "finished"}).encode()
    report = {"X-Internal-Signature": signature(town.server.webhook_secret, raw)}
    good(town.ask("POST", "/api/v1/payments/webhook", report, content=raw))
    ids["query", "subject"] = f"payment:{ids['path', 'payment_id']}"
    refund = write("POST /api/v1/payments/{payment_id}/refunds", json={"amount": "1.00", "reason": side.canary})
    ids["body", "refund_id"] = refund["refund_id"]
    key = write("POST /api/v1/api-keys", json={"name": side.canary, "scopes": ["payments:read"]})
    ids["path", "key_id"], side.more["key"] = key["key_id"], key["key"]
    write("POST /api/v1/webhook-endpoints/{endpoint_id}/test")
    good(town.ask("POST", "/api/v1/payments", mine, json={**wish, "order_id": f"{side.canary}-B"}))
    ids["query", "payments cursor"] = good(town.ask("GET", "/api/v1/payments?limit=1&cursor=", mine))["next_cursor"]
    _as_a_subscriber(town, side, mine)


def _as_a_subscriber(town: Town, side: Side, mine: dict[str, str]) -> None:
    """Wait until its endpoint was told everything, so that later looks find no other."""
    place = f"/api/v1/webhook-endpoints/{side.ids['path', 'endpoint_id']}/deliveries"
    until = time.monotonic() + 30
    while True:
        listed = good(town.ask("GET", f"{place}?limit=100", mine))["items"]
        if len(listed) >= 4 and (not town.patient or all(each["status"] == "success" for each in listed)):
            break
        assert time.monotonic() < until, listed
        time.sleep(0.1)
    side.ids["path", "delivery_id"] = listed[0]["delivery_id"]
    side.ids["query", "deliveries cursor"] = good(town.ask("GET", f"{place}?limit=1", mine))["next_cursor"]
    side.ids["query", "events after"] = good(town.ask("GET", "/api/v1/events?limit=1", mine))["next_after"]


def _at_payme(town: Town, side: Side) -> None:
    """A payment that Payme holds, in the cashbox of this side."""
    mine = {"X-Api-Key": side.api_key}
    wish = {"order_id": f"{side.canary}-P", "amount": 1, "price": "1000", "alias": "payme"}
    payment_id = good(town.ask("POST", "/api/v1/payments", mine, json=wish))["payment_id"]
    transaction = secrets.token_hex(12)
    _at_cashbox(town, f"/payme/webhook/{side.merchant_id}", side.payme_key, transaction, 100_000, payment_id)
    side.more |= {"payme payment": payment_id, "payme transaction": transaction}
    side.ids["path", "merchant_id"] = side.merchant_id


def _at_cashbox(town: Town, path: str, key: str, transaction: str, amount: int, order_id: str) -> None:
    """Payme begins to pay."""
    params = {"id": transaction, "time": int(time.time() * 1000), "amount": amount, "account": {"order_id": order_id}}
    said = good(town.ask("POST", path, basic(key), json={"method": "CreateTransaction", "id": 1, "params": params}))
    assert "result" in said, said


def a_merchant(server: Server, name: str) -> tuple[str, str, str]:
    """Number, API key and Payme key of a new merchant with a cashbox of its own."""
    number, payme_key = str(10**6 + secrets.randbelow(10**8)), f"key:{secrets.token_hex(16)}"
    words = ("--name", name, "--email", f"{name}@example.com", "--currency", "UZS", "--plan", "1", "--key", "--json")
    made = kassa(server, "merchants", "add", number, *words)
    [api_key] = re.findall(r"sk_[A-Za-z0-9_-]{43}", made)
    said = f"{payme_key}\n"
    kassa(
        server, "merchants", "payme", "set", number, "--id", secrets.token_hex(12), "--key-file", "-", "--test", "--json", said=said
    )
    return number, api_key, payme_key


def build(server: Server, sink: str, *, patient: bool = True) -> Town:
    """Both sides, each with all that it can have, and keys that open nothing any more, or little. `patient`: merchants were told."""
    with ThreadPoolExecutor(2) as hands:
        made = hands.map(
            lambda name: Side(name, 10**12 + secrets.randbelow(10**14), *a_merchant(server, name)), ("owner", "stranger")
        )
        owner, stranger = made
    town = Town(server, sink, owner, stranger, patient)
    found_by(town, owner)
    found_by(town, stranger)
    for scopes in (["payments:read"], ["merchant:read"]):
        body = {"name": "for one thing", "scopes": scopes}
        made = good(town.ask("POST", "/api/v1/api-keys", {"X-Api-Key": owner.api_key}, json=body))
        if scopes == ["payments:read"]:
            good(town.ask("DELETE", f"/api/v1/api-keys/{made['key_id']}", {"X-Api-Key": owner.api_key}))
            town.revoked = made["key"]
        else:
            town.reading = made["key"]
    return town


def surface_of(operation: Operation) -> str:
    """Who is expected at an operation, by the credentials that its document names."""
    if operation.schemes & {"apiKey", "merchant"}:
        return MERCHANTS
    if "basic" in operation.schemes:
        return PAYME_DOOR
    if "bearer" in operation.schemes:
        return BUYERS
    return PROVIDERS if operation.method == "POST" else ""
