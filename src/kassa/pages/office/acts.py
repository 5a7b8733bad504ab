"""How an act is done at the back office: a page that says what will happen, one form with a reason, and a page that says what came.

Every form carries a key that was made with it, so that sending it twice or going back is one effect. What a room refuses is shown
at the form, with what was typed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.api.keys import canonical, once_in
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, Invalid, Refused
from kassa.kit.money import InvalidMoney, Money, from_major
from kassa.kit.secrets import Keys
from kassa.pages.form import MARK, Stale
from kassa.pages.frame import see_other
from kassa.pages.office.session import Staff, form_of, office_page, own_address, staff_of
from kassa.pages.options import PageOptions

T = TypeVar("T")
DONE = "/office/done"
ONCE = "once"
_KEPT = timedelta(days=30)
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_SHORTEST_WHY, _LONGEST_WHY = 3, 250
_SENT_BEFORE = "This form was sent before with other values. Look what came of it; send it again if you mean both."


class Mistake(Invalid):
    """Something in the form is missing or wrong."""

    code = "mistake"

    def __init__(self, at: str, message: str) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form. `kind`: text, number, lines (of text), tick or choice, which has `choices` of (value, words)."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    value: str = ""
    choices: Sequence[tuple[str, str]] = ()
    required: bool = False
    most: int = 100


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the page of an act says: its `title`, what will happen (`says`), what it is about (`facts`), the words of its button.

    `back` is the page of what it is about.
    """

    title: str
    says: Sequence[str]
    facts: Sequence[tuple[str, str]]
    go: str
    back: str
    fields: Sequence[Field] = ()
    why: str = "Reason, for the audit log. Name no buyer"
    """What the field of the reason is called; empty for an act that has none."""


class Act(Protocol[T]):
    """One act: where it is, who may, and its three beats."""

    path: str
    admin: bool

    async def look(self, call: Call, who: Staff) -> T:
        """What it is about. Raises `NotHere`."""
        ...

    def sheet(self, found: T) -> Sheet:
        """What the page says of it."""
        ...

    async def act(self, call: Call, who: Staff, found: T, sent: Mapping[str, str]) -> str:
        """Do it; the address of the page that shows what came of it."""
        ...


class Acting(Generic[T]):
    """The two handlers of an act."""

    def __init__(self, options: PageOptions, act: Act[T]) -> None:
        self._options = options
        self._act = act

    async def ask(self, call: Call) -> Answer:
        """The page with the form."""
        who = await staff_of(call, self._options, admin=self._act.admin)
        return _shown(call, who, self._act.sheet(await self._act.look(call, who)), {}, None)

    async def do(self, call: Call) -> Answer:
        """Do it, or show the form again."""
        who, sent = await form_of(call, self._options, admin=self._act.admin)
        found = await self._act.look(call, who)
        try:
            return see_other(await self._act.act(call, who, found, sent))
        except Stale:
            raise
        except (Invalid, Refused, Conflict) as error:
            return _shown(call, who, self._act.sheet(found), sent, error, status=422)


def add(made: APIRouter, options: PageOptions, *acts: Act[Any]) -> None:
    """Give `made` the routes of these acts."""
    for each in acts:
        acting = Acting(options, each)
        made.add_api_route(each.path, acting.ask, methods=["GET"], response_model=None)
        made.add_api_route(each.path, acting.do, methods=["POST"], response_model=None)


def _shown(
    call: Call, who: Staff, sheet: Sheet, sent: Mapping[str, str], error: Invalid | Refused | Conflict | None, status: int = 200
) -> Answer:
    # A form that was sent with other values before gets another key: sent once more, it is another act.
    again = None if isinstance(error, once.KeyReused) else sent.get(ONCE)
    at = error.at if isinstance(error, Mistake) else ""
    mistake = _SENT_BEFORE if isinstance(error, once.KeyReused) else error.message if error else None
    return office_page(
        call, who, "office/act.html", status=status, sheet=sheet, sent=sent, mistake=mistake,
        mistake_at=at, once=again or secrets.token_urlsafe(18), action=call.scope["path"],
    )  # fmt: skip


# ── what acts have in common ─────────────────────────────────────────────────────────────────────────────────────────


def within(who: Staff, merchant_id: str | None) -> str:
    """The merchant, if `who` may see its rows. Raises `NotHere`."""
    if merchant_id is None or who.reach not in {None, merchant_id}:
        raise NotHere
    return merchant_id


def why_of(sent: Mapping[str, str]) -> str:
    """The reason. Raises `Mistake`."""
    why = sent.get("why", "")
    if not _SHORTEST_WHY <= len(why) <= _LONGEST_WHY:
        raise Mistake("why", f"Say why, in {_SHORTEST_WHY} to {_LONGEST_WHY} characters.")
    return why


