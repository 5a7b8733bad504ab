"""Callers that are slow, loud or endless hold no worker, no transaction and no memory (faults F73 and F66 from the caller's side).

They speak to a real process through plain sockets; its times are shortened by a second process of the same code, so that a test
need not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from kassa.cli import connections, process

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import Server

HELLO = b"GET /health HTTP/1.1\r\nHost: kassa\r\n\r\n"


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Where an application that reads a body and answers is served by our server, with short times."""
    for name in ("HEADERS_S", "BODY_S", "ENDING_S", "TAKING_S"):
        monkeypatch.setattr(connections, name, 0.3)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    listener, stop = process.listen("127.0.0.1", 0), asyncio.Event()
    serving = asyncio.create_task(process.serve(an_app, listener, stop, answer_s=1))
    yield listener.getsockname()[1]
    stop.set()
    await serving


async def an_app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    size = int(scope["path"].strip("/") or 2) if scope["path"].strip("/").isdigit() else 2
    if scope["method"] == "POST" and scope["path"] != "/early":
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
    names = {name for name, _ in scope["headers"]}
    headers = [(b"content-length", str(size).encode()), (b"x-late", b"yes" if b"x-trailer" in names else b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"o" * size})


async def said(port: int, *parts: bytes, every_s: float = 0.05, within_s: float = 5) -> tuple[bytes, float]:
    """Send the parts one by one; what comes back until the connection is closed, and how long it lived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()

    async def send() -> None:
        with contextlib.suppress(OSError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(every_s)

    sending = asyncio.create_task(send())
    heard = b""
    try:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65536):
                    heard += piece
    finally:
        sending.cancel()
        writer.close()
    return heard, time.monotonic() - began


def bytes_of(text: bytes) -> list[bytes]:
    return [text[place : place + 1] for place in range(len(text))]


async def test_headers_one_byte_at_a_time_are_not_waited_for(port: int) -> None:
    heard, lived = await said(port, *bytes_of(b"GET /health HTTP/1.1\r\nHost: kassa\r\nX-Slow: " + b"a" * 200))
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    assert lived < 2


async def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    heard, lived = await said(port)
    assert (heard, lived < 2) == (b"", True)


@pytest.mark.parametrize("before", [b"", HELLO], ids=["at first", "after a request"])
async def test_empty_lines_keep_nothing_open(port: int, before: bytes) -> None:
    heard, lived = await said(port, before, *[b"\r\n"] * 200)
    assert (heard.count(b"HTTP/1.1 200"), lived < 2) == (1 if before else 0, True)


@pytest.mark.parametrize("path", [b"/early", b"/late"])
async def test_a_body_one_byte_at_a_time_is_not_waited_for_whether_it_is_read_or_not(port: int, path: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: kassa\r\nContent-Length: 1000\r\n\r\n"
    heard, lived = await said(port, head, *[b"a"] * 200)
    assert heard.startswith(b"HTTP/1.1 200" if path == b"/early" else b"")
    assert lived < 2


async def test_whoever_does_not_read_the_answer_does_not_keep_the_connection(port: int) -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(b"GET /50000000 HTTP/1.1\r\nHost: kassa\r\nConnection: close\r\n\r\n")
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not [each for each in psutil.Process().net_connections() if each.laddr.port == port and each.raddr]:
                break
        else:
            pytest.fail("the connection is still there")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: kassa\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: kassa\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: kassa\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    ],
    ids=["a long address", "a long header", "many headers"],
)
async def test_a_head_that_is_too_large_is_refused(port: int, head: bytes) -> None:
    heard, _ = await said(port, head)
    assert heard.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_request_is_refused_in_plain_words(port: int, junk: bytes) -> None:
    heard, _ = await said(port, junk)
    assert heard.startswith(b"HTTP/1.1 400 ")
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"content-type: text/plain" in head
    assert f"content-length: {len(body)}".encode() in head


async def test_what_comes_behind_a_body_is_no_header(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: kassa\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    heard, _ = await said(port, head + b"1\r\na\r\n0\r\nX-Trailer: yes\r\n\r\n")
    assert b"x-late: no" in heard


async def test_one_connection_too_many_is_told_so_and_others_go_on(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    await asyncio.sleep(0.05)
    heard, _ = await said(port, HELLO)
    assert heard.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in heard
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.1)
    heard, _ = await said(port, HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert heard.startswith(b"HTTP/1.1 200 ")


async def test_many_requests_of_one_connection_go_on_as_long_as_they_come(port: int) -> None:
    """One every 50 ms for far longer than any of the times here."""
    heard, _ = await said(port, *[HELLO] * 30, HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert heard.count(b"HTTP/1.1 200") == 31


# ── a real process ───────────────────────────────────────────────────────────────────────────────────────────────────


def deep(levels: int) -> bytes:
    return b'{"productId": ' + b"[" * levels + b"]" * levels + b"}"


HOSTILE = {
    "ten thousand lines": (b'{"items": [' + b",".join([b'{"product_id": "a", "quantity": 1}'] * 10_000) + b"]}", 413),
    "a thousand lines": (b'{"items": [' + b",".join([b'{"product_id": "a", "quantity": 1}'] * 1000) + b"]}", 422),
    "deep": (deep(30_000), 422),
    "a little deep": (deep(30), 422),
    "many members": (b"{" + b",".join(b'"m%d": 1' % number for number in range(5000)) + b"}", 422),
    "a long number": (b'{"items": [{"product_id": "a", "quantity": ' + b"9" * 60_000 + b"}]}", 422),
    "a far exponent": (b'{"items": [{"product_id": "a", "quantity": 1, "price": 1e999999999}]}', 422),
    "a negative quantity": (b'{"items": [{"product_id": "a", "quantity": -1}]}', 422),
    "2^63": (b'{"items": [{"product_id": "a", "quantity": 9223372036854775808}]}', 422),
}


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_at_once_and_leaves_nothing(shop: Server, name: str) -> None:
    body, status = HOSTILE[name]
    client, served = shop.client(), psutil.Process(shop.pid)
    _send(client, body, status, 20)
    memory, worked_s = served.memory_info().rss, _worked_s(served)
    _send(client, body, status, 60)
    # Processor time and not the clock's: other programs of this machine are not meant. Workers beside it count, too.
    assert (_worked_s(served) - worked_s) / 60 <= 0.010
    assert served.memory_info().rss - memory < 8 * 1024 * 1024


def _send(client: Any, body: bytes, status: int, times: int) -> None:
    for _ in range(times):
        answer = client.post("/checkout/process", content=body)
        assert answer.status_code == status, answer.text[:300]


def _worked_s(served: psutil.Process) -> float:
    times = served.cpu_times()
    return float(times.user + times.system)


def test_two_hundred_slow_ones_hold_nobody_up(shop: Server) -> None:
    slow = [socket.create_connection(("127.0.0.1", int(shop.url.rpartition(":")[2]))) for _ in range(200)]
    try:
        for place, each in enumerate(slow):
            head = b"POST /checkout/process HTTP/1.1\r\nHost: kassa\r\nContent-Length: 100\r\n"
            each.sendall(head + (b"\r\n{" if place % 2 else b""))
        client = shop.client(4711)
        for _ in range(20):
            assert client.get("/api/cart").status_code == 200
        busy = shop.sql(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        assert busy[0]["n"] == 0
    finally:
        for each in slow:
            each.close()
