"""The same line under TLS, on both event loops that there are: what is taken out of it is taken behind the decryption."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding
from tests.flows.broker_town import remove, until
from tests.unit.webhooks_delivery.strangers import Authority

from kassa.events.broker import Broker, Incoming, Message

Run = Callable[[Coroutine[Any, Any, None]], None]


@contextlib.asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext) -> Any:
    """A TLS listener that hands everything on to `port`; the port where it listens."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, there), pump(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def story(url: str, folder: Path, name: str) -> None:
    authority = Authority.found(folder)
    (folder / "authority.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    plain = urlsplit(url)
    async with tls_before(plain.port or 5672, authority.server("127.0.0.1")) as port:
        safe = f"amqps://{plain.username}:{plain.password}@127.0.0.1:{port}{plain.path}?cafile={folder / 'authority.pem'}"
        broker = Broker(safe, name, f"{name}.queue")
        assert await broker.ready(10)
        letters = [
            Message("order.paid", str(uuid.uuid4()), "order.paid", b"x" * (n * 700), {"kassa-sequence": n}) for n in range(200)
        ]
        assert await broker.publish(letters) == 200
        heard: list[Incoming] = []

        def take(incoming: Incoming) -> None:
            heard.append(incoming)
            incoming.done()

        async with broker.consume(take):
            await until(lambda: len(heard) >= 200)
        assert sorted(str(each.message_id) for each in heard) == sorted(letter.message_id for letter in letters)
        await broker.close()
    await remove(url, name)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_messages_go_there_and_back_under_tls(run: Run, rabbitmq_url: str, tmp_path: Path) -> None:
    run(story(rabbitmq_url, tmp_path, f"test-{uuid.uuid4().hex[:12]}"))
