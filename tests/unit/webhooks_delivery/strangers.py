"""Strangers on loopback: servers that answer as a test tells them, a proxy, and an authority whose certificates a test trusts."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthank you"


@dataclass
class Stranger:
    """A listener: what it heard, and over how many connections."""

    port: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    sent: int = 0

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextlib.contextmanager
def closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Hang up at the end, also when the test is over before."""
    try:
        yield
    finally:
        writer.transport.abort() if writer.is_closing() else writer.close()


async def _end(tasks: set[asyncio.Task[None] | None]) -> None:
    mine = [task for task in tasks if task is not None]
    for task in mine:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def stranger(answer: bytes | Talk = FINE, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stranger]:
    """Listens on a loopback port; reads requests and says `answer` to each, or talks after the first."""
    heard, tasks = Stranger(), set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        tasks.add(asyncio.current_task())
        with closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                heard.heads.append(head)
                length = next(
                    (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
                )
                heard.bodies.append(await reader.readexactly(length))
                if callable(answer):
                    await answer(reader, writer)
                    break
                writer.write(answer)
                heard.sent += len(answer)
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    heard.port = server.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        server.close()
        await _end(tasks)


async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[str], to: int) -> None:
    """A proxy that leads everything to one loopback port, whatever it was asked for."""
    head = await reader.readuntil(b"\r\n\r\n")
    heard.append(head.decode().split("\r\n")[0])
    there, onward = await asyncio.open_connection("127.0.0.1", to)
    with closing(onward):
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            onward.write(head)
        await asyncio.gather(_pump(reader, onward), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await source.read(4096):
            sink.write(part)
            await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def open_proxy(to: int) -> AsyncIterator[tuple[str, list[str]]]:
    """Its URL, and the first lines that it was asked."""
    heard: list[str] = []
    tasks = set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await proxy(reader, writer, heard, to)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    finally:
        server.close()
        await _end(tasks)


@dataclass(frozen=True)
class Authority:
    """Who vouches for servers; `trusting` is a client's context."""

    folder: Path
    _key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def found(cls, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
        made = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(_usage(signs=True), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(folder, key, made.sign(key, hashes.SHA256()))

    def trusting(self) -> ssl.SSLContext:
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, name: str) -> ssl.SSLContext:
        """The context of a server of this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        try:
            known: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            known = x509.DNSName(name)
        made = _builder(subject, self.certificate.subject, key)
        made = made.add_extension(x509.SubjectAlternativeName([known]), critical=False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        pem = self.folder / f"{name}.pem"
        pem.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
