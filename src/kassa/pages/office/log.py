"""`/office/log`: the audit log, and whether its chain holds."""

from __future__ import annotations

from fastapi import APIRouter

from kassa import audit
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.audit import ACTS, EVERYBODY, Page
from kassa.pages.office.look import Look, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions

_AT_ONCE = 50
_LARGEST = 2**62


def router(options: PageOptions) -> APIRouter:
    """The log and its check."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/log", response_model=None)
    async def log(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        found = await audit.find_lines(look.reader, _page(look))
        lines, more = found[:_AT_ONCE], len(found) > _AT_ONCE
        return await look.page(
            "office/log.html",
            lines=lines,
            acts=ACTS,
            asked=look.asked,
            everybody=EVERYBODY,
            chain=None,
            is_first="before" not in look.asked,
            older=lines[-1].place if more else None,
        )

    @made.get("/office/log/check", response_model=None)
    async def check(call: Call) -> Answer:
        """It reads the whole chain, so it is asked for by itself."""
        look = look_of(call, await staff_of(call, options, admin=True))
        [chain] = await audit.check_chains(call.ctx, look.merchant_id)
        lines = await audit.find_lines(look.reader, Page(merchant_id=look.merchant_id, limit=_AT_ONCE))
        return await look.page(
            "office/log.html", lines=lines, acts=ACTS, asked={}, everybody=EVERYBODY, chain=chain, is_first=True, older=None
        )

    return made


def _page(look: Look) -> Page:
    asked = look.asked
    act, before = asked.get("act"), asked.get("before", "")
    return Page(
        merchant_id=look.merchant_id,
        who=asked.get("who") or None,
        act=act if act in ACTS else None,
        subject=asked.get("about") or None,
        before=min(int(before), _LARGEST) if before.isascii() and before.isdigit() else None,
        limit=_AT_ONCE + 1,
    )
