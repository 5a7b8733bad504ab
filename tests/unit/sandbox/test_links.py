"""The stand-in for the provider of payment links: the link, the page, the buyer's word, the webhook."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

ASKED = {
    "payment_id": "pay-1",
    "merchant_id": 1,
    "provider": "stripe",
    "order_id": "A<b>7",
    "price": "349.70",
    "currency": "USD",
    "expires_at": "2026-01-02T00:00:00Z",
}


class Merchant:
    """A webhook receiver that answers what it is told to, in turn; 200 at the end."""

    def __init__(self) -> None:
        self.url, self.statuses, self.got = "", list[int](), list[tuple[bytes, str]]()
        self.told = asyncio.Event()

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), request.headers["X-Internal-Signature"]))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.told.set()
        return web.Response(status=status)


@contextlib.asynccontextmanager
async def merchant() -> AsyncIterator[Merchant]:
    one = Merchant()
    app = web.Application()
    app.router.add_post("/hook", one.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield one
    finally:
        await runner.cleanup()


async def link(caller: Any, **change: Any) -> str:
    answer = await caller.ask("POST", "/link/payment-links", ASKED | change, Idempotency_Key=ASKED["payment_id"])
    assert answer.status == 200, answer.raw
    return str(answer.json["payment_url"])


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


async def test_one_payment_has_one_link(caller: Any) -> None:
    url = await link(caller)
    assert url.startswith(caller.base + "/sandbox/pay/")
    assert url == await link(caller, price="350")
    assert url != await link(caller, payment_id="pay-2")
    shown = (await caller.book())["links"]
    assert [(one["payment_id"], one["price"], one["state"]) for one in shown] == [
        ("pay-1", "349.70", "open"),
        ("pay-2", "349.70", "open"),
    ]


async def test_the_public_address_can_be_given(open_sandbox: Any) -> None:
    async with open_sandbox(public_url="https://pay.example.com/") as caller:
        assert (await link(caller)).startswith("https://pay.example.com/sandbox/pay/")


async def test_the_page_shows_the_sum_and_two_buttons_and_escapes(caller: Any) -> None:
    token = token_of(await link(caller))
    page = await caller.ask("GET", f"/pay/{token}")
    assert page.status == 200
    html = page.raw.decode()
    assert "349.70" in html
    assert "A&lt;b&gt;7" in html
    assert f'action="../payments/{token}/accept"' in html
    assert f'action="../payments/{token}/decline"' in html
    assert "<script" not in html
    assert (await caller.ask("GET", "/pay/nobody")).status == 404


@pytest.mark.parametrize(("act", "status"), [("accept", "finished"), ("decline", "failed")])
async def test_a_buyer_decides_once(caller: Any, act: str, status: str) -> None:
    token = token_of(await link(caller))
    answer = await caller.ask("POST", f"/payments/{token}/{act}")
    assert (answer.status, answer.json) == (200, {"payment_id": "pay-1", "status": status})
    for again in ("accept", "decline"):
        answer = await caller.ask("POST", f"/payments/{token}/{again}")
        assert (answer.status, answer.json) == (409, {"detail": "Payment already processed or invalid state"})
    book = await caller.book()
    assert [one["amount"] for one in book["charges"]] == (["349.7"] if act == "accept" else [])
    assert book["links"][0]["state"] == status
    assert (await caller.ask("POST", "/payments/nobody/accept")).status == 404


async def test_twenty_clicks_are_one_charge(caller: Any) -> None:
    token = token_of(await link(caller))
    answers = await asyncio.gather(*(caller.ask("POST", f"/payments/{token}/accept") for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    assert len((await caller.book())["charges"]) == 1


async def test_a_browser_gets_a_page(caller: Any) -> None:
    token = token_of(await link(caller))
    page = await caller.ask("POST", f"/payments/{token}/accept", Accept="text/html,*/*")
    assert (page.status, "Paid" in page.raw.decode()) == (200, True)
    page = await caller.ask("POST", f"/payments/{token}/accept", Accept="text/html,*/*")
    assert (page.status, page.headers["content-type"]) == (409, "text/html; charset=utf-8")


async def test_the_webhook_is_signed_and_repeated_until_it_is_taken(open_sandbox: Any) -> None:
    async with merchant() as shop, open_sandbox(webhook_url=shop.url, webhook_secret="s3cret") as caller:
        shop.statuses = [500, 302]
        token = token_of(await link(caller))
        await caller.ask("POST", f"/payments/{token}/accept")
        await asyncio.wait_for(shop.told.wait(), 5)
        assert len(shop.got) == 3
        for body, signature in shop.got:
            assert body == b'{"payment_id":"pay-1","status":"finished"}'
            assert signature == hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        await asyncio.sleep(0.3)
        assert len(shop.got) == 3
        (told,) = (await caller.book())["webhooks"]
        assert (told["attempts"], told["last"]) == (3, "200")
        assert told["told_at"] is not None


async def test_a_webhook_that_is_due_survives_a_restart(open_sandbox: Any) -> None:
    async with open_sandbox() as caller:
        token = token_of(await link(caller))
        await caller.ask("POST", f"/payments/{token}/decline")
    async with merchant() as shop, open_sandbox(webhook_url=shop.url, webhook_secret="s3cret"):
        await asyncio.wait_for(shop.told.wait(), 5)
        assert shop.got[0][0] == b'{"payment_id":"pay-1","status":"failed"}'


async def refund(caller: Any, refund_id: str, amount: str, payment_id: str = "pay-1") -> Any:
    body = {"refund_id": refund_id, "payment_id": payment_id, "amount": amount, "currency": "USD", "reason": ""}
    return await caller.ask("POST", "/link/refunds", body, Idempotency_Key=refund_id)


async def test_a_paid_link_is_refunded_once_and_never_beyond(caller: Any) -> None:
    token = token_of(await link(caller))
    await caller.ask("POST", f"/payments/{token}/accept")
    for _ in range(2):
        answer = await refund(caller, "r-1", "300")
        assert (answer.status, answer.json) == (200, {"status": "refunded"})
    assert (await refund(caller, "r-2", "49.71")).status == 422
    assert (await refund(caller, "r-3", "49.70")).status == 200
    summary = (await caller.ask("GET", "/control/summary")).json
    assert [(one["key"], one["net"]) for one in summary["keys"]] == [("pay-1", "0")]
    assert summary["unbacked_refunds"] == []


async def test_what_was_never_paid_here_is_refunded_and_marked(caller: Any) -> None:
    assert (await refund(caller, "r-1", "12.30", "pay-by-grpc")).json == {"status": "refunded"}
    assert (await caller.book())["refunds"][0]["unbacked"] is True
    summary = (await caller.ask("GET", "/control/summary")).json
    assert summary["unbacked_refunds"] == [{"service": "link", "of": "pay-by-grpc", "refunded": "12.3"}]


async def test_a_link_can_be_declined_by_script(caller: Any) -> None:
    await caller.script("link", "decline", act="create")
    answer = await caller.ask("POST", "/link/payment-links", ASKED, Idempotency_Key="pay-1")
    assert answer.status == 422
