"""The developers' corner: `/develop`. What each contract can be asked, ready to paste, and what was told to whom.

In development it knows a demo token, ids of what is there, and the events of the demo merchant. Elsewhere it is served only when
`PAGES` names it, and then shows the contracts alone: no token, no key, no event.
"""

from __future__ import annotations

from fastapi import APIRouter

from kassa.pages.develop import calls, inspector, reference
from kassa.pages.options import PageOptions


def router(options: PageOptions) -> APIRouter:
    """All routes of the corner; the inspector's in development only."""
    made = APIRouter(include_in_schema=False)
    makers = [calls.router, reference.router, *([inspector.router] if options.demo_token else [])]
    for make in makers:
        made.routes.extend(make(options).routes)
    return made
