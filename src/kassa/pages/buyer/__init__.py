"""What a buyer sees of a purchase: the pay page and the tracking page. Opened by a link with a token, or by the buyer's cookie."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from kassa.pages.buyer import pay, track
from kassa.pages.options import PageOptions

_PARTS: tuple[Callable[[PageOptions], APIRouter], ...] = (pay.router, track.router)
"""What makes the routes of each page."""


def router(options: PageOptions) -> APIRouter:
    """All routes of the buyer's pages."""
    made = APIRouter(include_in_schema=False)
    for part in _PARTS:
        made.routes.extend(part(options).routes)
    return made
