"""A caller who talks to the sandbox over HTTP as Kassa would, and a real server to put it behind."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import uvicorn

from kassa.sandbox import exact

CARD = {"type": "credit_card", "card_number": "4111 1111 1111 1111", "card_expiry": "12/25", "card_cvv": "987"}


class Answer:
    """One answer, read to its end. Names of headers are in lower case."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def json(self) -> Any:
        return exact.loads(self.raw)


class Caller:
    """Calls the sandbox at `base`; each verb is one HTTP request."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base, self.session = base, session

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if body is None or isinstance(body, bytes) else exact.dumps(body)
        data = None if raw is None else io.BytesIO(raw)
        url = self.base + "/sandbox" + path
        async with self.session.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
            shown = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, shown, await answer.read())

    async def charge(self, key: str | None = "chk-1:payment", amount: str = "349.70", card: str = "") -> Answer:
        method = {**CARD, "card_number": card or CARD["card_number"]}
        body = {"amount": Decimal(amount), "payment_method": method, "customer_email": "ann@example.com"}
        headers = {} if key is None else {"Idempotency_Key": key}
        return await self.ask("POST", "/payment/payments/process", body, **headers)

    async def deduct(self, key: str, items: dict[str, int], act: str = "deduct") -> Answer:
        body = {"items": [{"product_id": product, "quantity": quantity} for product, quantity in items.items()]}
        return await self.ask("POST", f"/inventory/inventory/{act}", body, Idempotency_Key=key)

    async def script(self, service: str, behaviour: str, **more: Any) -> int:
        answer = await self.ask("POST", "/control/scripts", {"service": service, "behaviour": behaviour, **more})
        assert answer.status == 201, answer.raw
        return int(answer.json["id"])

    async def book(self, **narrow: str) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in narrow.items())
        found: dict[str, Any] = (await self.ask("GET", f"/control/book?{query}")).json
        return found

    async def stock(self, product: str) -> dict[str, Any]:
        rows = (await self.book(only="stock"))["stock"]
        found: dict[str, Any] = next(row for row in rows if row["product_id"] == product)
        return found


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Any ASGI application behind uvicorn; gives its base address."""
    # Named as TCP, else asyncio does not turn Nagle's delay (40 ms an answer) off.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", ws="none", lifespan="on", timeout_graceful_shutdown=1)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        # Not `serve`: it waits in steps of a tenth of a second, and takes the signals of the test run.
        await server.startup([listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await server.shutdown([listener])
