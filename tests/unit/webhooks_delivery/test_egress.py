"""How strangers are called: what each kind of answer becomes, and which addresses are never connected to (F63, F66)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.unit.webhooks_delivery.strangers import Authority, Stranger, open_proxy, stranger

from kassa.kit import addresses, database
from kassa.kit.addresses import Resolver
from kassa.kit.egress import Egress, Outcome

BODY = b'{"n":1}'
PUBLIC = "93.184.216.34"


async def post(url: str, *, timeout_s: float = 2, operators: bool = False, **options: object) -> Outcome:
    options = {"private": True} | options
    async with Egress(**options) as egress:  # type: ignore[arg-type]
        return await egress.post(url, BODY, {"Content-Type": "application/json"}, timeout_s=timeout_s, operators=operators)


def answering(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def leading(*answers: list[str]) -> tuple[Resolver, list[str]]:
    """A resolver that gives one answer after another, the last one for ever, and what it was asked."""
    left, asked = list(answers), list[str]()

    async def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve, asked


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_2xx_is_no_error() -> None:
    async with stranger(answering("202 ok", body=b"thank you")) as shop:
        outcome = await post(shop.url())
    assert (outcome.status_code, outcome.error, outcome.response) == (202, None, "thank you")
    assert shop.bodies == [BODY]
    assert shop.heads[0].startswith("POST /hook HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{shop.port}\r\n" in shop.heads[0]
    assert "accept-encoding" not in shop.heads[0].lower()


@pytest.mark.parametrize(
    ("status", "error"),
    [(301, "redirect"), (304, "redirect"), (308, "redirect"), (400, "status"), (410, "status"), (599, "status")],
)
async def test_any_other_status_is_an_error(status: int, error: str) -> None:
    async with stranger() as inner, stranger(answering(f"{status} x", f"Location: {inner.url()}")) as shop:
        outcome = await post(shop.url())
        assert (outcome.status_code, outcome.error) == (status, error)
        assert inner.connections == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("86401", 86400),
        ("9" * 30, 86400),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("9" * 5000, 86400),
    ],
)
async def test_retry_after_is_seconds_up_to_a_day(said: str, seconds: int | None) -> None:
    async with stranger(answering("503 x", f"Retry-After: {said}")) as shop:
        assert (await post(shop.url())).retry_after_s == seconds


async def test_retry_after_may_be_a_date() -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)
    async with stranger(answering("500 x", f"Retry-After: {format_datetime(at, usegmt=True)}")) as shop:
        outcome = await post(shop.url())
    assert outcome.retry_after_s is not None
    assert 57 <= outcome.retry_after_s <= 60


@pytest.mark.parametrize(
    ("at", "seconds"),
    [("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 86400), ("Mon, 99 Foo 2026 00:00:00 GMT", None)],
)
async def test_a_date_of_another_age_is_bounded(at: str, seconds: int | None) -> None:
    async with stranger(answering("500 x", f"Retry-After: {at}")) as shop:
        assert (await post(shop.url())).retry_after_s == seconds


async def test_a_2xx_asks_for_no_retry() -> None:
    async with stranger(answering("200 x", "Retry-After: 7")) as shop:
        assert (await post(shop.url())).retry_after_s is None


async def test_one_kibibyte_of_text_is_kept() -> None:
    body = "é€\x00\x1b[31m 4111 1111 1111 1111 \n".encode() + b"\xff\xfe" + b"x" * 9000
    async with stranger(answering("500 x", body=body)) as shop:
        outcome = await post(shop.url())
    assert outcome.response is not None
    assert len(outcome.response.encode()) <= 1024
    assert outcome.response.startswith("é€??[31m **** \n")
    assert "4111" not in outcome.response


@pytest.mark.parametrize("status", [200, 500])
async def test_of_a_body_that_never_ends_little_is_read(status: int) -> None:
    sent = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 {status} x\r\n\r\n".encode())
        while True:
            writer.write(b"y" * 1024)
            sent += 1024
            await writer.drain()
            await asyncio.sleep(0.001)

    async with stranger(talk) as shop:
        began = time.monotonic()
        outcome = await post(shop.url())
        assert time.monotonic() - began < 1
        assert outcome.status_code == status
        assert outcome.response == "y" * 1024
        await asyncio.sleep(0.05)
        stopped_at = sent
        await asyncio.sleep(0.05)
        assert sent == stopped_at, "we have hung up"
        assert sent < 64 * 1024


@pytest.mark.parametrize(("status", "error"), [(200, None), (500, "status")])
async def test_a_body_that_drips_is_not_waited_for(status: int, error: str | None) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 1000\r\n\r\n".encode())
        while True:
            writer.write(b"z")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with stranger(talk) as shop:
        outcome = await post(shop.url(), timeout_s=0.5)
    assert (outcome.status_code, outcome.error) == (status, error)
    assert 400 <= outcome.duration_ms <= 1000
    assert outcome.response is not None
    assert set(outcome.response) == {"z"}


async def test_a_head_that_drips_is_a_time_out() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            writer.write(bytes([each]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with stranger(talk) as shop:
        outcome = await post(shop.url(), timeout_s=0.4)
    assert (outcome.status_code, outcome.error, outcome.response) == (None, "timeout", None)
    assert 350 <= outcome.duration_ms <= 900


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\nX: " + b"z" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_connection_that_is_cut_or_speaks_no_http_is_cut(said: bytes) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with stranger(talk) as shop:
        outcome = await post(shop.url())
    assert (outcome.status_code, outcome.error) == (None, "cut")


async def test_half_a_body_says_enough() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async with stranger(talk) as shop:
        outcome = await post(shop.url())
    assert (outcome.status_code, outcome.error) == (200, None)


async def test_nobody_listening_is_no_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = await post(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (outcome.status_code, outcome.error) == (None, "connect")


async def test_a_name_that_leads_nowhere_is_told_so() -> None:
    resolve, asked = leading([])
    outcome = await post("https://shop.example.com/hook", resolve=resolve)
    assert (outcome.status_code, outcome.error) == (None, "dns")
    assert asked == ["shop.example.com"]


async def test_the_second_address_is_tried_when_the_first_refuses() -> None:
    resolve, _ = leading(["127.0.0.2", "127.0.0.1"])
    async with stranger() as shop:
        outcome = await post(shop.url("shop.example.com"), resolve=resolve)
    assert outcome.error is None
    assert f"Host: shop.example.com:{shop.port}\r\n" in shop.heads[0]


async def test_no_call_inside_a_transaction() -> None:
    token = database._open.set("a transaction")
    try:
        with pytest.raises(RuntimeError, match="inside transaction"):
            await post("http://127.0.0.1:1/")
    finally:
        database._open.reset(token)


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.found(tmp_path)


async def test_the_name_is_in_sni_and_host_and_is_verified(authority: Authority) -> None:
    resolve, _ = leading(["127.0.0.1"])
    told = list[str | None]()
    tls = authority.server("shop.example.com")
    tls.sni_callback = lambda _socket, name, _context: told.append(name)
    async with stranger(tls=tls) as shop:
        outcome = await post(shop.url("shop.example.com", scheme="https"), resolve=resolve, tls=authority.trusting())
    assert outcome.error is None, outcome
    assert told == ["shop.example.com"]
    assert f"Host: shop.example.com:{shop.port}\r\n" in shop.heads[0]


async def test_the_certificate_of_another_name_is_refused(authority: Authority) -> None:
    resolve, _ = leading(["127.0.0.1"])
    async with stranger(tls=authority.server("other.example.com")) as shop:
        outcome = await post(shop.url("shop.example.com", scheme="https"), resolve=resolve, tls=authority.trusting())
    assert (outcome.status_code, outcome.error, shop.heads) == (None, "tls", [])


async def test_a_certificate_that_nobody_vouches_for_is_refused(authority: Authority) -> None:
    async with stranger(tls=authority.server("127.0.0.1")) as shop:
        outcome = await post(shop.url(scheme="https"))
    assert (outcome.status_code, outcome.error, shop.heads) == (None, "tls", [])


async def test_a_server_without_tls_is_refused() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 what\r\n\r\n")

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        outcome = await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (outcome.status_code, outcome.error) == (None, "tls")


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_is_used_again() -> None:
    async with stranger() as shop, Egress(private=True) as egress:
        for _ in range(5):
            await egress.post(shop.url(), BODY, {}, timeout_s=2)
    assert (len(shop.heads), shop.connections) == (5, 1)


async def test_a_name_that_moves_takes_its_connections_with_it() -> None:
    """What is used again is the connection to the address that was judged, not the one that the name had."""
    resolve, asked = leading(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"])
    async with stranger() as shop, Egress(private=True, resolve=resolve) as egress:
        outcomes = [await egress.post(shop.url("shop.example.com"), BODY, {}, timeout_s=2) for _ in range(3)]
    assert [outcome.error for outcome in outcomes] == [None, None, "connect"]
    assert shop.connections == 1
    assert len(asked) == 3


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────

INNER = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001",
    "0177.1", "127.0.0.1.", "127.255.255.254", "0.0.0.0", "0", "0x0", "00", "10.0.0.1", "10.1", "167772161", "172.16.0.1",
    "172.31.255.255", "192.168.1.1", "192.168.257", "169.254.169.254", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
    "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[2001::1]",
    "[100::1]", "localhost", "LOCALHOST", "localhost.", "a.localhost", "db.local", "metadata.google.internal", "x.localdomain",
    "router.home.arpa", "redis", "127.0.0.1%23.example.com", "127。0。0。1", "①②⑦.0.0.1", "example.com@127.0.0.1", "127.0.0.1#@example.com",
    "127.0.0.1?@example.com", "127.0.0.1\\@example.com", "user:word@127.0.0.1",
]  # fmt: skip


def test_the_corpus_is_large() -> None:
    assert len(INNER) >= 60


@pytest.fixture
async def whole_machine() -> object:
    """A listener on every address of this machine that counts who connects."""
    async with _listening() as heard:
        yield heard


@contextlib.asynccontextmanager
async def _listening() -> object:  # type: ignore[misc]
    heard = Stranger()

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        writer.close()

    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    heard.port = listener.getsockname()[1]
    server = await asyncio.start_server(count, sock=listener)
    try:
        yield heard
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_no_spelling_of_an_inner_address_is_connected_to(whole_machine: Stranger, scheme: str) -> None:
    async with Egress() as egress:
        for host in INNER:
            for url in (f"{scheme}://{host}:{whole_machine.port}/hook", f"{scheme}://{host}/hook"):
                outcome = await egress.post(url, BODY, {}, timeout_s=2)
                assert (outcome.status_code, outcome.error) == (None, "refused_address"), url
    assert whole_machine.connections == 0


async def test_the_listener_would_have_heard(whole_machine: Stranger) -> None:
    for url in (
        f"http://127.1:{whole_machine.port}/",
        f"http://[::1]:{whole_machine.port}/",
        f"http://2130706433:{whole_machine.port}/",
    ):
        await post(url)
    assert whole_machine.connections == 3


@pytest.mark.parametrize(
    "known",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["169.254.169.254"],
        ["fe80::1%lo"],
        ["nonsense"],
        [PUBLIC, "10.0.0.1"],
    ],
)
async def test_a_name_that_leads_inside_is_refused(whole_machine: Stranger, known: list[str]) -> None:
    resolve, _ = leading(known)
    outcome = await post(f"https://shop.example.com:{whole_machine.port}/", private=False, resolve=resolve)
    assert (outcome.error, whole_machine.connections) == ("refused_address", 0)


async def test_a_name_is_asked_once_for_each_call_and_that_answer_counts(
    whole_machine: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: a public address first, and the inside whenever somebody asks again. The connection goes to what was judged."""
    resolve, asked = leading([PUBLIC], ["127.0.0.1"])
    went, loop = list[str](), asyncio.get_running_loop()
    original = loop.sock_connect

    async def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        went.append(address[0])
        if address[0] == PUBLIC:
            raise ConnectionRefusedError  # there is no such network here
        await original(sock, address)

    monkeypatch.setattr(loop, "sock_connect", connect)
    async with Egress(resolve=resolve) as egress:
        url = f"https://shop.example.com:{whole_machine.port}/"
        outcomes = [await egress.post(url, BODY, {}, timeout_s=2) for _ in range(3)]
    assert [outcome.error for outcome in outcomes] == ["connect", "refused_address", "refused_address"]
    assert asked == ["shop.example.com"] * 3
    assert went == [PUBLIC]
    assert whole_machine.connections == 0


