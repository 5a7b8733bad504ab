"""Letters on their way: through a real mail server, through Mailgun, and to the screen of a developer."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import socket
from collections.abc import Iterator
from email.headerregistry import Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests import rig

from kassa.kit.neighbour import Neighbour, new_session
from kassa.notices import Contact
from kassa.notices.letters import Letter, compose
from kassa.notices.model import Outcome
from kassa.notices.ways.console import Console
from kassa.notices.ways.mail import Mail, Sender
from kassa.notices.ways.mailgun import Mailgun
from kassa.notices.ways.smtp import Smtp

from .mailbox import Mailbox, open_mailbox
from .orders_to_write_of import ASHA, line, notice, order

SHOP = Sender("Hill Road Store", "shop@example.com")
ID = "<00000000-0000-0000-0000-000000000001.00000000-0000-0000-0000-000000000009@example.com>"
SENT = Outcome("sent")


def letter(contact: Contact = ASHA, event: str = "order.created") -> Letter:
    return compose(notice(event), order(line("Mouse", 9990, 2)), contact, SHOP.name)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with open_mailbox() as mailbox:
        yield mailbox


def through(mailbox: Mailbox, **other: Any) -> Smtp:
    return Smtp("127.0.0.1", mailbox.port, **({"tls": "off"} | other))


# A mail server


async def test_a_letter_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    assert await through(mailbox).post(SHOP, letter()) == SENT
    [got] = mailbox.letters
    assert got.to == ["asha@example.com"]
    heads = got.message
    assert (heads["From"], heads["To"]) == ("Hill Road Store <shop@example.com>", "Asha Rao <asha@example.com>")
    assert heads["Subject"] == "Thank you for your order ORD-20260102-ABCD1234"
    assert heads["Message-ID"] == ID
    assert heads["Date"].datetime == dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
    assert heads["Auto-Submitted"] == "auto-generated"
    assert got.text.replace("\r\n", "\n").strip() == letter().text.strip()
    assert got.html.replace("\r\n", "\n").strip() == letter().html.strip()
    assert max(len(row) for row in got.raw.split(b"\r\n")) <= 998


async def test_a_letter_that_is_sent_twice_is_the_same_letter(mailbox: Mailbox) -> None:
    for _ in range(2):
        await through(mailbox).post(SHOP, letter())
    first, second = mailbox.letters
    assert first.raw == second.raw


@pytest.mark.parametrize("reply", ["421 closing", "451 try again later", "452 too busy", "552 too large", "554 looks like spam"])
async def test_a_letter_that_is_not_accepted_is_tried_again(mailbox: Mailbox, reply: str) -> None:
    mailbox.replies.append(reply)
    outcome = await through(mailbox).post(SHOP, letter())
    assert outcome == Outcome("later", f"answered {reply[:3]}")
    assert await through(mailbox).post(SHOP, letter()) == SENT


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("550 5.1.1 asha@example.com does not exist", "never"),
        ("551 not here", "never"),
        ("553 mailbox name not allowed", "never"),
        ("550 5.7.1 you are blocked", "later"),
        ("554 5.7.1 relay access denied", "later"),
        ("450 greylisted", "later"),
        ("452 mailbox full", "later"),
    ],
)
async def test_a_mailbox_that_does_not_exist_is_given_up(mailbox: Mailbox, reply: str, kind: str) -> None:
    mailbox.refused["asha@example.com"] = reply
    outcome = await through(mailbox).post(SHOP, letter())
    assert outcome == Outcome(kind, f"recipient refused: {reply[:3]}")
    assert mailbox.letters == []


async def test_nobody_at_home_is_tried_again() -> None:
    post = Smtp("127.0.0.1", rig.free_port(), tls="off")
    assert [await post.post(SHOP, letter()) for _ in range(5)] == [Outcome("later", "no answer")] * 5
    assert await post.post(SHOP, letter()) == Outcome("later", "not reachable"), "after five it is left alone for a moment"


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        post = Smtp("127.0.0.1", mute.getsockname()[1], tls="off", limit_s=0.3)
        assert (await post.post(SHOP, letter())).kind == "later"


async def test_a_farewell_that_fails_does_not_send_it_again() -> None:
    """The server accepts the letter and then drops dead before it says goodbye."""
    accepted = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        body = False
        while row := await reader.readline():
            if body:
                if row != b".\r\n":
                    continue
                body = False
                writer.write(b"250 accepted\r\n")
                await writer.drain()
                accepted.set()
                writer.transport.abort()
                return
            body = row.upper().startswith(b"DATA")
            writer.write(b"354 go on\r\n" if body else b"250 fine\r\n")

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        post = Smtp("127.0.0.1", server.sockets[0].getsockname()[1], tls="off")
        assert await post.post(SHOP, letter()) == SENT
    assert accepted.is_set()


@pytest.mark.parametrize("address", ["jürgen@example.com", "asha@bücher.example"])
async def test_addresses_beyond_ascii_reach_a_server_that_takes_them(mailbox: Mailbox, address: str) -> None:
    assert await through(mailbox).post(SHOP, letter(Contact("7", address, "Jürgen Müller"))) == SENT
    [got] = mailbox.letters
    assert got.to == [address.replace("bücher.example", "xn--bcher-kva.example")]
    assert "Jürgen Müller" in str(got.message["To"])


async def test_an_address_that_the_server_cannot_write_is_given_up() -> None:
    with open_mailbox(utf8=False) as old:
        outcome = await through(old).post(SHOP, letter(Contact("7", "jürgen@example.com")))
    assert outcome == Outcome("never", "the mail server takes no such address")
    assert old.letters == []


@pytest.mark.parametrize("name", ["O'Brien, Jr.", 'Asha "the" Rao', "李小龍", "Zoë " * 12])
async def test_a_name_is_a_name_and_nothing_else_in_a_header(mailbox: Mailbox, name: str) -> None:
    assert await through(mailbox).post(SHOP, letter(Contact("7", "asha@example.com", name))) == SENT
    [got] = mailbox.letters
    assert got.to == ["asha@example.com"]
    assert got.message["Bcc"] is None
    [to] = got.message["To"].addresses
    assert to.addr_spec == "asha@example.com"


def test_a_header_cannot_be_broken_even_by_an_address_that_was_not_looked_at() -> None:
    with pytest.raises(ValueError, match=r"(?i)invalid|cr|lf"):
        Address("Asha", "asha\r\nBcc: all", "example.com")


async def test_an_address_that_no_secret_opens_is_waited_for() -> None:
    """It would be a message lost if it counted as no address."""
    told = await Mail(Console(), SHOP).tell(None, notice("order.created"), Contact("7", locked=True))  # type: ignore[arg-type]
    assert told.kind == "later"
    assert "KASSA_SECRET" in str(told.why)


# Encryption and passwords


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "mail.pem", folder / "mail.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[tuple[Mailbox, Path]]:
    """A server that takes letters only after STARTTLS and with a password."""
    import ssl

    public, private = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with open_mailbox(tls_context=context, require_starttls=True, with_passwords=True) as mailbox:
        yield mailbox, public


async def test_with_starttls_and_a_password_it_arrives(safe: tuple[Mailbox, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, public = safe
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    post = through(mailbox, tls="starttls", user="shop", password="right")
    assert await post.post(SHOP, letter()) == SENT
    assert mailbox.passwords == [("shop", "right")]
    assert len(mailbox.letters) == 1


async def test_a_wrong_password_is_tried_again_later(safe: tuple[Mailbox, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, public = safe
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    assert await through(mailbox, tls="starttls", user="shop", password="wrong").post(SHOP, letter()) == Outcome(
        "later", "answered 535"
    )


async def test_a_stranger_with_a_certificate_of_its_own_gets_neither_letter_nor_password(safe: tuple[Mailbox, Path]) -> None:
    mailbox, _ = safe
    assert (await through(mailbox, tls="starttls", user="shop", password="right").post(SHOP, letter())).kind == "later"
    assert mailbox.passwords == []
    assert mailbox.letters == []


async def test_a_server_without_starttls_gets_neither_letter_nor_password(mailbox: Mailbox) -> None:
    assert (await through(mailbox, tls="starttls", user="shop", password="right").post(SHOP, letter())).kind == "later"
    assert mailbox.letters == []
    assert mailbox.tried == []


def test_no_password_is_shown() -> None:
    assert "hunter2" not in repr(Smtp("h", password="hunter2"))


# Mailgun


class Gun:
    """A Mailgun of our own: what it was sent, and what it says."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, dict[str, str], dict[str, list[str]]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.headers), parse_qs(await request.text())))
        return web.json_response({"id": "<1@example.com>", "message": "Queued. Thank you."}, status=self.status)


