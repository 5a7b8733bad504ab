"""Acts above the limit: what waits for a second admin, and their word."""

from __future__ import annotations

import secrets
from urllib.parse import quote

from fastapi import APIRouter

from kassa import approvals
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.approvals import Approval
from kassa.kit import ids, once
from kassa.kit.errors import Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused
from kassa.pages.frame import see_other
from kassa.pages.office.acts import Mistake, why_of
from kassa.pages.office.acts_money import carry_out_approved
from kassa.pages.office.session import Staff, form_of, office_page, staff_of
from kassa.pages.options import PageOptions

_LIST = "/office/approvals"
_SHOWN = 50
_WORDS = {
    "refund": "give money back",
    "cancel": "cancel an order and give back what was paid",
    "resolve": "say what became of a payment",
    "refund-done": "say that a refund was given back by hand",
}
_FOR_GOOD = (Invalid, Refused, Conflict, NotFound, NotAllowed)
"""Kinds of error after which the act as it was asked for will never be possible."""


def router(options: PageOptions) -> APIRouter:
    """Their routes."""
    made = APIRouter(include_in_schema=False)
    door = _Door(options)
    made.add_api_route(_LIST, door.listed, methods=["GET"], response_model=None)
    made.add_api_route(f"{_LIST}/{{approval_id}}", door.show, methods=["GET"], response_model=None)
    made.add_api_route(f"{_LIST}/{{approval_id}}", door.decide, methods=["POST"], response_model=None)
    return made


class _Door:
    """The handlers."""

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def listed(self, call: Call) -> Answer:
        """What waits, and what was decided, newest first."""
        who = await staff_of(call, self._options)
        before = ids.parse(call.asked().get("before", ""))
        waiting = await approvals.open_ones(call.ctx.db, who.reach, _SHOWN)
        found = await approvals.newest(call.ctx.db, who.reach, before, _SHOWN)
        older = found[-1].approval_id if len(found) == _SHOWN else None
        return office_page(
            call,
            who,
            "office/approvals.html",
            waiting=waiting,
            found=found,
            older=older,
            words=_WORDS,
            limits=self._options.approval_above,
        )

    async def show(self, call: Call) -> Answer:
        """One of them."""
        who = await staff_of(call, self._options)
        return self._shown(call, who, await _find(call, who), None)

    async def decide(self, call: Call) -> Answer:
        """Another admin's yes or no; a yes is carried out at once. One that was cut off is carried out by the same button."""
        who, sent = await form_of(call, self._options, admin=True)
        found, word = await _find(call, who), sent.get("word")
        try:
            if word == "again" and found.status == "approved":
                decided = found
            elif word in {"approve", "reject"}:
                decided = await approvals.decide(call.ctx, who.hand(self._options, why_of(sent)), found, word)
            else:
                raise Mistake("word", "Approve it or reject it.")
        except (Invalid, Refused, Conflict, NotAllowed) as error:
            return self._shown(call, who, await _find(call, who), error)
        if decided.status == "approved":
            await self._carry_out(call, decided)
        return see_other(f"{_LIST}/{found.approval_id}")

    async def _carry_out(self, call: Call, decided: Approval) -> None:
        """Do it and note what came of it. Whoever is busy with it at this moment notes it; an unknown end is found out again."""
        try:
            how = await carry_out_approved(call.ctx, self._options, decided)
        except once.InProgress:
            return
        except _FOR_GOOD as error:
            await approvals.note_outcome(call.ctx, decided, "failed", error.code)
        else:
            await approvals.note_outcome(call.ctx, decided, "done", how)

    def _shown(self, call: Call, who: Staff, found: Approval, error: KassaError | None) -> Answer:
        about, _, named = found.subject.partition(":")
        page_of = {"order": "orders", "payment": "payments"}.get(about)
        asked = [(name.replace("[", " ").rstrip("]"), value) for name, value in found.asked.items()]
        may = who.is_admin and found.status == "pending" and who.name != found.asked_by
        return office_page(
            call, who, "office/approval.html", status=422 if error else 200, found=found, asked=asked, may=may,
            words=_WORDS.get(found.act, found.act), mistake=error.message if error else None, once=secrets.token_urlsafe(18),
            about=f"/office/{page_of}/{quote(named, safe='')}" if page_of else None,
        )  # fmt: skip


async def _find(call: Call, who: Staff) -> Approval:
    approval_id = ids.parse(call.in_path["approval_id"])
    found = await approvals.find(call.ctx.db, who.reach, approval_id) if approval_id else None
    if found is None:
        raise NotHere
    return found
