"""The payment service answers again after a silence: whatever waits for its word is asked about now, and not by its plan.

Plans grow to an hour, so that a service that is away is left alone, and while its breaker is open a question waits for its next
turn. Without this a charge whose outcome is not known would wait for that turn although nothing stands in the way any more.
When the breaker's pause is over, one of those that wait is the probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from kassa import events
from kassa.checkout.refunds import send_again
from kassa.checkout.steps import Neighbours
from kassa.checkout.verdicts import ask_now
from kassa.kit import trace
from kassa.kit.breaker import Breaker
from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.payments import Payment, requests

log = logging.getLogger("kassa.checkout")
_CARD = "card"
_AT_ONCE = 8
_A_TURN = 10_000


async def ask_again(ctx: Context) -> int:
    """Ask about unknown charges and send waiting refunds of the payment service, if it was silent; returns how many.

    Plans stay as they are, and an answer counts once, whoever gets it: any number of processes may do this at once.
    """
    service = ctx.port(Neighbours).payment
    if service is None or not service.breaker.was_open or service.breaker.rests:
        return 0
    if service.breaker.is_open:
        await _together(await _waiting(ctx, 1))
    if service.breaker.is_open:
        return 0
    service.breaker.was_open = False
    return await _all_of(await _waiting(ctx, _A_TURN), service.breaker)


async def _waiting(ctx: Context, limit: int) -> list[Coroutine[Any, Any, object]]:
    """What waits for a word, as acts that are not begun yet: questions first, because they move no money."""
    asked = [_ask(ctx, payment) for payment in await requests.in_doubt(ctx.db, _CARD, limit)]
    return [*asked, *(send_again(ctx, refund) for refund in await requests.waiting_refunds(ctx.db, _CARD, limit))]


async def _ask(ctx: Context, payment: Payment) -> Payment:
    kept = await events.trace_of(ctx.db, payment.merchant_id, f"payment:{payment.payment_id}", "payment.created")
    with trace.go_on("question taken up", kept):
        return await ask_now(ctx, payment)


async def _all_of(acts: list[Coroutine[Any, Any, object]], breaker: Breaker) -> int:
    done = 0
    while done < len(acts) and not breaker.is_open:
        await _together(acts[done : done + _AT_ONCE])
        done += _AT_ONCE
    for act in acts[done:]:
        act.close()
    return min(done, len(acts))


async def _together(acts: Sequence[Coroutine[Any, Any, object]]) -> None:
    for error in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(error, KassaError):
            log.info("asked again in vain: %s", error.code)
        elif isinstance(error, BaseException):
            log.error("it could not be asked again", exc_info=error)
