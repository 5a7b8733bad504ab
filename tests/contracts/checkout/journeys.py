"""What a buyer does at `/checkout/process`, and how a test looks at what became of it.

Only the public contract is used here: addresses, bodies, headers. `Shop` is the part of a running Kassa that these
stories need; the fixtures of `tests/conftest.py` hand one out.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import itertools
import json
import re
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final, Protocol, TypeVar

import httpx2

T = TypeVar("T")
Json = dict[str, Any]

VISA: Final = "4111111111111111"
DECLINED_CARD: Final = "4111111111110002"
FINAL: Final = frozenset({"completed", "failed", "parked"})
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # all is plain HTTP here; loading certificates takes 20 ms a client
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

_numbers = itertools.count(1)
_run: Final = uuid.uuid4().hex[:10]


class Shop(Protocol):
    """A running Kassa, as these stories see it."""

    @property
    def url(self) -> str: ...
    @property
    def dsn(self) -> str: ...
    @property
    def secret(self) -> str: ...
    def token(self, user: Any = 1, role: str | None = None, **claims: Any) -> str: ...


# What a buyer sends


def somebody() -> str:
    """An e-mail address that nobody used before."""
    return f"buyer-{_run}-{next(_numbers)}@example.com"


def someone_signed_in() -> int:
    """A user id that nobody used before."""
    return 1_000_000_000 + uuid.uuid4().int % 8_000_000_000


def a_key() -> str:
    return f"form-{uuid.uuid4().hex}"


def line(product_id: str, quantity: int = 1, price: float | None = None) -> Json:
    found: Json = {"product_id": product_id, "quantity": quantity}
    if price is not None:
        found["price"] = price
    return found


MICE_AND_KEYBOARD: Final = (line("prod_001", 2, 99.90), line("prod_002", 1, 149.90))
ADDRESS: Final[Mapping[str, str]] = {
    "street": "Rua das Flores",
    "number": "123",
    "city": "São Paulo",
    "state": "SP",
    "zip_code": "01234-567",
}


def order_form(
    *items: Json,
    email: str | None = None,
    card: str = VISA,
    cvv: str = "123",
    expiry: str = "12/25",
    kind: str = "credit_card",
    address: Mapping[str, Any] = ADDRESS,
) -> Json:
    """The example of the contract, with what a test wants to be different."""
    return {
        "payment_method": {"type": kind, "card_number": card, "card_expiry": expiry, "card_cvv": cvv},
        "customer_email": somebody() if email is None else email,
        "shipping_address": dict(address),
        "items": copy.deepcopy(list(items or MICE_AND_KEYBOARD)),
    }


def changed(form: Json, path: str, value: Any) -> Json:
    """The form with one member set; `path` is dotted, numbers are places in a list."""
    other: Json = copy.deepcopy(form)
    *way, last = path.split(".")
    place: Any = other
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = value
    return other


def without(form: Json, path: str) -> Json:
    """The form with one member left out."""
    other: Json = copy.deepcopy(form)
    *way, last = path.split(".")
    place: Any = other
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    del place[last]
    return other


# How a buyer talks to the shop


def visitor(shop: Shop, token: str | None = None) -> httpx2.Client:
    """A guest's browser, or a buyer's when a token is given. Follows nothing, waits up to half a minute."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=shop.url, headers=headers, timeout=30.0, trust_env=False, verify=NO_TLS)