async def post_by_mailgun(gun: Gun, what: Letter) -> Outcome:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gun.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with new_session() as session:
            return await Mailgun.of(Neighbour("mailgun", f"http://127.0.0.1:{port}", session), "mg.example.com", "key-1").post(
                SHOP, what
            )
    finally:
        await runner.cleanup()


async def test_mailgun_is_given_the_letter_as_a_form() -> None:
    gun = Gun()
    assert await post_by_mailgun(gun, letter()) == SENT
    [(path, headers, form)] = gun.asked
    assert path == "/v3/mg.example.com/messages"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"api:key-1").decode()
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form["from"] == ["Hill Road Store <shop@example.com>"]
    assert form["to"] == ["Asha Rao <asha@example.com>"]
    assert form["subject"] == [letter().subject]
    assert form["text"] == [letter().text]
    assert form["html"] == [letter().html]
    assert form["h:Message-Id"] == [ID]


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "sent"), (400, "never"), (401, "later"), (404, "later"), (429, "later"), (500, "later")]
)
async def test_what_mailguns_answers_mean(status: int, kind: str) -> None:
    assert (await post_by_mailgun(Gun(status), letter())).kind == kind


async def test_no_mailgun_at_home_is_tried_again() -> None:
    async with new_session() as session:
        post = Mailgun.of(Neighbour("mailgun", f"http://127.0.0.1:{rig.free_port()}", session), "mg.example.com", "key-1")
        assert await post.post(SHOP, letter()) == Outcome("later", "not reachable")
        assert "key-1" not in repr(post)
        assert post.authorization not in repr(post)


# The screen


async def test_a_developer_reads_letters_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert await Console().post(SHOP, letter()) == SENT
    shown = capsys.readouterr().out
    assert "To:      Asha Rao <asha@example.com>" in shown
    assert "Subject: Thank you for your order ORD-20260102-ABCD1234" in shown
    assert "2 x Mouse (₹99.90): ₹199.80" in shown
    assert "<table" not in shown
