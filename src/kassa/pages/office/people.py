"""The people of the back office, for admins: add somebody, give another password, close an account, end sessions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from fastapi import APIRouter

from kassa import staff
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.kit import ids
from kassa.kit.errors import Conflict, Invalid, KassaError, Refused
from kassa.pages.frame import see_other
from kassa.pages.office.acts import Mistake, why_of
from kassa.pages.office.session import Staff, form_of, office_page, staff_of
from kassa.pages.options import PageOptions
from kassa.staff.model import Account, good_name, good_password

_LIST = "/office/people"


class AtTheCommandLine(Refused):
    """Where a second admin is asked, admins are made and given passwords with `kassa staff`, not here."""

    code = "at_the_command_line"


def router(options: PageOptions) -> APIRouter:
    """Their routes."""
    made = APIRouter(include_in_schema=False)
    door = _Door(options)
    made.add_api_route(_LIST, door.listed, methods=["GET"], response_model=None)
    made.add_api_route(_LIST, door.add, methods=["POST"], response_model=None)
    made.add_api_route(f"{_LIST}/{{account_id}}", door.show, methods=["GET"], response_model=None)
    made.add_api_route(f"{_LIST}/{{account_id}}", door.change, methods=["POST"], response_model=None)
    return made


class _Door:
    """The handlers."""

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def listed(self, call: Call) -> Answer:
        """Everybody, and a form to add somebody."""
        return await self._listed(call, await staff_of(call, self._options, admin=True), {}, None)

    async def add(self, call: Call) -> Answer:
        """Add an account."""
        who, sent = await form_of(call, self._options, admin=True)
        try:
            why = why_of(sent)
            self._refuse_second_self(sent.get("role", ""))
            name, email = good_name(sent.get("name", ""), sent.get("email", ""), sent.get("role", ""))
            kept = await staff.hashed(good_password(sent.get("password", ""), name, email))
            async with call.ctx.db.transaction("staff.change") as tx:
                await staff.add_account(tx, who.hand(self._options, why), who.merchant_id, name, email, sent["role"], kept)
        except (Invalid, Refused, Conflict) as error:
            return await self._listed(call, who, sent, error)
        return see_other(_LIST)

    async def show(self, call: Call) -> Answer:
        """One account, where it is signed in, and what can be done."""
        who = await staff_of(call, self._options, admin=True)
        return await self._shown(call, who, await _find(call, who), None)

    async def change(self, call: Call) -> Answer:
        """Close it or open it, give it another password, or sign it out everywhere."""
        who, sent = await form_of(call, self._options, admin=True)
        found = await _find(call, who)
        try:
            await self._change(call, who, found, sent)
        except (Invalid, Refused, Conflict) as error:
            return await self._shown(call, who, found, error)
        return see_other(f"{_LIST}/{found.account_id}")

    async def _change(self, call: Call, who: Staff, found: Account, sent: Mapping[str, str]) -> None:
        hand, mine, account_id = who.hand(self._options, why_of(sent)), found.merchant_id, found.account_id
        match sent.get("word"):
            case "disable" | "enable" as word:
                async with call.ctx.db.transaction("staff.change") as tx:
                    await staff.switch_account(tx, hand, mine, account_id, disabled=word == "disable")
            case "password":
                self._refuse_second_self(found.role)
                kept = await staff.hashed(good_password(sent.get("password", ""), found.name, found.email))
                async with call.ctx.db.transaction("staff.change") as tx:
                    await staff.give_password(tx, hand, mine, account_id, kept)
            case "sign-out":
                async with call.ctx.db.transaction("staff.sign_out") as tx:
                    await staff.end_sessions(tx, hand, mine, account_id)
            case _:
                raise Mistake("word", "Choose what to do.")

    def _refuse_second_self(self, role: str) -> None:
        """Whoever could make an admin, or take one's place, would be two persons. Raises `AtTheCommandLine`."""
        if role == "admin" and self._options.approval_above:
            raise AtTheCommandLine

    async def _listed(self, call: Call, who: Staff, sent: Mapping[str, str], error: KassaError | None) -> Answer:
        found = await staff.accounts_of(call.ctx.db, who.merchant_id)
        typed = {name: sent.get(name, "") for name in ("name", "email", "role", "why")}
        mistake = error.message if error else None
        return office_page(
            call, who, "office/people.html", status=422 if error else 200, people=found, typed=typed, mistake=mistake
        )

    async def _shown(self, call: Call, who: Staff, found: Account, error: KassaError | None) -> Answer:
        sessions = await staff.sessions_of(call.ctx.db, found.merchant_id, found.account_id)
        mistake = error.message if error else None
        return office_page(
            call, who, "office/person.html", status=422 if error else 200, person=found, sessions=sessions, mistake=mistake
        )


async def _find(call: Call, who: Staff) -> Account:
    account_id: uuid.UUID | None = ids.parse(call.in_path["account_id"])
    found = await staff.account(call.ctx.db, who.merchant_id, account_id) if account_id else None
    if found is None:
        raise NotHere
    return found
