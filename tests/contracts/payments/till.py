"""What a merchant's server does at `/api/v1/payments`, and how its answers are read.

Nothing here knows how Kassa is made: only its address, the demo merchants' keys and its public routes.
"""

from __future__ import annotations

import asyncio
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
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeVar

import httpx2
from tests.rig import Server

from .provider import Provider

T = TypeVar("T")
Json = dict[str, Any]
Headers = Mapping[str, str]

BASE: Final = "/api/v1/payments"
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NOWHERE: Final = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # all is plain HTTP here; loading certificates takes time
STATUS_NAMES: Final = {1: "PAYMENT_PENDING", 2: "PAYMENT_FINISHED", 3: "PAYMENT_FAILED", 6: "PAYMENT_REFUNDED"}
ITEM: Final = frozenset(
    {"payment_id", "order_id", "provider", "amount", "price", "currency", "status", "status_name", "created_at"},
)
SHOWN: Final = ITEM | {
    *("merchant_id", "payment_url", "captured", "refunded", "refundable", "reason", "event_id", "updated_at"),
}
REFUND: Final = frozenset({"refund_id", "payment_id", "amount", "currency", "reason", "lines", "status", "created_at"})
NOT_FOUND: Final = {"detail": "Payment not found", "code": "payment_not_found"}

_numbers = itertools.count(1)
_run: Final = uuid.uuid4().hex[:8]


@dataclass
class Mall:
    """A running Kassa, the provider that it was given (if any), and its merchants."""

    server: Server
    street: Provider | None = None
    _known: dict[str, httpx2.Client] = field(default_factory=dict)

    @property
    def provider(self) -> Provider:
        assert self.street is not None, "this Kassa uses its own sandbox"
        return self.street

    def merchant(self, number: int = 1) -> httpx2.Client:
        """The server of a demo merchant, with its API key."""
        return self.with_headers(X_Api_Key=f"sk_demo_{number}")

    def with_key(self, key: str) -> httpx2.Client:
        return self.with_headers(X_Api_Key=key)

    def nobody(self) -> httpx2.Client:
        return self.with_headers()

    def with_headers(self, **headers: str) -> httpx2.Client:
        """A client that always sends these; `_` in a name stands for `-`."""
        name = repr(sorted(headers.items()))
        if name not in self._known:
            sent = {each.replace("_", "-"): text for each, text in headers.items()}
            self._known[name] = self.server.client(headers=sent, verify=NO_TLS)
        return self._known[name]

    def forget_clients(self) -> None:
        """After a restart: the server closes its clients when it stops."""
        while self._known:
            self._known.popitem()[1].close()


def is_well(server: Server, since: int = 0) -> None:
    """The process lives and has not been surprised since its log was so long."""
    assert server.alive(), server.log_text()[-4000:]
    log = server.log_text()[since:]
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]


# What a merchant sends


def an_order() -> str:
    """An order id that nobody used before."""
    return f"A-{_run}-{next(_numbers)}"


def a_key() -> str:
    return f"key-{uuid.uuid4().hex}"


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": a_key() if key is None else key}


def wish(**changes: Any) -> Json:
    """The body of the contract's example, for an order id of its own, with what a test wants to be different."""
    return {"order_id": an_order(), "amount": 2, "price": "349.70", "alias": "stripe", **changes}


def without(body: Json, member: str) -> Json:
    return {name: value for name, value in body.items() if name != member}


def ask(who: httpx2.Client, body: Json | None = None, /, headers: Headers | None = None, **changes: Any) -> httpx2.Response:
    """POST /api/v1/payments."""
    return who.post(BASE, json={**(wish() if body is None else body), **changes}, headers=dict(headers or {}))


