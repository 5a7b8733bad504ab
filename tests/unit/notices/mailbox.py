"""A mail server of our own making (aiosmtpd) that keeps what it accepts and can be told to misbehave."""

from __future__ import annotations

import email
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from tests import rig

OK = "250 Message accepted"


@dataclass(frozen=True)
class Received:
    """One letter that was accepted: who it was for by the envelope, and its bytes."""

    to: list[str]
    raw: bytes
    at: float

    @property
    def message(self) -> EmailMessage:
        return cast("EmailMessage", email.message_from_bytes(self.raw, policy=default))

    def part(self, kind: str) -> str:
        found = self.message.get_body((kind,))
        assert found is not None
        return str(found.get_content())

    @property
    def text(self) -> str:
        return self.part("plain")

    @property
    def html(self) -> str:
        return self.part("html")

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"])


@dataclass
class Mailbox:
    """What came in, in order, and what the next letters will meet."""

    port: int = 0
    letters: list[Received] = field(default_factory=list)
    tried: list[tuple[str, float]] = field(default_factory=list)
    """Recipients as they were named, refused ones too, with the time."""
    refused: dict[str, str] = field(default_factory=dict)
    """Recipients whom it does not take, and what it says."""
    replies: deque[str] = field(default_factory=deque)
    """What it says to the next letters instead of yes; a letter met by a no is not kept."""
    on_letter: Callable[[Received], None] | None = None
    """Called after a letter was kept and before anybody is told so."""
    passwords: list[tuple[str, str]] = field(default_factory=list)
    open_now: int = 0
    most_at_once: int = 0
    slow_s: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        self.tried.append((address, time.monotonic()))
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        import asyncio

        with self.lock:
            self.open_now += 1
            self.most_at_once = max(self.most_at_once, self.open_now)
        await asyncio.sleep(self.slow_s)
        with self.lock:
            self.open_now -= 1
            reply = self.replies.popleft() if self.replies else OK
            if not reply.startswith("250"):
                return reply
            received = Received(list(envelope.rcpt_tos), bytes(envelope.original_content), time.monotonic())
            self.letters.append(received)
        if self.on_letter is not None:
            self.on_letter(received)
        return reply

    def auth(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.passwords.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right", handled=False)

    def to(self, address: str) -> list[Received]:
        """The letters for one address, in order."""
        with self.lock:
            return [letter for letter in self.letters if letter.to == [address]]

    def wait(self, address: str, count: int, within: float = 30) -> list[Received]:
        """The letters for one address as soon as there are so many."""
        deadline = time.monotonic() + within
        while len(found := self.to(address)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} letters: {[each.message['Subject'] for each in found]}"
            time.sleep(0.02)
        return found


@contextmanager
def open_mailbox(**options: Any) -> Iterator[Mailbox]:
    """Let one listen on a loopback port of its own; `options` are those of aiosmtpd's `SMTP`."""
    mailbox = Mailbox(port=rig.free_port())
    if options.pop("with_passwords", False):
        options |= {"authenticator": mailbox.auth, "auth_required": True}
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, enable_SMTPUTF8=options.pop("utf8", True), **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
