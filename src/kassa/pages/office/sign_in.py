"""Sign in and out of the back office, and what somebody may do about their own account: sessions and password."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from kassa import staff
from kassa.api.answers import Answer, retry_after
from kassa.api.call import Call
from kassa.api.errors import RateLimited
from kassa.api.shop import MERCHANT
from kassa.kit import ids
from kassa.kit.redis import Redis
from kassa.kit.window import Limiter
from kassa.pages import cookies
from kassa.pages.form import read
from kassa.pages.frame import see_other
from kassa.pages.office.session import (
    COOKIE,
    FRONT,
    SIGN_IN,
    drop_token,
    form_of,
    leave_token,
    office_page,
    own_address,
    staff_of,
)
from kassa.pages.options import PageOptions
from kassa.staff.model import TooManyTries, WeakPassword, WrongSignIn, good_password

_RATE: Final = "300/minute"
"""Tries of one address that are looked at at all: behind it each costs two rows, and some of them a hash."""
_SESSIONS = "/office/sessions"
_WRONG = "Name or password is wrong."


def router(options: PageOptions) -> APIRouter:
    """Its routes."""
    made = APIRouter(include_in_schema=False)
    door = _Door(options)
    made.add_api_route(SIGN_IN, door.ask, methods=["GET"], response_model=None)
    made.add_api_route(SIGN_IN, door.sign_in, methods=["POST"], response_model=None)
    made.add_api_route("/office/sign-out", door.sign_out, methods=["POST"], response_model=None)
    made.add_api_route(_SESSIONS, door.sessions, methods=["GET"], response_model=None)
    made.add_api_route(_SESSIONS, door.end, methods=["POST"], response_model=None)
    made.add_api_route("/office/password", door.ask_password, methods=["GET"], response_model=None)
    made.add_api_route("/office/password", door.change_password, methods=["POST"], response_model=None)
    return made


class _Door:
    """The handlers. The rate is of this process, or of all that share a Redis; the count in the database is behind it."""

    def __init__(self, options: PageOptions) -> None:
        self._options = options
        self._limiter: Limiter | None = None

    async def ask(self, call: Call) -> Answer:
        """The form. Whoever is signed in may sign in as somebody else."""
        return _form(call, call.asked().get("next", ""))

    async def sign_in(self, call: Call) -> Answer:
        """Begin a session; a wrong name and a wrong password look the same."""
        sent = await read(call)
        if self._limiter is None:
            self._limiter = Limiter("office", _RATE, call.ctx.ports.get(Redis))
        if wait_s := await self._limiter.hit(call.address):
            raise RateLimited(int(wait_s) + 1)
        typed, kept = sent.get("name", ""), cookies.get(call, self._options.keys, COOKIE)
        try:
            _, token = await staff.sign_in(
                call.ctx, MERCHANT, typed, sent.get("password", ""), call.address, instead=str(kept["token"]) if kept else None
            )
        except WrongSignIn:
            return _form(call, sent.get("next", ""), typed=typed, mistake=_WRONG, status=422)
        except TooManyTries as error:
            shown = _form(call, sent.get("next", ""), typed=typed, mistake=error.message, status=429)
            return shown.with_headers(retry_after(error.retry_after))
        return see_other(own_address(sent.get("next", "")), leave_token(self._options, token))

    async def sign_out(self, call: Call) -> Answer:
        """End this session."""
        who, _ = await form_of(call, self._options)
        async with call.ctx.db.transaction("staff.sign_out") as tx:
            await staff.end_sessions(tx, who.hand(self._options), who.merchant_id, who.account_id, only=who.session_id)
        return see_other(SIGN_IN, drop_token(self._options))

    async def sessions(self, call: Call) -> Answer:
        """Where one is signed in."""
        who = await staff_of(call, self._options)
        found = await staff.sessions_of(call.ctx.db, who.merchant_id, who.account_id)
        return office_page(call, who, "office/sessions.html", sessions=found)

    async def end(self, call: Call) -> Answer:
        """End one of them, or all."""
        who, sent = await form_of(call, self._options)
        chosen = ids.parse(sent.get("session", ""))
        async with call.ctx.db.transaction("staff.sign_out") as tx:
            await staff.end_sessions(tx, who.hand(self._options), who.merchant_id, who.account_id, only=chosen)
        return see_other(_SESSIONS)

    async def ask_password(self, call: Call) -> Answer:
        """The form for another password."""
        return office_page(call, await staff_of(call, self._options), "office/password.html", mistake=None)

    async def change_password(self, call: Call) -> Answer:
        """Keep another password, for whoever knows the present one; every session ends."""
        who, sent = await form_of(call, self._options)
        account = await staff.account(call.ctx.db, who.merchant_id, who.account_id)
        try:
            if account is None or sent.get("password", "") != sent.get("again", ""):
                raise WeakPassword("The two new passwords are not the same.")
            new = good_password(sent.get("password", ""), account.name, account.email)
            _, token = await staff.sign_in(call.ctx, who.merchant_id, who.name, sent.get("present", ""), call.address)
        except (WeakPassword, WrongSignIn, TooManyTries) as error:
            mistake = "The present password is wrong." if isinstance(error, WrongSignIn) else error.message
            return office_page(call, who, "office/password.html", status=422, mistake=mistake)
        kept = await staff.hashed(new)
        mine = await staff.find_session(call.ctx.db, who.merchant_id, token)
        async with call.ctx.db.transaction("staff.change") as tx:
            keep = mine.session_id if mine else None
            await staff.give_password(tx, who.hand(self._options), who.merchant_id, who.account_id, kept, keep=keep)
        return see_other(_SESSIONS, leave_token(self._options, token))


def _form(call: Call, after: str, *, typed: str = "", mistake: str | None = None, status: int = 200) -> Answer:
    return office_page(
        call, None, "office/sign_in.html", status=status, after=own_address(after) if after else FRONT, typed=typed, mistake=mistake
    )
