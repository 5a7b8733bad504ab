"""`/`: what is here, for somebody who opens this server in a browser."""

from __future__ import annotations

from fastapi import APIRouter

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.pages.frame import page
from kassa.pages.options import PageOptions

_DOORS = {"shop": ("/shop",), "office": ("/office",), "develop": ("/develop", "/docs")}


def router(options: PageOptions) -> APIRouter:
    """The front page."""
    made = APIRouter(include_in_schema=False)
    doors = [address for group in options.groups for address in _DOORS.get(group, ())]

    @made.get("/", response_model=None)
    async def front(call: Call) -> Answer:
        return page(call, "front.html", doors=doors)

    return made
