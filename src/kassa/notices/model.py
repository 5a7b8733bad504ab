"""A notice, which events it is made of, whom it is for, and when it is tried again. No I/O here."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from kassa.kit.languages import ENGLISH, usable_language
from kassa.kit.secrets import Keys

TYPE_OF_EVENT = {
    "order.created": "order_confirmation",
    "order.paid": "payment_confirmation",
    "order.processing": "status_update",
    "order.shipped": "status_update",
    "order.delivered": "status_update",
    "order.cancelled": "order_cancellation",
    "refund.succeeded": "payment_confirmation",
    "payment.refunded": "payment_confirmation",
}
"""What a buyer hears of, and its name in the orders contract (section 7). `refund.succeeded`: of a part of a payment only."""

AGAIN_S = (1, 5, 30, 120, 600, 1800)
HOURLY_S = 3600
GIVE_UP_AFTER_S = 3 * 24 * 3600

_LONGEST_EMAIL = 254
_LONGEST_NAME = 60
_EMAIL = re.compile(r"[^\s\x00-\x20\x7f-\x9f\ud800-\udfff\"(),:;<>@\[\\\]]{1,64}@(?!-)[\w-]+(?:\.[\w-]+)*")
"""One mailbox: quoted names, comments and lists, which a header could take for more than one, are refused."""
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff@/\\<>]")
"""Control characters, those that turn the direction of writing, and what would make a name look like an address or a link."""

_ENCODED = "=?"
"""How an encoded word begins: decoded on the way into a header, it could bring a line break with it."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Who is told of an order, and where: what a token or a request said, until `usable` has looked at it.

    `locked`: an address was kept, but no present secret opens it. `language`: in which they are written to.
    """

    buyer_id: str | None = None
    email: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    locked: bool = False
    language: str = ENGLISH

    def usable(self) -> Contact:
        """The same without an address that is none, without a name that must not stand in a message, in a language of ours."""
        language = usable_language(self.language)
        return Contact(self.buyer_id, usable_email(self.email), usable_name(self.name), language=language)


def usable_email(text: str | None) -> str | None:
    """`text` if it is one plain e-mail address of at most 254 characters, else None."""
    if text is None or len(text) > _LONGEST_EMAIL or not _EMAIL.fullmatch(text) or ".." in text or _ENCODED in text:
        return None
    try:
        text.rpartition("@")[2].encode("idna")
    except UnicodeError:  # a part of the domain is too long, or has characters that no domain has
        return None
    return text


def email_keys(keys: Keys, email: str) -> list[bytes]:
    """The keyed hash by which an address is found, and that under the secret which is being replaced, if one is."""
    said = b"email\x00" + email.strip().lower().encode()
    return [each.fingerprint(said) for each in (keys, keys.before) if each is not None]


def usable_name(text: str | None) -> str | None:
    """`text` without blanks around it, if a message may greet somebody by it: printable, at most 60 characters; else None."""
    name = (text or "").strip()
    return name if name and len(name) <= _LONGEST_NAME and not _NOT_IN_A_NAME.search(name) and _ENCODED not in name else None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one order; `key` makes every attempt the same message to the receiver.

    `amount` is what a refund has given back, in major units. `again` is how often a person has had it sent once more.
    """

    merchant_id: str
    notice_id: uuid.UUID
    order_id: uuid.UUID
    event_id: uuid.UUID
    type: str
    event_type: str
    amount: str | None
    attempts: int
    age_s: float
    created_at: datetime
    again: int = 0

    @property
    def key(self) -> str:
        """The idempotency key: `<order_id>:<event_id>`. Sent once more by hand it is another message: `….again1`."""
        return f"{self.order_id}:{self.event_id}" + (f".again{self.again}" if self.again else "")

    @property
    def wait_s(self) -> float | None:
        """Seconds before the next attempt; None when it was tried for three days."""
        if self.age_s > GIVE_UP_AFTER_S:
            return None
        return AGAIN_S[self.attempts - 1] if self.attempts <= len(AGAIN_S) else HOURLY_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: `sent`, `later` (try again) or `never`. `why` is kept, so it names no person and no address."""

    kind: str
    why: str | None = None


SENT = Outcome("sent")


def later(why: str) -> Outcome:
    """Not this time."""
    return Outcome("later", why)


def never(why: str) -> Outcome:
    """The receiver will not take it, however often it is tried."""
    return Outcome("never", why)


@dataclass(frozen=True, slots=True)
class NoticeSent:
    """A message to a buyer, and how far it is."""

    notice_id: uuid.UUID
    order_id: uuid.UUID
    event_id: uuid.UUID
    type: str
    status: str
    attempts: int
    created_at: datetime
