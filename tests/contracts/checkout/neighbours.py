"""Three neighbour services on real ports, honest unless a test tells them otherwise for one buyer.

Honest means: each keeps a book by `Idempotency-Key`, does an act once, and repeats its first answer. What a buyer's
neighbours do instead is told per act as a list of reactions; the last one stays. A buyer is known by the e-mail
address in the payment request, and from then on by the checkout id in the key, so that many stories can run at the
same time against one Kassa. Everything that arrives is written down: card, headers, raw path.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote

from aiohttp import web

Act = Literal["process", "by_key", "refund", "deduct", "restock", "create", "cancel", "stray"]
ServiceName = Literal["payment", "inventory", "order"]
SERVICES: Final[tuple[ServiceName, ...]] = ("payment", "inventory", "order")


@dataclass(frozen=True)
class Reaction:
    """What a neighbour does with one call."""

    status: int | None = None  # nothing: the honest answer
    body: Any = None  # JSON; bytes go out as they are
    headers: Mapping[str, str] = field(default_factory=dict)
    books: bool = True  # the act is done, whatever is answered
    verdict: Mapping[str, Any] | None = None  # what is booked instead of a yes
    after: float = 0.0  # seconds of thought before the answer
    cut: bool = False  # no answer: the connection is reset
    drip: bool = False  # one byte a second


HONEST: Final = Reaction()


def says(status: int, body: Any = None, **headers: str) -> Reaction:
    """Answers this and does nothing."""
    return Reaction(status, body, {name.replace("_", "-"): text for name, text in headers.items()}, books=False)


def does_but_says(status: int, body: Any = None, **headers: str) -> Reaction:
    """Does the act, then answers something else."""
    return Reaction(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def thinks(seconds: float, verdict: Mapping[str, Any] | None = None) -> Reaction:
    """Does the act at once, answers honestly after a while."""
    return Reaction(after=seconds, verdict=verdict)


def cuts(*, books: bool) -> Reaction:
    """Resets the connection, with or without having done the act."""
    return Reaction(cut=True, books=books)


DECLINED: Final[Mapping[str, Any]] = {
    "status": "failed",
    "error": "insufficient_funds",
    "message": "Insufficient funds in account",
}
DRIPS: Final = Reaction(drip=True)


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    service: ServiceName
    act: Act
    method: str
    raw_path: str
    key: str
    request_id: str
    headers: Mapping[str, str]
    raw: bytes
    connection: Any
    at: float

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def checkout_id(self) -> str:
        return self.key.split(":", 1)[0]


class Neighbours:
    """The three services, their books and their scripts."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._plans: dict[str, dict[str, list[Reaction]]] = {}
        self._buyers: dict[str, str] = {}
        self._first_answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self._done: dict[str, list[str]] = defaultdict(list)
        self._amounts: dict[str, Any] = {}
        self._runners: dict[str, web.AppRunner] = {}
        self._ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for name in SERVICES:
            self.open(name)

    # What a test tells them

    def for_buyer(self, email: str, **plan: Reaction | list[Reaction]) -> str:
        """Script the acts of one buyer's purchases; answers the address."""
        self._plans[email] = {act: list(told) if isinstance(told, list) else [told] for act, told in plan.items()}
        return email

    def url(self, service: ServiceName) -> str:
        return f"http://127.0.0.1:{self._ports[service]}"

    def settings(self) -> dict[str, str]:
        """What Kassa must be told to have these neighbours."""
        return {f"{name.upper()}_SERVICE_URL": self.url(name) for name in SERVICES}

    def open(self, service: ServiceName) -> None:
        """Listen (again, on the same port)."""
        self._wait(self._open(service))

    def close(self, service: ServiceName) -> None:
        """Stop listening and drop every connection, so that the next call is refused."""
        self._wait(self._runners.pop(service).cleanup())
        time.sleep(0.3)  # the other side needs a moment to see its idle connections end

    def stop(self) -> None:
        for service in list(self._runners):
            self._wait(self._runners.pop(service).cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # What a test asks them

    def calls(self, checkout_id: str, *acts: Act) -> list[Call]:
        """What arrived for one checkout, in order; all acts, or these."""
        return [call for call in list(self._calls) if call.checkout_id == checkout_id and (not acts or call.act in acts)]

    def acts(self, checkout_id: str) -> list[str]:
        return [call.act for call in self.calls(checkout_id)]

    def all_calls(self) -> list[Call]:
        return list(self._calls)

    def done(self, checkout_id: str, act: Act) -> int:
        """How often an act really took effect for a checkout."""
        return sum(key.split(":", 1)[0] == checkout_id for key in list(self._done[act]))

    def net(self, checkout_id: str) -> int:
        """Charges less refunds."""
        return self.done(checkout_id, "process") - self.done(checkout_id, "refund")

    def checkouts_of(self, email: str) -> list[str]:
        """The checkouts that a buyer's payments were asked for, in order, each once."""
        seen = [call for call in list(self._calls) if call.act == "process" and call.body["customer_email"] == email]
        return list(dict.fromkeys(call.checkout_id for call in seen))

    # How they work

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self, service: ServiceName) -> None:
        async def door(request: web.Request) -> web.StreamResponse:
            return await self._serve(service, request)

        app = web.Application(client_max_size=1024**2)
        app.router.add_route("*", "/{tail:.*}", door)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._ports.get(service, 0), reuse_address=True)
        await site.start()
        self._ports[service] = runner.addresses[0][1]
        self._runners[service] = runner

    async def _serve(self, service: ServiceName, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        act, key = _what(service, request)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        call = Call(
            service=service,
            act=act,
            method=request.method,
            raw_path=request.raw_path,
            key=key,
            request_id=request.headers.get("X-Request-Id", ""),
            headers=dict(request.headers),
            raw=raw,
            connection=peer,
            at=time.monotonic(),
        )
        self._calls.append(call)
        reaction = self._next_reaction(call)
        status, body = self._honest(call, reaction)
        if reaction.after:
            await asyncio.sleep(reaction.after)
        if reaction.cut and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        if reaction.status is not None:
            status, body = reaction.status, reaction.body
        return await _reply(request, status, body, reaction)

    def _next_reaction(self, call: Call) -> Reaction:
        if call.act in {"process", "create"}:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._buyers.setdefault(call.checkout_id, call.body["customer_email"])
        plan = self._plans.get(self._buyers.get(call.checkout_id, ""), {})
        told = plan.get(call.act)
        if not told:
            return HONEST
        return told.pop(0) if len(told) > 1 else told[0]

    def _honest(self, call: Call, reaction: Reaction) -> tuple[int, Any]:
        """Do the act unless it was done, and say what an honest service says."""
        if call.act == "by_key":
            seen = self._first_answers.get(("process", call.key))
            return (200, seen[1]) if seen else (404, {"status": "never_seen", "key": call.key})
        if call.act == "stray":
            return 404, {"message": "no such route"}
        known = self._first_answers.get((call.act, call.key))
        if known or not reaction.books:
            return known or (500, None)
        if reaction.verdict is not None:
            answer = (422, dict(reaction.verdict))
        else:
            self._done[call.act].append(call.key)
            answer = (200, _yes(call.act))
        self._first_answers[(call.act, call.key)] = answer
        return answer


def _what(service: ServiceName, request: web.Request) -> tuple[Act, str]:
    """Which act a request asks for, and under which key."""
    parts = request.raw_path.strip("/").split("/")
    key = request.headers.get("Idempotency-Key", "")
    known: dict[tuple[str, str, str], Act] = {
        ("payment", "POST", "payments/process"): "process",
        ("inventory", "POST", "inventory/deduct"): "deduct",
        ("inventory", "POST", "inventory/restock"): "restock",
        ("order", "POST", "orders"): "create",
    }
    act = known.get((service, request.method, "/".join(parts)))
    if act is not None:
        return act, key
    if service == "payment" and request.method == "GET" and parts[:2] == ["payments", "by-key"] and len(parts) == 3:
        return "by_key", unquote(parts[2])
    if request.method == "POST" and len(parts) == 3 and (service, parts[0], parts[2]) == ("payment", "payments", "refund"):
        return "refund", key
    if request.method == "POST" and len(parts) == 3 and (service, parts[0], parts[2]) == ("order", "orders", "cancel"):
        return "cancel", key
    return "stray", key


def _yes(act: Act) -> dict[str, Any]:
    match act:
        case "process":
            return {
                "status": "success",
                "transactionId": f"T{uuid.uuid4().hex[:12].upper()}",
                "message": "Payment processed successfully",
            }
        case "refund":
            return {"status": "refunded", "refundId": f"R{uuid.uuid4().hex[:12].upper()}"}
        case "create":
            return {"orderId": f"order_{uuid.uuid4()}", "status": "created"}
        case "cancel":
            return {"status": "cancelled"}
        case _:
            return {"success": True, "message": "Done", "timestamp": "2026-01-01 00:00:00"}


async def _reply(request: web.Request, status: int, body: Any, reaction: Reaction) -> web.StreamResponse:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **reaction.headers}
    if not reaction.drip:
        return web.Response(status=status, body=raw, headers=headers)
    slow = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(raw))})
    await slow.prepare(request)
    for place in range(len(raw)):
        await slow.write(raw[place : place + 1])
        await asyncio.sleep(1)
    return slow
