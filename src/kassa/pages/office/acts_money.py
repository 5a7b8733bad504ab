"""Acts on money, as they are carried out: at once, or after a second person's yes where the amount is above the limit.

Each ends in the verb that the APIs and the commands call, under a key of its own.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kassa import approvals, checkout, collect, payments
from kassa.api.call import Call
from kassa.approvals import Approval, Wish
from kassa.audit import By
from kassa.checkout.wishes import MoveWish, Placed
from kassa.collect import LineAsked, Refunded, RefundWish, Replayed
from kassa.collect.model import AboveLimit
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.money import Money, fixed_text
from kassa.pages.form import MARK
from kassa.pages.office.acts import ONCE, Doing, amount_of, done, key_of, once_text, whole_of, why_of
from kassa.pages.office.session import Staff
from kassa.pages.options import PageOptions
from kassa.payments import requests

ADMIN: Final = "admin"
_LONGEST_NOTE = 255


@dataclass(frozen=True, slots=True)
class Step:
    """An act on money as a form asks for it. `before_minor`: what has gone the same way already; the limit is for all of it."""

    act: str
    about: str
    merchant_id: str
    amount: Money
    back: str
    before_minor: int = 0


async def carry_out_or_ask(call: Call, options: PageOptions, who: Staff, step: Step, sent: Mapping[str, str]) -> str:
    """Do a form's act, or keep it for a second person when it is above the limit; where to go then."""
    why, text = why_of(sent), once_text(sent)
    asked = {name: value for name, value in sent.items() if name not in {MARK, ONCE, "why"} and value}
    limit = options.approval_above.get(step.amount.currency)
    key = key_of(options.keys, step.merchant_id, who.name, f"{step.act} {step.about}", sent, text)
    again = await once.find(call.ctx.db, options.keys, key) is not None  # what it has given back itself does not count against it
    if again or limit is None or step.amount.minor + step.before_minor <= limit:
        doing = Doing(step.merchant_id, step.act, step.about, asked, why, who.name, key, limit)
        with contextlib.suppress(AboveLimit):  # others were quicker, and with theirs it is too much
            return done(step.act, await carry_out(call.ctx, doing), step.back)
    if step.act == "refund" and not lines_of(asked):  # what is approved is this sum, however much is left by then
        asked["amount"] = fixed_text(step.amount.minor, step.amount.currency)
    wish = Wish(step.act, step.about, asked, step.amount, why, text, who.name)
    made = await approvals.ask(call.ctx, who.hand(options, why), step.merchant_id, wish)
    return f"/office/approvals/{made.approval_id}"


async def carry_out_approved(ctx: Context, options: PageOptions, found: Approval) -> str:
    """Do an approved act, in the name of whoever asked for it; again, it is the same effect."""
    what, text = f"{found.act} {found.subject}", f"approval-{found.approval_id}"
    key = key_of(options.keys, found.merchant_id, found.asked_by, what, found.asked, text)
    return await carry_out(ctx, Doing(found.merchant_id, found.act, found.subject, found.asked, found.why, found.asked_by, key))


async def carry_out(ctx: Context, doing: Doing) -> str:
    """Do it; what came of it, as a word. Raises what the verb raises."""
    return await _CARRY[doing.act](ctx, doing)


async def _refund(ctx: Context, doing: Doing) -> str:
    payment = await payments.find(ctx.db, doing.merchant_id, _id_in(doing.about))
    if payment is None:
        raise collect.PaymentMissing
    wish = RefundWish(
        doing.merchant_id, payment.payment_id, doing.key, amount_of(doing.asked, "amount", payment.currency),
        lines_of(doing.asked), reason=doing.why[:_LONGEST_NOTE], by=By(ADMIN, doing.by), why=doing.why,
        most_minor=doing.most_minor,
    )  # fmt: skip
    made = await collect.refund_payment(ctx, wish, _word_of_refund)
    return (made.body if isinstance(made, Replayed) else _word_of_refund(made)[1]).decode()


async def _cancel(ctx: Context, doing: Doing) -> str:
    wish = MoveWish(
        doing.merchant_id, _id_in(doing.about), "cancelled", by_staff=True, note=doing.asked.get("note") or None, key=doing.key,
        by=By(ADMIN, doing.by), why=doing.why,
    )  # fmt: skip
    await checkout.move_order(ctx, wish, word_of_order)
    return "cancelled"


async def _resolve(ctx: Context, doing: Doing) -> str:
    ref = doing.asked.get("ref") or None
    after = await collect.decide(ctx, _id_in(doing.about), doing.asked["word"], doing.why, ref, by=By(ADMIN, doing.by))
    return after.status


async def _refund_done(ctx: Context, doing: Doing) -> str:
    refund = await requests.find_refund(ctx.db, doing.merchant_id, _id_in(doing.about))
    if refund is None:
        raise collect.PaymentMissing
    return (await collect.mark_refund_done(ctx, refund, doing.why, by=By(ADMIN, doing.by))).status


_CARRY: Mapping[str, Callable[[Context, Doing], Awaitable[str]]] = {
    "refund": _refund,
    "cancel": _cancel,
    "resolve": _resolve,
    "refund-done": _refund_done,
}


def lines_of(sent: Mapping[str, str]) -> tuple[LineAsked, ...]:
    """The lines of a refund: `quantity[<product>]`, and `restock[<product>]` where they go back on the shelf. Raises `Mistake`."""
    named = [name[len("quantity[") : -1] for name in sent if name.startswith("quantity[") and name.endswith("]")]
    pieces = [(name, whole_of(sent, f"quantity[{name}]")) for name in named]
    return tuple(LineAsked(name, number, sent.get(f"restock[{name}]") == "yes") for name, number in pieces if number > 0)


def word_of_order(placed: Placed) -> tuple[int, bytes]:
    """What a key keeps of a move."""
    return 200, placed.order.status.encode()


def _word_of_refund(made: Refunded) -> tuple[int, bytes]:
    return 201, made.refund.status.encode()


def _id_in(about: str) -> uuid.UUID:
    """The id in a subject such as `payment:<id>`."""
    return uuid.UUID(about.partition(":")[2])