def opened(answer: httpx2.Response) -> str:
    """The id of a payment that was accepted, after looking at the whole answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    body = answer.json()
    assert set(body) == {"payment_id", "status", "payment_url"}
    assert UUID7.fullmatch(body["payment_id"]), body
    assert body["status"] == "PAYMENT_PENDING"
    assert re.match(r"https?://", body["payment_url"])
    payment_id: str = body["payment_id"]
    return payment_id


def pay_link(who: httpx2.Client, body: Json | None = None, /, **changes: Any) -> str:
    return opened(ask(who, body, **changes))


def paid(mall: Mall, who: httpx2.Client, body: Json | None = None, /, **changes: Any) -> str:
    """A payment whose money has arrived."""
    payment_id = pay_link(who, body, **changes)
    settled(report(mall, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")
    return payment_id


def show(who: httpx2.Client, payment_id: str) -> Json:
    answer = who.get(f"{BASE}/{payment_id}/show")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def status_of(who: httpx2.Client, payment_id: str) -> int:
    status: int = show(who, payment_id)["status"]
    return status


def track(who: httpx2.Client, payment_id: str) -> list[Json]:
    answer = who.get(f"{BASE}/{payment_id}/tracking")
    assert answer.status_code == 200, answer.text
    events: list[Json] = answer.json()["events"]
    return events


def me(who: httpx2.Client) -> Json:
    answer = who.get("/api/v1/merchants/me")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def tokens_used(who: httpx2.Client) -> int:
    used: int = me(who)["subscription"]["tokens_used"]
    return used


def give_back(who: httpx2.Client, payment_id: str, key: str | None = None, /, **body: Any) -> httpx2.Response:
    """POST …/refunds, under a key of its own unless one is given."""
    return who.post(f"{BASE}/{payment_id}/refunds", json=body, headers=keyed(key))


def refunds_of(who: httpx2.Client, payment_id: str) -> Json:
    answer = who.get(f"{BASE}/{payment_id}/refunds")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def ledger_of(who: httpx2.Client, payment_id: str) -> Json:
    answer = who.get(f"{BASE}/{payment_id}/ledger")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


# What a provider sends


def signature(secret: str, raw: bytes) -> str:
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def report_raw(mall: Mall, raw: bytes, *signatures: bytes, headers: Headers | None = None) -> httpx2.Response:
    """POST the webhook with these signatures; see `signed` for the right one."""
    sent = [(b"X-Internal-Signature", each) for each in signatures]
    sent += [(name.encode(), text.encode()) for name, text in (headers or {}).items()]
    return mall.nobody().post(f"{BASE}/webhook", content=raw, headers=sent)


def signed(mall: Mall, raw: bytes, **options: Any) -> httpx2.Response:
    """POST the webhook as the provider does."""
    return report_raw(mall, raw, signature(mall.server.webhook_secret, raw).encode(), **options)


def report(mall: Mall, payment_id: str, status: str = "finished", **more: Any) -> httpx2.Response:
    """What an honest provider says of a payment."""
    return signed(mall, json.dumps({"payment_id": payment_id, "status": status, **more}).encode())


def settled(answer: httpx2.Response, message: str, payment_id: str, status: str) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "ok", "result": {"message": message, "payment_id": payment_id, "status": status}}


# Reading answers


def refusal(answer: httpx2.Response, status: int, code: str, detail: str | None = None, /, **members: Any) -> Json:
    """An error, after looking at all of it. A text that the contract does not give may be any."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    body: Json = answer.json()
    assert body["code"] == code, body
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    assert detail is None or body["detail"] == detail
    assert without(without(body, "detail"), "code") == members
    return body


def malformed(answer: httpx2.Response, *secrets: str) -> list[Json]:
    """What a 422 complains about. It never says back what was sent."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    body = answer.json()
    assert set(body) == {"detail", "code"}, body
    assert body["code"] == "validation_error"
    assert isinstance(body["detail"], list)
    assert body["detail"]
    for entry in body["detail"]:
        assert set(entry) == {"loc", "msg", "type"}, entry
        assert isinstance(entry["loc"], list)
        assert isinstance(entry["msg"], str)
        assert isinstance(entry["type"], str)
    assert [secret for secret in secrets if secret in answer.text] == []
    found: list[Json] = body["detail"]
    return found


def is_replay_of(second: httpx2.Response, first: httpx2.Response) -> None:
    assert second.headers.get("Idempotent-Replayed") == "true", (second.headers, second.text)
    assert "Idempotent-Replayed" not in first.headers
    assert (second.status_code, second.content) == (first.status_code, first.content)


def until(question: Callable[[], T], within: float = 10.0, hope: str = "") -> T:
    """Ask until the answer is truthy, and fail with the hope if it never is."""
    end = time.monotonic() + within
    pause = 0.02
    while not (answer := question()):
        assert time.monotonic() < end, f"within {within} s: {hope}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return answer


def becomes(who: httpx2.Client, payment_id: str, status: int, within: float = 10.0) -> Json:
    """The payment once it has this status."""
    until(lambda: status_of(who, payment_id) == status, within, f"status {status}")
    found = show(who, payment_id)
    assert (found["status"], found["status_name"]) == (status, STATUS_NAMES[status])
    return found


def money(texts: Iterable[str]) -> Decimal:
    return sum((Decimal(text) for text in texts), Decimal(0))


# Many at once


def rush(server: Server, posts: Iterable[tuple[str, Json | bytes, Headers]]) -> list[httpx2.Response]:
    """All these posts (path, body, headers) at the same time, in their order."""

    async def all_of_them() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200)
        async with server.async_client(limits=limits, verify=NO_TLS, timeout=60) as client:
            waiting = [
                client.post(path, content=body if isinstance(body, bytes) else json.dumps(body), headers=dict(headers))
                for path, body, headers in posts
            ]
            return list(await asyncio.gather(*waiting))

    return asyncio.run(all_of_them())


def at_once(*acts: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(len(acts)) as hands:
        return [each.result() for each in [hands.submit(act) for act in acts]]
