"""E-mail: a letter is composed from the order as it is now and handed to a post.

The `Message-ID` and the date are the notice's own, so a letter that is handed over twice is recognised as the same one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Protocol

from kassa import orders
from kassa.kit.context import Context
from kassa.notices.letters import Letter, compose
from kassa.notices.model import Contact, Notice, Outcome, later, usable_email, usable_name


@dataclass(frozen=True, slots=True)
class Sender:
    """From whom letters come: a shop's name and its address."""

    name: str
    email: str

    @classmethod
    def read(cls, text: str) -> Sender:
        """`Shop <shop@example.com>`, or the address alone. Raises `ValueError`."""
        before, _, rest = text.rpartition("<") if text.rstrip().endswith(">") else ("", "", text)
        email = usable_email(rest.strip().removesuffix(">").strip())
        name = usable_name(before.strip().strip('"')) if before.strip() else None
        if email is None or (before.strip() and name is None):
            raise ValueError("must be an e-mail address such as Shop <shop@example.com>")
        return cls(name or email.partition("@")[2], email)

    @property
    def domain(self) -> str:
        """The part after the `@`."""
        return self.email.partition("@")[2]


class Post(Protocol):
    """Whoever takes letters."""

    @property
    def limit_s(self) -> float:
        """Seconds that it may take."""
        ...

    async def post(self, sender: Sender, letter: Letter) -> Outcome:
        """Hand over one letter."""
        ...


@dataclass(frozen=True, slots=True)
class Mail:
    """Write to the buyer ourselves. Who left no address that can be used is not written to.

    `follow`: where an order can be followed, by merchant and id; None where there is no such page.
    """

    by: Post
    sender: Sender
    follow: Callable[[str, uuid.UUID], str] | None = None

    @property
    def limit_s(self) -> float:
        """As long as the post takes, and a moment for the order."""
        return self.by.limit_s + 2

    async def tell(self, ctx: Context, notice: Notice, contact: Contact) -> Outcome:
        """Compose the letter and hand it over."""
        if contact.locked:
            return later("the address cannot be opened; is KASSA_SECRET another one?")
        if contact.email is None:
            return Outcome("sent", "no address")
        order = await orders.find(ctx.db, notice.merchant_id, notice.order_id)
        if order is None:
            return Outcome("sent", "no such order")
        link = self.follow(notice.merchant_id, notice.order_id) if self.follow else None
        return await self.by.post(self.sender, compose(notice, order, contact, self.sender.name, link))


def message_id(sender: Sender, letter: Letter) -> str:
    """The `Message-ID` of a letter: the same for every attempt."""
    return f"<{letter.key.replace(':', '.')}@{in_ascii(sender.domain)}>"


def in_ascii(domain: str) -> str:
    """A domain as it is written on the wire."""
    return domain.encode("idna").decode() if not domain.isascii() else domain


def message_of(sender: Sender, letter: Letter) -> EmailMessage:
    """The letter as an internet message; the same letter is the same bytes."""
    to = _address(letter.to_name or "", letter.to_email)
    message = EmailMessage(policy=SMTP if to.addr_spec.isascii() else SMTPUTF8)
    message["Message-ID"] = message_id(sender, letter)
    message["Date"] = format_datetime(letter.at)
    message["From"] = _address(sender.name, sender.email)
    message["To"] = to
    message["Subject"] = letter.subject
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{letter.key.partition(':')[2]}")
    return message


def _address(name: str, email: str) -> Address:
    local, _, domain = email.partition("@")
    return Address(name, local, in_ascii(domain))
