"""The routes of the pages that a process serves."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.pages import buyer, cookies, develop, front, office, shop
from kassa.pages.form import read
from kassa.pages.frame import see_other
from kassa.pages.language import COOKIE, is_language
from kassa.pages.options import GROUPS, PageOptions
from kassa.pages.refusals import Refusals
from kassa.pages.static import serve_file

PREFIXES = ("/static", "/language", "/shop", "/pay", "/track", "/office", "/develop")
"""Addresses below which errors are pages."""
_A_YEAR_S = 365 * 86_400

_GROUPS: dict[str, Callable[[PageOptions], APIRouter]] = {
    "office": office.router,
    "shop": shop.router,
    "buyer": buyer.router,
    "develop": develop.router,
}
"""What makes the routes of each group."""


def pages_routers(options: PageOptions) -> tuple[APIRouter, ...]:
    """The routes of `options.groups`, and of what they share."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/static/{mark}/{name}", serve_file, methods=["GET"], response_model=None)

    @router.post("/language", response_model=None)
    async def choose(call: Call) -> Answer:
        """Remember a language, and go back to the page."""
        sent = await read(call)
        code, back = sent.get("language", ""), sent.get("back", "/")
        kept = [cookies.plain(COOKIE, code, max_age_s=_A_YEAR_S, secure=options.secure)] if is_language(code) else []
        return see_other(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", *kept)

    return (router, front.router(options), *(_GROUPS[name](options) for name in options.groups if name in _GROUPS))


__all__ = ["GROUPS", "PREFIXES", "PageOptions", "Refusals", "pages_routers"]
