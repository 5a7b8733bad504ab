"""Who sits at the back office: the session in the cookie, its role, and the mark that every form of that session carries.

A cookie holds a random token, sealed; the table holds its hash. So neither a stolen table nor a guessed id is a session. It goes
with requests from our own pages only (`SameSite=Strict`), below `/office` only, and by https only where the server has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from kassa import staff
from kassa.api.answers import Answer, Header
from kassa.api.call import Call
from kassa.api.errors import Forbidden
from kassa.api.shop import MERCHANT
from kassa.audit import By, Hand
from kassa.pages import cookies
from kassa.pages.form import MARK, Stale, read
from kassa.pages.frame import Speech, page
from kassa.pages.options import PageOptions
from kassa.pages.refusals import SeeOther
from kassa.staff.model import LONGEST

COOKIE = "kassa_office"
FRONT = "/office"
SIGN_IN = "/office/sign-in"
_PURPOSE = "office"
_NAV = (
    (FRONT, "Today"),
    ("/office/doubt", "Doubt"),
    ("/office/orders", "Orders"),
    ("/office/payments", "Payments"),
    ("/office/merchants", "Merchants"),
    ("/office/products", "Products"),
    ("/office/log", "Log"),
    ("/office/system", "System"),
)


class SignInFirst(SeeOther):
    """Sign in first."""

    code = "sign_in_first"


@dataclass(frozen=True, slots=True)
class Staff:
    """Whoever is signed in. `role` is `staff` or `admin`; `merchant_id` is the merchant for whom they work."""

    name: str
    role: str
    merchant_id: str
    session_id: uuid.UUID
    account_id: uuid.UUID
    mark: str = field(default="", repr=False)
    """What each form of this session carries."""

    @property
    def is_admin(self) -> bool:
        """Whether they may move money, change stock, keys and people."""
        return self.role == "admin"

    @property
    def reach(self) -> str | None:
        """The merchant whose rows they see; None: those of all (rulings, 38)."""
        return None if self.is_admin else self.merchant_id

    def hand(self, options: PageOptions, why: str | None = None) -> Hand:
        """Their hand in the audit log."""
        return Hand(options.keys, By(self.role, self.name), why)


async def staff_of(call: Call, options: PageOptions, *, admin: bool = False) -> Staff:
    """Who calls. Raises `SignInFirst`, which leads to the sign-in page and back, and `Forbidden` where an admin is needed.

    Each look counts as a sign of life: a session ends 30 minutes after the last, and 12 hours after its beginning.
    """
    kept = cookies.get(call, options.keys, COOKIE)
    found = await staff.find_session(call.ctx.db, MERCHANT, str(kept["token"])) if kept else None
    if found is None:
        raise SignInFirst(_sign_in_address(call))
    if admin and found.role != "admin":
        raise Forbidden
    mark = cookies.form_mark(options.keys, str(found.session_id), _PURPOSE)
    return Staff(found.name, found.role, found.merchant_id, found.session_id, found.account_id, mark)


async def form_of(call: Call, options: PageOptions, *, admin: bool = False) -> tuple[Staff, Mapping[str, str]]:
    """Who sends a form, and its fields. Raises what `staff_of` and `form.read` raise, and `Stale` for a form of another session."""
    found = await staff_of(call, options, admin=admin)
    fields = await read(call)
    if not cookies.same_mark(options.keys, str(found.session_id), _PURPOSE, fields.get(MARK, "")):
        raise Stale
    return found, fields


def office_page(call: Call, who: Staff | None, template: str, *headers: Header, status: int = 200, **values: Any) -> Answer:
    """A page of the back office, in English; `who` is at its top. `counts` by address stand beside names in the navigation."""
    speech = Speech("en")
    shown = {"t": speech.say, "speech": speech, "staff": who, "nav": _NAV, "counts": {}, **values}
    return page(call, template, *headers, status=status, **shown)


def leave_token(options: PageOptions, token: str) -> Header:
    """The header that leaves a session's token with the browser."""
    age_s = int(LONGEST.total_seconds())
    return cookies.put(options.keys, COOKIE, {"token": token}, max_age_s=age_s, secure=options.secure, path=FRONT, strict=True)


def drop_token(options: PageOptions) -> Header:
    """The header that takes it away."""
    return cookies.drop(COOKIE, secure=options.secure, path=FRONT)


def own_address(text: str) -> str:
    """`text` if it is an address of the back office, else its front: nobody is led elsewhere after signing in."""
    inside = text == FRONT or text.startswith((FRONT + "/", FRONT + "?"))
    return text if inside and "\\" not in text and "//" not in text and ".." not in text else FRONT


def _sign_in_address(call: Call) -> str:
    if call.scope["method"] != "GET" or call.scope["path"] == FRONT:
        return SIGN_IN
    query = call.scope.get("query_string", b"").decode("latin-1")
    return f"{SIGN_IN}?next={quote(call.scope['path'] + ('?' + query if query else ''), safe='/')}"
