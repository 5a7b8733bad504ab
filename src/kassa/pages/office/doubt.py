"""`/office/doubt`: the one list of what waits for a person, each with what it means and the safe next steps."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter

from kassa import cases, desk
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.desk.model import SORTS, Waiting
from kassa.pages.office.look import Look, id_in, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions

_AT_ONCE = 50

MEANINGS = {
    "unknown": "The provider was asked and has not answered. It is being asked again by itself.",
    "parked": "Nobody says whether it was paid. Look at the provider, then say what you found.",
    "refund:parked": "No machine can give this back. Pay it back by hand, then say so.",
    "refund:pending": "It is still tried by itself; it takes longer than it should.",
    "held": "The order will not stand, and its money is not on its way back yet. It is tried by itself.",
    "checkout": "It should have ended. A worker may be missing, or a neighbour does not answer.",
    "dead_letters": "Look why its receiver refused, then send again what was given up.",
    "endpoint_disabled": "It is not called any more. Tell the merchant; enable it when its receiver works.",
    "report": "A provider reports a payment that is not known here. Look for it there.",
    "payment_unknown": "Asked for long enough. The buyer may have paid: look at the provider, then say what you found.",
    "act_unknown": "A neighbour never said whether it acted. Find out there, put it right, then close this.",
    "undo_stuck": "It cannot be undone by a call. Undo it there by hand, then close this.",
    "undo_failing": "An undo has failed for a day and is still tried. Mend the neighbour; it goes on by itself.",
    "refund_parked": "No machine can give this back. Pay it back by hand, then say so.",
    "refund_at_provider": "Cancel the payment in Payme's cabinet: Payme tells us, and the books follow.",
    "invariant_broken": "Something that must never be. Find out how it came about before anything is mended.",
    "receipt_in_doubt": "Payme took a card's payment and never performed it. Look at the receipt in its cabinet.",
    "amount_mismatch": "A provider reported another sum; nothing was applied. Agree with the provider.",
    "report_of_another_provider": "A report came from somebody who does not collect this payment. Look where it came from.",
    "report_contradicts": "A provider took back its yes; nothing was applied. Ask the provider.",
    "report_unmatched": "A provider reported something that nobody knew for 72 hours. Look for it in its statement.",
    "notice_not_sent": "The buyer was not told. Tell them another way, or send it again.",
}
"""What each status and each kind of case means for whoever looks; the handbook says more."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that waits, as it is shown."""

    waiting: Waiting
    means: str
    links: list[tuple[str, str]]
    command: str | None


