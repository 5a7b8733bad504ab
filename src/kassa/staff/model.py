"""People of the back office: their accounts and sessions. No I/O here."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from kassa.kit.errors import Busy, Conflict, Invalid, NotAllowed, NotFound, Refused

ROLES = ("staff", "admin")
IDLE = timedelta(minutes=30)
"""A session without a sign of life for so long is over."""
LONGEST = timedelta(hours=12)
"""No session is older."""
SPAN = timedelta(minutes=15)
"""In so long a time an account may be tried `ACCOUNT_TRIES` times, and an address may try `ADDRESS_TRIES` times."""
ACCOUNT_TRIES, ADDRESS_TRIES = 10, 30

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")
_SHORTEST, _LONGEST_PASSWORD, _DIFFERENT = 12, 200, 6


class WrongSignIn(NotAllowed):
    """Name or password is wrong."""

    code = "wrong_sign_in"


class TooManyTries(Busy):
    """Too many tries to sign in; wait a little, or ask an admin."""

    code = "too_many_tries"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = max(1, retry_after)


class WeakPassword(Invalid):
    """A password needs 12 to 200 characters, six different ones among them, and must not hold the name or the e-mail address."""

    code = "weak_password"


class BadAccount(Invalid):
    """An account needs a name of 2 to 64 small letters, digits, dots and dashes, an e-mail address, and the role staff or admin."""

    code = "bad_account"


class AccountExists(Conflict):
    """There is an account with this name or this e-mail address."""

    code = "account_exists"


class AccountMissing(NotFound):
    """There is no such account."""

    code = "account_missing"


class LastAdmin(Refused):
    """This is the only admin who can sign in; make another one first."""

    code = "last_admin"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in, unless `disabled_at` is set."""

    merchant_id: str
    account_id: uuid.UUID
    name: str
    email: str
    role: str
    created_at: datetime
    password_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, at one browser."""

    merchant_id: str
    session_id: uuid.UUID
    account_id: uuid.UUID
    name: str
    role: str
    address: str
    created_at: datetime
    seen_at: datetime


def good_name(name: str, email: str, role: str) -> tuple[str, str]:
    """Name and address as they are kept. Raises `BadAccount`."""
    kept, address = name.strip().lower(), email.strip()
    if not _NAME.fullmatch(kept) or not _EMAIL.fullmatch(address) or role not in ROLES:
        raise BadAccount
    return kept, address


def good_password(text: str, *personal: str) -> str:
    """The password as it is hashed, whatever keyboard wrote it. `personal` must not stand in it. Raises `WeakPassword`."""
    spelt = spelling(text)
    lower = spelt.lower()
    named = any(each and each.lower() in lower for each in personal)
    if not _SHORTEST <= len(spelt) <= _LONGEST_PASSWORD or len(set(spelt)) < _DIFFERENT or named:
        raise WeakPassword
    return spelt


def spelling(text: str) -> str:
    """One spelling for the same characters, without blanks around them: keyboards compose them differently (NFKC)."""
    return unicodedata.normalize("NFKC", text).strip()
