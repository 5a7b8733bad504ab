"""The back office, `/office`. Looks are open to staff and admins; what moves money, stock, keys or people is for admins."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from kassa.pages.office import (
    acts,
    acts_more,
    acts_orders,
    acts_payments,
    approvals,
    doubt,
    log,
    merchants,
    order,
    payment,
    people,
    products,
    search,
    sign_in,
    system,
    today,
)
from kassa.pages.options import PageOptions

_MAKERS: tuple[Callable[[PageOptions], APIRouter], ...] = (
    sign_in.router,
    people.router,
    approvals.router,
    acts.done_router,
    acts_orders.router,
    acts_payments.router,
    acts_more.router,
    today.router,
    search.router,
    doubt.router,
    order.router,
    payment.router,
    merchants.router,
    products.router,
    log.router,
    system.router,
)
"""What makes the routes, one file each."""


def router(options: PageOptions) -> APIRouter:
    """All routes of the back office."""
    made = APIRouter(include_in_schema=False)
    for make in _MAKERS:
        made.routes.extend(make(options).routes)
    return made