def crowd(shop: Shop) -> httpx2.AsyncClient:
    """One asynchronous client, wide enough for a rush."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(base_url=shop.url, timeout=60.0, trust_env=False, limits=limits, verify=NO_TLS)


def buy(
    client: httpx2.Client,
    form: Json | bytes,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """POST /checkout/process."""
    sent = dict(headers or {})
    if key is not None:
        sent["Idempotency-Key"] = key
    body = form if isinstance(form, bytes) else json.dumps(form).encode()
    return client.post("/checkout/process", content=body, headers={"Content-Type": "application/json", **sent})


def look(client: httpx2.Client, checkout_id: str) -> Json:
    """GET /checkout/{id}, which must be there."""
    answer = client.get(f"/checkout/{checkout_id}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def until(found: Callable[[], T | None], within: float, hope: str) -> T:
    """Ask again and again until there is something, and say what was hoped for if there never is."""
    end = time.monotonic() + within
    pause = 0.05
    while True:
        thing = found()
        if thing:
            return thing
        if time.monotonic() > end:
            raise AssertionError(f"within {within} s: {hope}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def the_end(client: httpx2.Client, checkout_id: str, within: float = 20.0) -> Json:
    """The checkout as it reads once nothing moves any more."""

    def ended() -> Json | None:
        seen = look(client, checkout_id)
        return seen if seen["status"] in FINAL else None

    return until(ended, within, f"checkout {checkout_id} comes to an end")


def id_of(answer: httpx2.Response) -> str:
    """The checkout that an answer speaks of, whichever shape it has."""
    body = answer.json()
    found: str = body["checkout_id"] if "checkout_id" in body else body["detail"]["checkout_id"]
    return found


def steps(seen: Json) -> dict[str, str]:
    """Step to status, in the order in which they were begun."""
    return {each["step"]: each["status"] for each in seen["steps"]}


def orders_of(shop: Shop, token: str) -> list[Json]:
    """A buyer's own orders, as the orders contract lists them."""
    with visitor(shop, token) as client:
        answer = client.get("/api/orders", params={"limit": 100})
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["data"]["orders"]
    return found


def stock_of(shop: Shop, product_id: str) -> int:
    """What can be bought now of a product."""
    with visitor(shop) as client:
        answer = client.get(f"/api/products/{product_id}")
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["data"]["stock"]
    return found


# How an answer is read


def exact(answer: httpx2.Response) -> Json:
    """The answer's JSON with every number as it was written."""
    found: Json = json.loads(answer.content, parse_float=Decimal, parse_int=Decimal)
    return found


def written(answer: httpx2.Response, member: str) -> list[str]:
    """The very characters after a member's name, for numbers."""
    return re.findall(rf'"{member}"\s*:\s*([^,}}\]\s]+)', answer.text)


def refusal(answer: httpx2.Response, error: str, code: str | None = None) -> Json:
    """A 422 with a checkout behind it; answers what stands in `detail`."""
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert set(body) == {"detail"}, body
    detail: Json = body["detail"]
    assert isinstance(detail, dict), body
    assert set(detail) - {"items"} == {"checkout_id", "error", "message", "code"}, detail
    assert UUID7.fullmatch(detail["checkout_id"]), detail
    assert detail["error"] == error, detail
    assert code is None or detail["code"] == code, detail
    assert isinstance(detail["message"], str), detail
    assert 0 < len(detail["message"]) <= 300, detail
    return detail


def problem(answer: httpx2.Response, status: int, error: str | None = None) -> Json:
    """Every other error: the same shape, and no checkout."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"detail"}, body
    detail: Json = body["detail"]
    assert isinstance(detail, dict), body
    assert set(detail) == {"checkout_id", "error", "message", "code"}, detail
    assert detail["checkout_id"] is None, detail
    assert error is None or detail["error"] == error, detail
    assert isinstance(detail["message"], str), detail
    assert detail["message"], detail
    assert isinstance(detail["code"], str), detail
    assert detail["code"], detail
    return detail


def malformed(answer: httpx2.Response) -> list[Json]:
    """The list of what is wrong with a request: place, sentence, kind, and never what was sent."""
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert set(body) == {"detail"}, body
    assert isinstance(body["detail"], list), body
    assert body["detail"], body
    for entry in body["detail"]:
        assert set(entry) == {"loc", "msg", "type"}, entry
        assert isinstance(entry["loc"], list), entry
        assert entry["loc"][0] == "body", entry
        assert all(isinstance(part, str) or type(part) is int for part in entry["loc"]), entry
        assert isinstance(entry["msg"], str), entry
        assert entry["msg"], entry
        assert isinstance(entry["type"], str), entry
        assert entry["type"], entry
    found: list[Json] = body["detail"]
    return found


# Tokens that the fixtures would rather not make


def forged(secret: str, claims: Json, header: Json | None = None) -> str:
    """A compact JWT with any header and any claims, signed with HMAC-SHA256."""

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = part(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps(claims).encode())
    signature = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{part(signature)}"


# Many at once


def at_once(stories: Iterable[Callable[[], T]]) -> list[T]:
    """Run every story in a thread of its own, and wait for all of them."""
    wanted = list(stories)
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return [each.result() for each in [pool.submit(story) for story in wanted]]