def router(options: PageOptions) -> APIRouter:
    """The list, and one case."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/doubt", response_model=None)
    async def doubt(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        reach = look.who.reach or look.asked.get("merchant")
        sort = look.asked.get("sort")
        sort = sort if sort in SORTS else None
        largest = look.asked.get("by") == "amount"
        found = await desk.list_waiting(look.reader, reach, sort=sort, largest=largest, after=_after(look), limit=_AT_ONCE + 1)
        counts = await desk.count_waiting(look.reader, reach)
        shown, more = found[:_AT_ONCE], len(found) > _AT_ONCE and not largest
        return await look.page(
            "office/doubt.html",
            items=[item_of(look, each) for each in shown],
            sorts=[(name, words, sum(each.count for each in counts if each.sort == name)) for name, words in SORTS.items()],
            counts_by_sort=counts,
            total=sum(each.count for each in counts if sort in {None, each.sort}),
            sort=sort,
            largest=largest,
            is_first=_after(look) is None,
            next=f"{shown[-1].since.isoformat()}~{shown[-1].subject}" if more else None,
        )

    @made.get("/office/cases/{case_id}", response_model=None)
    async def case(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        found = await cases.find_case(look.reader, id_in(call, "case_id"))
        if found is None or look.who.reach not in {None, found.merchant_id}:
            raise NotHere
        about = look.of(found.merchant_id)
        return await about.page(
            "office/case.html", case=found, means=meaning("case", found.kind), about=link_of(about, found.subject)
        )

    return made


def item_of(look: Look, waiting: Waiting) -> Item:
    """One line of the list: what it means, where to look, and what may safely be done."""
    look = look.of(waiting.merchant_id if waiting.merchant_id != "-" else look.who.merchant_id)
    links = list(_LINKS[waiting.sort](look, waiting)) if waiting.sort in _LINKS else []
    if waiting.case_id is not None:
        links = [
            *([("Look", found)] if (found := link_of(look, waiting.subject)) else []),
            ("The case", look.link(f"/office/cases/{waiting.case_id}")),
            *([("Close it", look.link(f"/office/cases/{waiting.case_id}/close"))] if look.who.is_admin else []),
        ]
    return Item(waiting, meaning(waiting.sort, waiting.kind), links, _command(waiting))


def meaning(sort: str, kind: str) -> str:
    """What it means, in a sentence or two."""
    if kind.startswith("reconcile_"):
        return "A provider's statement and our books differ. Look at both, put it right where it is wrong, then close this."
    return MEANINGS.get(f"{sort}:{kind}") or MEANINGS.get(kind) or MEANINGS.get(sort) or ""


def link_of(look: Look, subject: str) -> str | None:
    """The page of what a subject names, where there is one."""
    kind, _, name = subject.partition(":")
    match kind:
        case "payment" | "order":
            return look.link(f"/office/{kind}s/{name}")
        case "checkout":
            return look.link(f"/office/checkouts/{name}")
        case "refund":
            return look.link(f"/office/refunds/{name}")
        case "endpoint":
            return look.link(f"/office/endpoints/{name}")
        case "invariant":
            return look.link("/office/system")
        case _:
            return None


def _after(look: Look) -> tuple[datetime, str] | None:
    since, _, subject = look.asked.get("after", "").partition("~")
    try:
        return (datetime.fromisoformat(since.replace(" ", "+")), subject) if subject else None
    except ValueError:
        return None


def _of_payment(look: Look, waiting: Waiting) -> list[tuple[str, str]]:
    resolve = [("Say what you found", look.link(f"/office/payments/{waiting.named}/resolve"))] if look.who.is_admin else []
    return [("Look", look.link(f"/office/payments/{waiting.named}")), *resolve]


def _of_refund(look: Look, waiting: Waiting) -> list[tuple[str, str]]:
    payment = (waiting.about or "").partition(":")[2]
    by_hand = look.who.is_admin and waiting.kind == "parked"
    done = [("Say that it is given back", look.link(f"/office/refunds/{waiting.named}/done"))] if by_hand else []
    return [("Look", look.link(f"/office/payments/{payment}")), *done]


def _of_order(look: Look, waiting: Waiting) -> list[tuple[str, str]]:
    order = (waiting.about or "").partition(":")[2]
    return [("Look", look.link(f"/office/orders/{order}"))] if order else [("Look", link_of(look, waiting.subject) or "")]


def _of_webhook(look: Look, waiting: Waiting) -> list[tuple[str, str]]:
    state = "failed" if waiting.kind == "dead_letters" else None
    return [("Look", look.link(f"/office/endpoints/{waiting.named}", status=state))]


def _of_report(look: Look, waiting: Waiting) -> list[tuple[str, str]]:
    return [("Look", look.link(f"/office/payments/{waiting.named}"))]


def _of_breach(look: Look, _waiting: Waiting) -> list[tuple[str, str]]:
    return [("Look", look.link("/office/system"))]


_LINKS: dict[str, Callable[[Look, Waiting], list[tuple[str, str]]]] = {
    "payment": _of_payment,
    "refund": _of_refund,
    "held": _of_order,
    "checkout": _of_order,
    "webhook": _of_webhook,
    "report": _of_report,
    "breach": _of_breach,
}


def _command(waiting: Waiting) -> str | None:
    """What is done by a command only."""
    return f"kassa verify --only {waiting.named}" if waiting.sort == "breach" else None
