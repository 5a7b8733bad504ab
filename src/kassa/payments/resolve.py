"""Silence is a question: what became of a payment whose charge was not answered.

Asked at once, then after 1, 2, 5, 10, 30 s, 1, 5, 15 min, then hourly; after 72 h it is parked for a person. A provider
that says it never saw the key is believed 15 s after the last sending, and asked twice more for a late charge. One
that cannot be asked at all is asked five times, then the payment is parked.
"""

from __future__ import annotations

from datetime import timedelta

from kassa.kit.context import Context
from kassa.payments.model import Payment, Verdict
from kassa.payments.provider import Providers

ASK_AFTER_S = (0, 1, 2, 5, 10, 30, 60, 300, 900)
HOURLY_S = 3600
PARK_AFTER = timedelta(hours=72)
SETTLING_S = 15
"""Seconds after the last sending during which "never seen" may still be overtaken by the charge itself."""
LATE_LOOKS_S = (300, 3600)
"""Two questions after giving up, in seconds after it, look for a late charge."""
UNANSWERABLE_LIMIT = 5


async def ask(ctx: Context, payment: Payment) -> Verdict:
    """Ask the provider once and say what follows: a final verdict, `unknown` with the next time, or `parked`.

    For a payment that was given up (`declined`, reason `payment_not_executed`) only a late `paid` matters.
    """
    answer = await ctx.port(Providers).of(payment).ask(payment)
    if payment.status == "declined":
        return answer if answer.kind == "paid" else Verdict("declined", ask_in_s=_next_late_look(payment))
    if answer.final:
        return answer
    if answer.unanswerable and payment.unanswerable + 1 >= UNANSWERABLE_LIMIT:
        return Verdict("parked", code="cannot_be_asked", message=answer.message, unanswerable=True)
    if payment.unknown_since is not None and payment.read_at - payment.unknown_since > PARK_AFTER:
        return Verdict("parked", code="asked_long_enough", message=answer.message)
    wait = wait_before_ask(payment.asks + 1)
    if answer.never_seen and payment.last_sent_at is not None:
        passed = (payment.read_at - payment.last_sent_at).total_seconds()
        if passed >= SETTLING_S:
            return Verdict(
                "declined",
                code="payment_not_executed",
                message="The payment service never received the payment.",
                ask_in_s=LATE_LOOKS_S[0],
            )
        wait = min(wait, SETTLING_S - passed + 0.05)
    return Verdict("unknown", ask_in_s=wait, unanswerable=answer.unanswerable, never_seen=answer.never_seen)


def wait_before_ask(asked: int) -> float:
    """Seconds between the question number `asked` (from 0) and the one before it."""
    return ASK_AFTER_S[asked] if asked < len(ASK_AFTER_S) else HOURLY_S


def _next_late_look(payment: Payment) -> float | None:
    done = payment.asks + 1
    return LATE_LOOKS_S[done] - LATE_LOOKS_S[done - 1] if done < len(LATE_LOOKS_S) else None
