"""Acts on a payment: give money back, say what became of one in doubt, say that a refund was given back by hand."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from kassa import collect, payments
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.kit import ids
from kassa.kit.errors import Conflict
from kassa.kit.money import Money, fixed_text
from kassa.pages.office.acts import Field, Mistake, Sheet, add, amount_of, done, why_of, within
from kassa.pages.office.acts_money import Step, carry_out_or_ask
from kassa.pages.office.session import Staff
from kassa.pages.options import PageOptions
from kassa.payments import Payment
from kassa.payments.requests import overview
from kassa.payments.requests.overview import BookedRefund

_REF = 255


class NothingToDecide(Conflict):
    """This payment is not in doubt, and cannot become that; nothing was changed."""

    code = "nothing_to_decide"


def router(options: PageOptions) -> APIRouter:
    """Their routes."""
    made = APIRouter(include_in_schema=False)
    add(made, options, RefundPayment(options), Resolve(options), RefundDone(options))
    return made


async def payment_of(call: Call, who: Staff) -> Payment:
    """The payment that the address names. Raises `NotHere`."""
    payment_id = ids.parse(call.in_path["payment_id"])
    found = await payments.find_anywhere(call.ctx.db, payment_id) if payment_id else None
    within(who, found.merchant_id if found else None)
    if found is None:
        raise NotHere
    return found


class RefundPayment:
    """Give money of a payment back, by amount."""

    path, admin = "/office/payments/{payment_id}/refund", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Payment:
        """The payment."""
        return await payment_of(call, who)

    def sheet(self, found: Payment) -> Sheet:
        """All that is left, or a sum."""
        fields = [
            Field("amount", f"Amount in {found.currency}", "number", most=20, hint="Leave it empty to give back all that is left.")
        ]
        says = ["The money goes back the way it came.", "The reason is kept with the refund, where the merchant sees it."]
        return Sheet("Give money back", says, _facts(found), "Give it back", _page(found), fields)

    async def act(self, call: Call, who: Staff, found: Payment, sent: Mapping[str, str]) -> str:
        """Begin the refund."""
        amount = amount_of(sent, "amount", found.currency) or Money(found.refundable_minor, found.currency)
        about, before = f"payment:{found.payment_id}", found.refunded_minor + found.refunding_minor
        step = Step("refund", about, found.merchant_id, amount, _page(found), before)
        return await carry_out_or_ask(call, self._options, who, step, sent)


class Resolve:
    """Find out what became of a payment, or take a person's word for it."""

    path, admin = "/office/payments/{payment_id}/resolve", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Payment:
        """The payment."""
        return await payment_of(call, who)

    def sheet(self, found: Payment) -> Sheet:
        """Ask, or say."""
        words = [
            ("ask", "Ask the provider now, and believe its answer"),
            ("paid", "It was paid: I have seen it in the provider's own records"),
            ("declined", "It was not paid: it is not in the provider's own records"),
        ]
        fields = [
            Field("word", "What became of it", "choice", choices=words, value="ask", required=True),
            Field(
                "ref",
                "The provider's own id of the charge, if it was paid",
                most=_REF,
                hint="Some providers cannot refund without it.",
            ),
        ]
        says = [
            f"Look for {found.provider_key} at the provider first: your word has the same effect as the provider's.",
            "Paid: the order goes on, or the money goes back if there is nothing to sell. Not paid: the order ends unpaid.",
        ]
        return Sheet("Resolve a payment", says, _facts(found), "Resolve it", _page(found), fields)

    async def act(self, call: Call, who: Staff, found: Payment, sent: Mapping[str, str]) -> str:
        """Ask, or take the word."""
        word = sent.get("word")
        if word == "ask":
            why_of(sent)
            return done("resolve", (await collect.resolve(call.ctx, found)).status, _page(found))
        if word not in {"paid", "declined"}:
            raise Mistake("word", "Say what became of it.")
        if len(sent.get("ref", "")) > _REF:
            raise Mistake("ref", f"Write at most {_REF} characters.")
        if found.status != word and not payments.MOVES.allows(found.status, word):
            raise NothingToDecide
        amount = Money(found.amount_minor, found.currency)
        step = Step("resolve", f"payment:{found.payment_id}", found.merchant_id, amount, _page(found))
        return await carry_out_or_ask(call, self._options, who, step, sent)


class RefundDone:
    """A parked refund was given back by hand."""

    path, admin = "/office/refunds/{refund_id}/done", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> BookedRefund:
        """The refund."""
        refund_id = ids.parse(call.in_path["refund_id"])
        found = await overview.refund_anywhere(call.ctx.db, refund_id) if refund_id else None
        within(who, found.merchant_id if found else None)
        if found is None:
            raise NotHere
        return found

    def sheet(self, found: BookedRefund) -> Sheet:
        """Pay first."""
        facts = [
            ("Sum", f"{fixed_text(found.amount_minor, found.currency)} {found.currency}"),
            ("Status", found.status),
            ("Provider said", found.message or "nothing"),
        ]
        says = ["Pay the buyer first, then say so here. From then on the books say that this money has gone back."]
        back = f"/office/payments/{found.payment_id}"
        return Sheet("A refund was given back by hand", says, facts, "It was given back", back)

    async def act(self, call: Call, who: Staff, found: BookedRefund, sent: Mapping[str, str]) -> str:
        """Note it."""
        if found.status == "failed":
            raise NothingToDecide("This refund failed and its sum was freed; give it back with a new refund.")
        step = Step(
            "refund-done", f"refund:{found.refund_id}", found.merchant_id, Money(found.amount_minor, found.currency),
            f"/office/payments/{found.payment_id}",
        )  # fmt: skip
        return await carry_out_or_ask(call, self._options, who, step, sent)


def _page(found: Payment) -> str:
    return f"/office/payments/{found.payment_id}"


def _facts(found: Payment) -> list[tuple[str, str]]:
    def total(minor: int) -> str:
        return f"{fixed_text(minor, found.currency)} {found.currency}"

    left = found.refundable_minor if found.status == "paid" else 0
    return [
        ("Payment", str(found.payment_id)),
        ("Status", found.status),
        ("Provider", found.account),
        ("Sum", total(found.amount_minor)),
        ("Taken", total(found.captured_minor)),
        ("Given back", total(found.refunded_minor + found.refunding_minor)),
        ("Can be given back", total(left)),
    ]
