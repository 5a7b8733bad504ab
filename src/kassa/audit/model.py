"""A line of the audit log, who stands in it, and how it is hashed. No I/O here."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from kassa.kit.clock import rfc3339_micros
from kassa.kit.secrets import Keys

EVERYBODY = "*"
"""The merchant of acts that concern all of them: plans, rules of all, the installation's own secrets."""
BEGIN = bytes(32)
"""What the first line of a chain follows."""
LONGEST_WHY = 1000

ACTS = {
    "approval.approve": "another admin said yes to an act above the limit",
    "approval.ask": "an act above the limit was asked for",
    "approval.reject": "another admin said no to an act above the limit",
    "buyer.forget": "a buyer's personal fields were erased",
    "case.close": "a case was closed by a person's word",
    "cashbox.remove": "a merchant's cashbox at Payme was taken away",
    "cashbox.set": "a merchant got a cashbox at Payme, or another one",
    "channel.open": "a channel was opened: what it sells in, and how it is paid",
    "delivery.replay": "deliveries are sent again",
    "endpoint.add": "an endpoint was made",
    "endpoint.change": "an endpoint was changed",
    "endpoint.delete": "an endpoint was deleted",
    "endpoint.disable": "an endpoint is called no more",
    "endpoint.enable": "an endpoint is called again",
    "endpoint.rotate": "an endpoint got a new secret",
    "fiscal.set": "what receipts tell the tax authority was changed",
    "key.make": "an API key was made",
    "key.revoke": "an API key was revoked",
    "merchant.add": "a merchant was added",
    "notice.again": "a message to a buyer is sent once more",
    "order.move": "an order was moved",
    "order.note": "tracking data or a note of an order was changed",
    "payment.decide": "a person said what became of a payment",
    "payment.refund": "money is given back",
    "plan.add": "a plan was added",
    "product.publish": "products were put up for sale, or changed",
    "product.withdraw": "products are sold no longer",
    "reconcile.note": "differences from a statement were listed, or closed",
    "refund.done": "a person gave a refund back by hand",
    "route.add": "a rule was added to an alias",
    "route.remove": "a rule was switched off",
    "secrets.reseal": "what is sealed was sealed anew under another secret",
    "staff.add": "an account of the back office was made",
    "staff.disable": "an account of the back office was closed",
    "staff.enable": "an account of the back office was opened again",
    "staff.password": "an account of the back office got another password",
    "staff.signin": "somebody signed in at the back office",
    "staff.signout": "somebody's sessions at the back office were ended",
    "stock.adjust": "stock on hand was changed",
    "subscription.activate": "a subscription was made active",
    "subscription.fill": "a merchant got tokens",
    "subscription.suspend": "a subscription was made inactive",
}
"""Every act that has a line, by its stable name."""

Plain = str | int | bool | None | Sequence[str] | Sequence[int]
"""What the small facts of an act may be: no fractions, so that what is read back is what was hashed."""


@dataclass(frozen=True, slots=True)
class By:
    """Who acts: an `operator` by login, `staff` or `admin` by the token's subject, an API `key` by its id, or a `gateway`.

    Whoever signed in at the back office is `staff` or `admin` by the name of the account.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


UNNAMED = By("operator", "unnamed")
"""An operator whom nobody named: the act has its line all the same."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A person's hand in an act: who, why, and the keys with which its line is sealed."""

    keys: Keys
    by: By = UNNAMED
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One act as it is told before its transaction ends. `what` holds small facts: no name, address, card or secret of anybody."""

    hand: Hand
    merchant_id: str
    name: str
    subject: str
    what: Mapping[str, Plain]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a merchant's chain; `place` counts from 1 without gaps."""

    merchant_id: str
    place: int
    who_kind: str
    who_name: str
    act: str
    subject: str
    why: str | None
    what: Mapping[str, Any]
    request_id: str | None
    at: datetime
    previous: bytes
    hash: bytes

    @property
    def by(self) -> By:
        """Who acted."""
        return By(self.who_kind, self.who_name)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a merchant's chain: the place and the hash of its last line; place 0 before the first."""

    last: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Which lines to read, newest first: `before` is the place behind which an earlier page ended (of one merchant)."""

    merchant_id: str | None = None
    who: str | None = None
    act: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 100


def hash_of(key: bytes, line: Line) -> bytes:
    """The keyed hash (HMAC-SHA256) of all members of a line and of the hash before it, however its facts are ordered."""
    said = [
        line.merchant_id, line.place, rfc3339_micros(line.at), line.who_kind, line.who_name, line.act, line.subject, line.why,
        line.what, line.request_id, line.previous.hex(),
    ]  # fmt: skip
    return hmac.new(key, orjson.dumps(said, option=orjson.OPT_SORT_KEYS), hashlib.sha256).digest()
