"""What a merchant does at `/api/v1/webhook-endpoints` and `/api/v1/events`, and how answers and requests are read.

Nothing here knows how Kassa is made: only its address, the demo merchants' keys and its public routes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from tests import rig
from tests.contracts.payments.till import INSTANT, UUID7, Json, Mall, malformed, opened, refusal, report, until, wish
from tests.contracts.webhooks.merchants import Call, FakeMerchant, Reply

ENDPOINTS: Final = "/api/v1/webhook-endpoints"
EVENTS: Final = "/api/v1/events"
ENDPOINT: Final = frozenset(
    {
        *("endpoint_id", "url", "events", "format", "ordered", "description"),
        *("status", "disabled_reason", "created_at", "updated_at"),
    }
)
DELIVERY: Final = frozenset(
    {
        *("delivery_id", "event_id", "event_type", "subject", "sequence", "status", "attempts_made"),
        *("next_attempt_at", "last_status_code", "last_error", "created_at", "delivered_at"),
    }
)
ATTEMPT: Final = frozenset({"number", "began_at", "duration_ms", "status_code", "error", "response"})
ENVELOPE: Final = frozenset({"id", "type", "version", "subject", "sequence", "occurred_at", "merchant_id", "data"})
DTO: Final = ("payment_id", "order_id", "merchant_id", "status", "amount", "price")
PAYMENT: Final = frozenset(
    {
        *("payment_id", "order_id", "status", "status_name", "state", "provider", "amount", "price"),
        *("currency", "captured", "refunded", "reason"),
    }
)
STATUS_CHANGES: Final = [
    *("payment.paid", "payment.declined", "payment.expired", "payment.cancelled", "payment.refunded", "payment.reversed"),
]
STATES: Final = ("pending", "processing", "success", "retrying", "blocked", "failed")
ENDED: Final = frozenset({"success", "failed"})

_numbers = itertools.count(1)


@dataclass
class Hook:
    """An endpoint of a merchant, and the path at which the fake merchant listens for it."""

    who: httpx2.Client
    fake: FakeMerchant
    path: str
    made: Json

    @property
    def id(self) -> str:
        found: str = self.made["endpoint_id"]
        return found

    @property
    def secret(self) -> str:
        found: str = self.made["secret"]
        return found

    @property
    def place(self) -> str:
        return f"{ENDPOINTS}/{self.id}"

    def will(self, *replies: Reply) -> None:
        self.fake.will(self.path, *replies)

    def calls(self, subject: str | None = None, type_: str | None = None) -> list[Call]:
        """What has arrived here: all of it, or of one subject, or of one type."""
        found = self.fake.calls(self.path)
        return [call for call in found if subject in {None, call.subject} and type_ in {None, call.type}]

    def waits_for(self, count: int = 1, subject: str | None = None, type_: str | None = None, within: float = 8) -> list[Call]:
        """The calls, once there are so many of them; more are returned, too."""
        hope = f"{count} calls at {self.path}"
        until(lambda: len(self.calls(subject, type_)) >= count, within, hope)
        return self.calls(subject, type_)

    def look(self) -> Json:
        answer = self.who.get(self.place)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def listed(self, **query: Any) -> list[Json]:
        answer = self.who.get(f"{self.place}/deliveries", params={"limit": 100, **query})
        assert answer.status_code == 200, answer.text
        found: list[Json] = answer.json()["items"]
        return found

    def one(self, delivery_id: str) -> Json:
        answer = self.who.get(f"{self.place}/deliveries/{delivery_id}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def of(self, subject: str) -> list[Json]:
        """The deliveries of a subject, in the order of its events."""
        return sorted((each for each in self.listed() if each["subject"] == subject), key=lambda each: each["sequence"])

    def delivery(self, subject: str, type_: str) -> Json:
        """The delivery of one event, with its attempts."""
        [found] = until(lambda: [each for each in self.of(subject) if each["event_type"] == type_], 5, f"a delivery of {type_}")
        return self.one(found["delivery_id"])

    def becomes(self, delivery_id: str, *states: str, within: float = 10) -> Json:
        """The delivery once it has one of these states."""
        until(lambda: self.one(delivery_id)["status"] in states, within, f"delivery {delivery_id} is {' or '.join(states)}")
        return self.one(delivery_id)

    def ends(self, subject: str, type_: str, state: str, within: float = 10) -> Json:
        """The delivery of one event once it has this state."""
        return self.becomes(self.delivery(subject, type_)["delivery_id"], state, within=within)

    def post(self, act: str, body: Any = None) -> httpx2.Response:
        return self.who.post(f"{self.place}/{act}", json={} if body is None else body)

    def replay(self, delivery_id: str) -> httpx2.Response:
        return self.who.post(f"{self.place}/deliveries/{delivery_id}/replay")

    def ping(self) -> Json:
        """Ask for a test; the ids of its event and delivery."""
        answer = self.post("test")
        assert answer.status_code == 202, answer.text
        found: Json = answer.json()
        assert set(found) == {"event_id", "delivery_id"}
        return found


@dataclass
class Office:
    """A Kassa, the merchants' server, and the endpoints that a test has made."""

    mall: Mall
    fake: FakeMerchant
    made: list[Hook] = field(default_factory=list)

    @property
    def server(self) -> rig.Server:
        return self.mall.server

    def merchant(self, number: int = 1) -> httpx2.Client:
        return self.mall.merchant(number)

    def hook(self, number: int | httpx2.Client = 1, *replies: Reply, **wishes: Any) -> Hook:
        """A new endpoint of this merchant, which is answered so; all events unless said otherwise."""
        path = f"/hook/{next(_numbers)}-{uuid.uuid4().hex[:8]}"
        if replies:
            self.fake.will(path, *replies)
        who = self.merchant(number) if isinstance(number, int) else number
        body = {"url": self.fake.url(path), "events": ["*"], **wishes}
        hook = Hook(who, self.fake, path, created(who.post(ENDPOINTS, json=body)))
        self.made.append(hook)
        return hook

    def clear(self) -> None:
        """Delete what was made."""
        while self.made:
            hook = self.made.pop()
            hook.who.delete(hook.place)

    def later(self, seconds: float) -> None:
        """That much time passes for Kassa (ruling 23)."""
        self.server.sql("SELECT kassa_move_clock(make_interval(secs => $1))", float(seconds))

    def pay(self, number: int | httpx2.Client = 1, **changes: Any) -> str:
        """A payment whose link is known."""
        who = self.merchant(number) if isinstance(number, int) else number
        return opened(who.post("/api/v1/payments", json={**wish(), "price": "350", **changes}))

    def paid(self, number: int | httpx2.Client = 1, **changes: Any) -> str:
        """A payment whose money has arrived."""
        payment_id = self.pay(number, **changes)
        self.settle(payment_id)
        return payment_id

    def settle(self, payment_id: str, status: str = "finished") -> None:
        answer = report(self.mall, payment_id, status)
        assert answer.status_code == 200, answer.text

    def feed(self, number: int = 1, **query: Any) -> list[Json]:
        """All events of a merchant, read page by page."""
        return list(follow(self.merchant(number), **query))

    def kassa(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of the operator, against this Kassa's database."""
        given: dict[str, str] = {name: self.server.environment[name] for name in OPERATORS if name in self.server.environment}
        return command_of({**given, **settings}, *command)


OPERATORS: Final[tuple[str, ...]] = (
    *("DATABASE_URL", "KASSA_HOME", "PRODUCTION", "JWT_SECRET", "KASSA_SECRET", "PROVIDER_WEBHOOK_SECRET"),
    *("MERCHANT_CALLBACK_URL", "MERCHANT_CALLBACK_SECRET", "MERCHANT_CALLBACK_EVENTS", "WEBHOOK_RETRY_SECONDS"),
)


def command_of(settings: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """A command of Kassa that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "kassa", *command],
        env=rig.clean_environment(**{"COLUMNS": "400", **settings}),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def subject_of(payment_id: str) -> str:
    return f"payment:{payment_id}"


def created(answer: httpx2.Response) -> Json:
    """An endpoint that was made, after looking at the whole answer."""
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    assert set(body) == ENDPOINT | {"secret"}, body
    is_endpoint({name: each for name, each in body.items() if name != "secret"})
    is_secret(body["secret"])
    return body


def is_endpoint(found: Json) -> None:
    assert set(found) == ENDPOINT, found
    assert UUID7.fullmatch(found["endpoint_id"]), found
    assert found["status"] in {"enabled", "disabled"}
    assert found["disabled_reason"] in {None, "manual", "gone", "failing"}
    assert (found["status"] == "enabled") == (found["disabled_reason"] is None)
    assert isinstance(found["ordered"], bool)
    assert found["format"] in {"payment", "event"}
    assert isinstance(found["events"], list)
    assert INSTANT.fullmatch(found["created_at"])
    assert INSTANT.fullmatch(found["updated_at"])


def is_secret(secret: str) -> None:
    head, _, tail = secret.partition("_")
    assert head == "whsec"
    assert len(base64.b64decode(tail, validate=True)) == 32


def is_delivery(found: Json) -> None:
    assert set(found) == DELIVERY, found
    assert UUID7.fullmatch(found["delivery_id"])
    assert UUID7.fullmatch(found["event_id"])
    assert found["status"] in STATES
    assert type(found["attempts_made"]) is int
    assert INSTANT.fullmatch(found["created_at"])
    assert (found["status"] == "success") <= (found["delivered_at"] is not None)
    assert (found["status"] == "retrying") <= (found["next_attempt_at"] is not None)
    for member in ("next_attempt_at", "delivered_at"):
        assert found[member] is None or INSTANT.fullmatch(found[member])


def is_attempt(found: Json) -> None:
    assert set(found) == ATTEMPT, found
    assert INSTANT.fullmatch(found["began_at"])
    assert found["error"] in {None, "timeout", "connect", "tls", "dns", "refused_address", "redirect", "status", "cut"}
    assert found["status_code"] is None or type(found["status_code"]) is int
    assert found["response"] is None or len(found["response"].encode()) <= 1024
    assert found["duration_ms"] >= 0


def is_envelope(found: Json) -> None:
    assert set(found) == ENVELOPE, found
    assert UUID7.fullmatch(found["id"])
    assert found["version"] == 1
    assert type(found["sequence"]) is int
    assert found["sequence"] >= 1
    assert INSTANT.fullmatch(found["occurred_at"])
    assert len(json.dumps(found).encode()) <= 20_000


def no_endpoint(answer: httpx2.Response) -> None:
    assert answer.status_code == 404, answer.text
    assert answer.json() == {"detail": "Endpoint not found", "code": "endpoint_not_found"}


def no_delivery(answer: httpx2.Response) -> None:
    assert answer.status_code == 404, answer.text
    assert answer.json() == {"detail": "Delivery not found", "code": "delivery_not_found"}


def url_refused(answer: httpx2.Response, *reasons: str) -> str:
    """The reason for which an address was refused: one of these."""
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert set(body) == {"detail", "code"}, body
    assert body["code"] == "callback_url_refused"
    head, _, reason = body["detail"].partition(": ")
    assert head == "Callback URL refused"
    assert reason in reasons, (reason, reasons)
    found: str = reason
    return found


def disabled(answer: httpx2.Response) -> None:
    refusal(answer, 400, "endpoint_disabled")


def page_of(who: httpx2.Client, **query: Any) -> Json:
    """One page of the events."""
    answer = who.get(EVENTS, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert set(found) == {"items", "next_after", "has_next"}
    for each in found["items"]:
        is_envelope(each)
    if found["items"]:
        assert found["next_after"] == found["items"][-1]["id"]
    else:
        assert found["next_after"] == query.get("after")
        assert found["has_next"] is False
    return found


def follow(who: httpx2.Client, **query: Any) -> Iterable[Json]:
    """The events from the start, or from `after`, to the present end."""
    asked = {"limit": 500, **query}
    while True:
        page = page_of(who, **asked)
        yield from page["items"]
        if not page["has_next"]:
            return
        asked["after"] = page["next_after"]


def last_id(who: httpx2.Client) -> str | None:
    """Where the events end now."""
    found = [each["id"] for each in follow(who)]
    return found[-1] if found else None


def since(who: httpx2.Client, after: str | None, **query: Any) -> list[Json]:
    return list(follow(who, **query, **({} if after is None else {"after": after})))


def genuine(secret: str, call: Call) -> bool:
    """The check of the contract's section 9, against the time at which the call arrived."""
    headers = call.headers
    if abs(call.wall - int(headers["webhook-timestamp"])) > 300:
        return False
    want = signature(secret, headers["webhook-id"], headers["webhook-timestamp"], call.raw)
    return any(hmac.compare_digest(want, given) for given in headers["webhook-signature"].split())


def signature(secret: str, id_: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{id_}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def quiet_for(seconds: float, count: Any) -> None:
    """Nothing more comes for a while: the number stays what it is, and an early change fails at once."""
    before, end = count(), time.monotonic() + seconds
    while time.monotonic() < end:
        assert count() == before, "something came"
        time.sleep(0.05)


def bad(answer: httpx2.Response, *secrets: str) -> None:
    malformed(answer, *secrets)
