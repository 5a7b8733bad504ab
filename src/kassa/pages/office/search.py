"""`/office/search`: one box for everything. What is typed travels in a form and then sealed, so no URL shows an address."""

from __future__ import annotations

import base64

from fastapi import APIRouter

from kassa import desk, timeline
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.desk.model import Found, Hit
from kassa.desk.question import LONGEST, WholeCard, read_question
from kassa.kit import clock
from kassa.pages.form import read
from kassa.pages.frame import see_other
from kassa.pages.office.look import Look, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions

_ABOUT = b"office search"
_KINDS = {"order": "orders", "payment": "payments", "checkout": "checkouts", "delivery": "deliveries", "case": "cases"}


def router(options: PageOptions) -> APIRouter:
    """The box, and what it found."""
    made = APIRouter(include_in_schema=False)

    @made.post("/office/search", response_model=None)
    async def ask(call: Call) -> Answer:
        """Nothing is changed by it, so it carries no mark of the session; a foreign site is refused all the same."""
        look = look_of(call, await staff_of(call, options))
        typed = (await read(call)).get("find", "").strip()[:LONGEST]
        if not typed:
            return see_other(look.link("/office/search"))
        try:
            found = await _find(look, typed)
        except WholeCard as error:
            return await look.page("office/search.html", status=422, typed="", found=None, mistake=error.message, hits=[])
        if len(found.hits) == 1:
            return see_other(_address(look, found.hits[0]))
        sealed = base64.urlsafe_b64encode(options.keys.seal(typed.encode(), _ABOUT)).rstrip(b"=").decode()
        return see_other(look.link("/office/search", find=sealed))

    @made.get("/office/search", response_model=None)
    async def show(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        typed = _unsealed(options, call.asked().get("find", ""))
        try:
            found = await _find(look, typed) if typed else None
        except WholeCard:
            typed, found = "", None
        hits = [(each, _address(look, each)) for each in found.hits] if found else []
        return await look.page("office/search.html", typed=typed, found=found, mistake=None, hits=hits)

    return made


async def _find(look: Look, typed: str) -> Found:
    now = await clock.now(look.reader)
    sought = read_question(typed, now.date())
    if sought.id is not None and look.who.reach is None:
        look = look.of(await timeline.whose(look.reader, sought.id) or look.merchant_id)
    return await desk.find(look.reader, look.call.ctx.keys, look.merchant_id, sought, now)


def _address(look: Look, hit: Hit) -> str:
    return look.of(hit.merchant_id).link(f"/office/{_KINDS[hit.kind]}/{hit.name}")


def _unsealed(options: PageOptions, sealed: str) -> str:
    try:
        raw = options.keys.unseal(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), _ABOUT)
    except ValueError:
        return ""
    return (raw or b"").decode()
