"""Play the bank: what a buyer and a provider do with a payment, through the doors that the sandbox has for everybody.

Only where a sandbox runs. Time passes by moving the one clock of this installation, so it passes for every order in it.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote, urlsplit

from kassa import payments
from kassa.kit.clock import now
from kassa.kit.context import Context
from kassa.kit.errors import Refused
from kassa.kit.neighbour import Answer, Neighbour
from kassa.payments import Payment

ACTS: Final = ("pay", "decline", "silent", "late", "twice")
_CALL_S = 15.0
_LOOK_S, _LOOKS = 0.1, 50
_BEHIND_S = 5


class NothingToPlay(Refused):
    """There is nothing that the bank could do with this payment."""

    code = "nothing_to_play"


def stand_in(payment: Payment) -> str | None:
    """The sandbox's page for a payment, None for one that the sandbox does not hold. Payme's link leads to the real one."""
    parts = urlsplit(payment.pay_url or "")
    if payment.provider == "payme" and len(parts.path) > 1:
        return f"/sandbox/payme/checkout/{quote(parts.path[1:], safe='')}"
    return parts.path if payment.provider == "link" and parts.path.startswith("/sandbox/pay/") else None


def acts_for(payment: Payment) -> tuple[str, ...]:
    """What the bank can be made to do now."""
    if stand_in(payment) is None:
        return ()
    if payment.status in {"opened", "waiting"}:
        return ACTS
    return ("pay",) if payment.status in {"expired", "cancelled"} else ()


async def play(ctx: Context, bank: Neighbour, payment: Payment, act: str) -> None:
    """Do it. Raises `NothingToPlay`, and what a neighbour's call raises.

    `late`: the time to pay ends, then the buyer pays. `twice`: the buyer pays, and the provider says so a second time.
    """
    if act not in acts_for(payment):
        raise NothingToPlay
    if act in {"silent", "late"}:
        await _let_time_pass(ctx, bank, payment)
    if act == "silent":
        return
    if act == "twice" and payment.provider == "payme":
        await _call(bank, "/control/scripts", {"service": "payme", "act": "perform", "behaviour": "send_twice"})
    await _decide(bank, payment, "decline" if act == "decline" else "pay")
    if act == "twice" and payment.provider == "link":
        await _decide(bank, payment, "pay")


async def _decide(bank: Neighbour, payment: Payment, act: str) -> None:
    page = (stand_in(payment) or "").removeprefix("/sandbox")
    if payment.provider == "payme":
        await _call(bank, f"{page}/{act}")
    else:
        await _call(bank, f"/payments/{page.rpartition('/')[2]}/{'accept' if act == 'pay' else 'decline'}")


async def _let_time_pass(ctx: Context, bank: Neighbour, payment: Payment) -> None:
    """Move the clock behind the deadline, and wait for a worker to have closed the payment."""
    if payment.expires_at is None:
        raise NothingToPlay
    left = int((payment.expires_at - await now(ctx.db)).total_seconds()) + _BEHIND_S
    if left > 0:
        answer = await _call(bank, "/control/clock", {"step": f"+{left}s"})
        if not answer.ok:
            raise NothingToPlay
    for _ in range(_LOOKS):
        found = await payments.find(ctx.db, payment.merchant_id, payment.payment_id)
        if found is None or found.status not in {"opened", "waiting"}:
            return
        await asyncio.sleep(_LOOK_S)


async def _call(bank: Neighbour, path: str, body: dict[str, str] | None = None) -> Answer:
    return await bank.call("POST", path, act="bank", timeout_s=_CALL_S, body=body)
