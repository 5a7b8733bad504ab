"""`/office/payments`: payments, and one payment with everything that belongs to it."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import desk, payments
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.pages.frame import see_other
from kassa.pages.office.look import Look, id_in, look_at, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.office.story import read_family
from kassa.pages.options import PageOptions
from kassa.payments import Payment, requests
from kassa.payments.requests import overview

STATUSES = (
    "opened", "waiting", "unknown", "parked", "paid", "declined", "expired", "cancelled", "refunding", "refunded", "reversed",
)  # fmt: skip
_UNSURE = frozenset({"unknown", "parked"})


def router(options: PageOptions) -> APIRouter:
    """The list, a payment, and the way from a refund to its payment."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/payments", response_model=None)
    async def all_payments(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        status = look.asked.get("status")
        status = status if status in STATUSES else None
        page = await desk.lists.payments(look.reader, look.merchant_id, look.at(), status=status)
        return await look.page("office/payments.html", page=page, wanted=status, statuses=STATUSES)

    @made.get("/office/payments/{payment_id}", response_model=None)
    async def one(call: Call) -> Answer:
        look, payment_id = await look_at(call, await staff_of(call, options), "payment_id")
        payment = await payments.find(look.reader, look.merchant_id, payment_id)
        if payment is None:
            raise NotHere
        details = await requests.details(look.reader, look.merchant_id, payment_id)
        family = await read_family(look, payment_id)
        return await look.page("office/payment.html", payment=payment, details=details, family=family, acts=_acts(look, payment))

    @made.get("/office/refunds/{refund_id}", response_model=None)
    async def refund(call: Call) -> Answer:
        """A refund is shown with its payment."""
        look = look_of(call, await staff_of(call, options))
        found = await overview.refund_anywhere(look.reader, id_in(call, "refund_id"))
        if found is None or look.who.reach not in {None, found.merchant_id}:
            raise NotHere
        return see_other(look.of(found.merchant_id).link(f"/office/payments/{found.payment_id}"))

    return made


def _acts(look: Look, payment: Payment) -> list[tuple[str, str]]:
    """What may be done now by whoever looks; the pages of the acts judge again."""
    here = f"/office/payments/{payment.payment_id}"
    acts = []
    if look.who.is_admin and payment.refundable_minor > 0:
        acts.append(("Give money back", look.link(f"{here}/refund")))
    if look.who.is_admin and payment.status in _UNSURE:
        acts.append(("Say what you found", look.link(f"{here}/resolve")))
    return acts
