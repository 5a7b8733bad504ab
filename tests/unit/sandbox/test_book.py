"""The book: it outlives the process, it counts, it can be emptied, and it never holds a card."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.unit.sandbox.callers import Caller, served

from kassa.sandbox import Product, create_sandbox

_ALONE = """
import sys, uvicorn
from kassa.sandbox import create_sandbox
uvicorn.run(create_sandbox(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="critical", ws="none")
"""


@contextlib.asynccontextmanager
async def in_a_process(book: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The sandbox in a process of its own, to be killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _ALONE, str(book), str(port), env=environment)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                break
            assert process.returncode is None
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_what_was_booked_survives_a_kill(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    book = tmp_path / "book.sqlite"
    async with in_a_process(book) as (base, process):
        caller = Caller(base, session)
        charged = await caller.charge()
        await caller.script("payment", "book_then_cut", act="process", times=2)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await caller.charge(key="chk-2:payment")
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with served(create_sandbox(book)) as base:
        caller = Caller(base, session)
        assert (await caller.ask("GET", "/payment/payments/by-key/chk-1:payment")).raw == charged.raw
        assert (await caller.ask("GET", "/payment/payments/by-key/chk-2:payment")).status == 200
        assert len((await caller.book())["charges"]) == 2
        assert (await caller.ask("GET", "/control/scripts")).json["scripts"][0]["left"] == 1


async def test_two_servers_share_one_book(open_sandbox: Any) -> None:
    async with open_sandbox() as one, open_sandbox() as two:
        answers = await asyncio.gather(*(caller.charge() for caller in (one, two) * 10))
        assert len({answer.raw for answer in answers}) == 1
        assert len((await two.book())["charges"]) == 1


async def test_no_card_is_in_the_file(tmp_path: Path, open_sandbox: Any) -> None:
    number, code = "5105105105105100", "code-7391"
    method = {"type": "credit_card", "card_number": number, "card_expiry": "12/25", "card_cvv": code}
    async with open_sandbox() as caller:
        for behaviour in (None, "book_then_500", "error", "answer_twice", "late"):
            if behaviour:
                await caller.script("payment", behaviour, act="process", seconds=0)
            body = {"amount": 1, "payment_method": method}
            await caller.ask("POST", "/payment/payments/process", body, Idempotency_Key=f"chk-{behaviour}")
        shown = str(await caller.book())
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (number, code, "12/25"):
        assert secret not in shown
        assert secret.encode() not in kept
    assert "'last4': '5100'" in shown


async def test_the_book_can_be_narrowed_and_emptied(caller: Any) -> None:
    await caller.charge()
    await caller.deduct("chk-1:inventory", {"prod_few": 2})
    middle = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await caller.charge(key="chk-2:payment", amount="5")
    later = await caller.book(since=middle)
    assert [one["amount"] for one in later["charges"]] == ["5"]
    assert later["deductions"] == []
    assert (await caller.book(service="inventory"))["charges"] == []
    assert set(await caller.book(only="orders,calls")) == {"orders", "calls"}
    assert (await caller.ask("GET", "/control/book?since=tomorrow")).status == 422
    assert (await caller.ask("DELETE", "/control/book")).status == 200
    book = await caller.book()
    assert [name for name, rows in book.items() if rows] == ["stock"]
    assert (await caller.stock("prod_few"))["inventory_stock"] == 5
    assert (await caller.charge()).status == 200


async def test_every_call_is_noted(caller: Any) -> None:
    await caller.ask("GET", "/payment/payments/by-key/chk-9", X_Request_Id="req-1")
    (call,) = (await caller.book(service="payment"))["calls"]
    assert (call["act"], call["method"], call["key"], call["answered"], call["request_id"]) == (
        "by_key",
        "GET",
        "chk-9",
        "404",
        "req-1",
    )
    assert call["path"] == "/sandbox/payment/payments/by-key/chk-9"


async def test_the_summary_counts_charges_per_key(caller: Any) -> None:
    transaction = (await caller.charge(amount="10")).json["transactionId"]
    await caller.charge(key="chk-2:payment", amount="0.30")
    await caller.ask("POST", f"/payment/payments/{transaction}/refund", {"amount": Decimal("2.5")})
    rows = (await caller.ask("GET", "/control/summary")).json["keys"]
    assert [(row["key"], row["charges"], row["charged"], row["refunded"], row["net"]) for row in rows] == [
        ("chk-1:payment", 1, "10", "2.5", "7.5"),
        ("chk-2:payment", 1, "0.3", "0", "0.3"),
    ]


async def test_the_shop_can_be_another_one(open_sandbox: Any) -> None:
    async with open_sandbox(products=[Product("tea", "Tea", Decimal("1.250"), 3)]) as caller:
        answer = await caller.ask("GET", "/product/api/products")
        assert answer.raw.count(b'"price":1.25') == 1
        await caller.ask("PATCH", "/control/products/tea", {"price": Decimal("1.3"), "product_stock": 1})
        shown = (await caller.ask("GET", "/product/api/products/tea")).json["data"]
        assert (shown["price"], shown["stock"]) == (Decimal("1.3"), 1)
        assert (await caller.ask("PATCH", "/control/products/tea", {"product_stock": -1})).status == 422
        assert (await caller.ask("PATCH", "/control/products/none", {"price": 1})).status == 404


async def test_the_desk_names_the_settings(caller: Any) -> None:
    services = (await caller.ask("GET", "/control")).json["services"]
    assert services["payment"]["setting"] == f"PAYMENT_SERVICE_URL={caller.base}/sandbox/payment"


async def test_a_webhook_address_needs_its_secret(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belong together"):
        create_sandbox(tmp_path / "book.sqlite", webhook_url="http://localhost/hook")


async def test_a_parent_may_mount_it_or_hand_the_scope_on(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    sandbox = create_sandbox(tmp_path / "book.sqlite")
    home = Route("/", lambda _request: PlainTextResponse("parent"))
    mounted = Starlette(routes=[home, Mount("/sandbox", app=sandbox)])

    async def handing_on(scope: Any, receive: Any, send: Any) -> None:
        async def heard() -> Any:
            return await receive()

        inside = scope["type"] == "http" and scope["path"].startswith("/sandbox")
        await (sandbox if inside else mounted)(scope, heard if inside else receive, send)

    try:
        for parent in (mounted, handing_on):
            async with served(parent) as base:
                caller = Caller(base, session)
                key = f"chk-{base}"
                assert (await caller.charge(key=key)).status == 200
                await caller.script("payment", "cut", act="process")
                with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    await caller.charge(key=key)
    finally:
        await sandbox.stop()


async def test_a_cut_without_a_transport_is_half_an_answer(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    sandbox = create_sandbox(tmp_path / "book.sqlite")

    class Hidden:
        """A channel that shows nothing of the server behind it."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, *message: Any) -> Any:
            return await self.inner(*message)

    async def hiding(scope: Any, receive: Any, send: Any) -> None:
        wrap = scope["type"] == "http"
        await sandbox(scope, Hidden(receive) if wrap else receive, Hidden(send) if wrap else send)

    async with served(hiding) as base:
        caller = Caller(base, session)
        await caller.script("payment", "book_then_cut", act="process")
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.charge()
        assert len((await caller.book())["charges"]) == 1


async def test_a_body_over_a_megabyte_is_refused(caller: Any) -> None:
    answer = await caller.ask("POST", "/payment/payments/process", b" " * (1024 * 1024 + 1))
    assert answer.status == 413
