"""Lines to strangers' servers: whose answer is whose, and when a line is used again (webhooks contract, section 3)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.unit.webhooks_delivery.strangers import stranger

from kassa.kit import lines
from kassa.kit.egress import Egress, Outcome


async def call(egress: Egress, url: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Outcome:
    return await egress.post(url, body, headers or {"Content-Type": "application/json"}, timeout_s=2)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say to each request what it said, the longer ones later."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length"))
            body = await reader.readexactly(length)
            await asyncio.sleep(length % 7 / 1000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body)
            await writer.drain()
    writer.close()


async def test_many_at_once_over_lines_that_are_used_again_each_get_their_own_answer() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        async with Egress(private=True) as egress:

            async def one(number: int) -> None:
                for turn in range(20):
                    said = f"{number}-{turn}-" + "x" * number
                    assert (await call(egress, url, said.encode())).response == said

            await asyncio.gather(*(one(number) for number in range(16)))
        await asyncio.sleep(0.05)  # the server hears of it


@pytest.mark.parametrize(
    ("answer", "status", "said", "again"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "abcde", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, "ok", True),
        (b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", 500, None, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 200, "ok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk", 200, "abc", False),
    ],
    ids=["no body", "chunks", "continue", "hints", "close", "1.0", "two answers", "too much", "broken chunks"],
)
async def test_a_line_is_used_again_only_when_its_answer_was_whole_and_alone(
    answer: bytes, status: int, said: str | None, again: bool
) -> None:
    async with stranger(answer) as shop, Egress(private=True) as egress:
        outcomes = [await call(egress, shop.url()) for _ in range(3)]
    assert [(each.status_code, each.response, each.retry_after_s) for each in outcomes] == [(status, said, None)] * 3
    assert shop.connections == (1 if again else 3)


async def test_another_protocol_is_not_spoken() -> None:
    async with (
        stranger(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n") as shop,
        Egress(private=True) as egress,
    ):
        outcomes = [await call(egress, shop.url()) for _ in range(2)]
    assert [(each.status_code, each.error) for each in outcomes] == [(101, "status")] * 2
    assert shop.connections == 2


async def test_a_line_that_the_server_has_closed_is_not_used() -> None:
    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with stranger(once) as shop, Egress(private=True) as egress:
        for _ in range(3):
            assert (await call(egress, shop.url())).error is None
            await asyncio.sleep(0.05)
    assert shop.connections == 3


async def test_what_comes_unasked_is_nobodys_answer() -> None:
    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 500 x\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(1)

    async with stranger(chatter) as shop, Egress(private=True) as egress:
        assert (await call(egress, shop.url())).response == "ok"
        await asyncio.sleep(0.1)
        assert (await call(egress, shop.url())).response == "ok"
    assert shop.connections == 2


async def test_an_idle_line_is_cut_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "KEPT_S", 0.1)
    gone = asyncio.Event()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with stranger(stay) as shop, Egress(private=True) as egress:
        assert (await call(egress, shop.url())).error is None
        async with asyncio.timeout(5):
            await gone.wait()


async def test_who_stops_waiting_takes_the_answer_along() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with stranger(slow) as shop, Egress(private=True) as egress:
        left = asyncio.create_task(call(egress, shop.url()))
        await asyncio.sleep(0.05)
        left.cancel()
        assert (await call(egress, shop.url())).response == "ok"
    assert shop.connections == 2


@pytest.mark.parametrize("value", ["a\r\nHost: inner", "a\nb", "a\rb", "a\0b"])
async def test_a_header_is_one_line(value: str) -> None:
    async with stranger() as shop, Egress(private=True) as egress:
        outcome = await call(egress, shop.url(), headers={"kassa-subject": value})
    assert (outcome.status_code, outcome.error, shop.heads) == (None, "cut", [])