async def test_a_kept_connection_does_not_outlive_the_judgement(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name had led outside, and a connection is kept; now it leads inside: that connection is not used, nor a new one made."""
    outside = {"127.0.0.1"}
    judged = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address in outside or judged(address))
    resolve, _ = leading(["127.0.0.1"])
    async with (
        stranger(tls=authority.server("shop.example.com")) as shop,
        Egress(resolve=resolve, tls=authority.trusting()) as egress,
    ):
        url = shop.url("shop.example.com", scheme="https")
        assert (await egress.post(url, BODY, {}, timeout_s=2)).error is None
        outside.clear()
        assert [(await egress.post(url, BODY, {}, timeout_s=2)).error for _ in range(2)] == ["refused_address"] * 2
    assert (shop.connections, len(shop.heads)) == (1, 1)


async def test_the_operators_address_is_not_judged() -> None:
    async with stranger() as shop:
        assert (await post(shop.url(), private=False, operators=True)).error is None
        assert (await post(shop.url(), private=False)).error == "refused_address"


async def test_the_operators_connection_is_not_lent_to_a_merchant() -> None:
    async with stranger() as shop, Egress() as egress:
        assert (await egress.post(shop.url(), BODY, {}, timeout_s=2, operators=True)).error is None
        assert (await egress.post(shop.url(), BODY, {}, timeout_s=2)).error == "refused_address"
    assert len(shop.heads) == 1


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stranger() as proxied, stranger() as shop:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxied.url(path=""))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert (await post(shop.url())).error is None
    assert (shop.connections, proxied.connections) == (1, 0)


async def test_the_proxy_of_the_operator_makes_every_call() -> None:
    async with stranger() as shop, open_proxy(shop.port) as (url, heard):
        outcome = await post("http://merchant.invalid/hook?a=b", proxy=url)
    assert outcome.error is None
    assert heard == ["POST http://merchant.invalid/hook?a=b HTTP/1.1"]
    assert "Host: merchant.invalid\r\n" in shop.heads[0]


async def test_through_a_proxy_the_judged_address_is_asked_for(authority: Authority) -> None:
    """With the name inside TLS: the proxy cannot be led elsewhere by another answer to the same name."""
    resolve, _ = leading([PUBLIC])
    async with stranger(tls=authority.server("shop.example.com")) as shop, open_proxy(shop.port) as (url, heard):
        outcome = await post("https://shop.example.com/hook", private=False, proxy=url, resolve=resolve, tls=authority.trusting())
    assert outcome.error is None, outcome
    assert heard == [f"CONNECT {PUBLIC}:443 HTTP/1.1"]
    assert "Host: shop.example.com\r\n" in shop.heads[0]


async def test_through_a_proxy_an_inner_address_is_refused_all_the_same() -> None:
    resolve, _ = leading(["10.0.0.1"])
    async with stranger() as shop, open_proxy(shop.port) as (url, heard):
        outcome = await post("https://shop.example.com/hook", private=False, proxy=url, resolve=resolve)
    assert (outcome.error, heard) == ("refused_address", [])


async def test_a_proxy_that_is_away_or_refuses_is_no_connection() -> None:
    resolve, _ = leading([PUBLIC])
    async with stranger(answering("403 no")) as proxied:
        assert (
            await post("https://shop.example.com/", private=False, proxy=proxied.url(path=""), resolve=resolve)
        ).error == "connect"
    assert (await post("http://merchant.invalid/", proxy=f"http://127.0.0.1:{proxied.port}")).error == "connect"