def amount_of(sent: Mapping[str, str], name: str, currency: str) -> Money | None:
    """An amount in major units, or None for an empty field. Raises `Mistake`."""
    text = sent.get(name, "")
    if not text:
        return None
    try:
        amount = from_major(Decimal(text), currency) if _AMOUNT.fullmatch(text) else None
    except InvalidMoney:
        amount = None
    if amount is None or not amount.minor:
        raise Mistake(name, f"Write an amount of {currency} above zero, such as 10 or 9.99.")
    return amount


def whole_of(sent: Mapping[str, str], name: str) -> int:
    """A whole number, 0 for an empty field. Raises `Mistake`."""
    text = sent.get(name, "")
    if text and not _WHOLE.fullmatch(text):
        raise Mistake(name, "Write a whole number.")
    return int(text or "0")


def once_text(sent: Mapping[str, str]) -> str:
    """The key of a form. Raises `InvalidKey` where there is none of ours."""
    found = once.read_header(sent.get(ONCE))
    if found is None:
        raise once.InvalidKey
    return found


def key_of(keys: Keys, merchant_id: str, who: str, act: str, said: Mapping[str, str], text: str) -> once.Key:
    """The key of an act in its scope, kept for 30 days; known under a secret that is being replaced, too."""

    def under(each: Keys, before: once.Key | None) -> once.Key:
        payload = each.fingerprint(canonical({name: value for name, value in said.items() if name not in {MARK, ONCE}}))
        return once.Key(merchant_id, f"office:{who}", f"office {act}", text, payload, _KEPT, before)

    return under(keys, under(keys.before, None) if keys.before else None)


async def in_one(ctx: Context, name: str, key: once.Key, work: Callable[[Tx], Awaitable[str]]) -> str:
    """Do `work` in one transaction called `name`, once for its key; the address that it gives, also to a repeat."""

    async def answered(tx: Tx) -> Answer:
        return Answer(303, (await work(tx)).encode())

    return (await once_in(ctx, name, key, answered)).body.decode()


def done(act: str, how: str, back: str) -> str:
    """The address of the page that says what came of an act."""
    return f"{DONE}?{urlencode({'act': act, 'how': how, 'back': back})}"


# ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────────

_SAID: dict[tuple[str, str], str] = {
    ("refund", "succeeded"): "The money was given back.",
    ("refund", "pending"): "The refund was begun. Its provider has not said yes yet; it is tried on by itself.",
    ("refund", "failed"): "The provider refused the refund. The sum can be given back in another way.",
    ("refund", "parked"): "The refund needs a person: its provider cannot give this back. It is listed under Doubt.",
    ("refund-done", "succeeded"): "It is noted that the money was given back by hand.",
    ("cancel", "cancelled"): "The order was cancelled. What was paid goes back by itself, and the stock returns.",
    ("process", "processing"): "The order is being prepared.",
    ("ship", "shipped"): "The order was shipped. The buyer is told.",
    ("deliver", "delivered"): "The order was delivered. The buyer is told.",
    ("note", "noted"): "The note was added. The buyer sees it.",
    ("resolve", "paid"): "The payment is paid. Whatever follows from that is under way.",
    ("resolve", "declined"): "The payment was not paid. Whatever follows from that is under way.",
    ("resolve", "unknown"): "Its provider was asked and did not say. It is still in doubt.",
    ("resolve", "parked"): "Its provider was asked and did not say. It is still in doubt.",
    ("replay", "sent"): "The delivery is sent again now.",
    ("replay", "sending"): "The delivery is being sent at this moment, so it was left alone.",
    ("replay-all", "sent"): "All deliveries that had failed are sent again.",
    ("send", "sent"): "The message is sent once more.",
    ("stock", "changed"): "The stock was changed.",
    ("revoke", "revoked"): "The key was revoked. It is refused from now on.",
    ("revoke", "before"): "The key was revoked before.",
    ("close", "closed"): "The case was closed.",
}


def done_router(options: PageOptions) -> APIRouter:
    """The page that says what came of an act."""
    made = APIRouter(include_in_schema=False)

    async def show(call: Call) -> Answer:
        who = await staff_of(call, options)
        asked = call.asked()
        act, how = asked.get("act", ""), asked.get("how", "")
        said = _SAID.get((act, how)) or f"It was done. It is {how if how.isalpha() else 'as its page shows'} now."
        return office_page(call, who, "office/done.html", said=said, back=own_address(asked.get("back", "")))

    made.add_api_route(DONE, show, methods=["GET"], response_model=None)
    return made


@dataclass(frozen=True, slots=True)
class Doing:
    """An act on money as it is carried out, at once or after a second person's yes: `asked` is what its form said."""

    merchant_id: str
    act: str
    about: str
    asked: Mapping[str, str]
    why: str
    by: str
    key: once.Key = field(repr=False)
    most_minor: int | None = None
    """How much of a payment may have been given back with it, in all; None after a second person's yes, or without a limit."""
