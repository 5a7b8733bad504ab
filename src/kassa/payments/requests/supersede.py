"""One payment at most keeps the money of a reference (rulings, 1): what a late yes means beside a newer payment.

The newer one is still pending: it is cancelled (`superseded`), and the late one holds the reference. The newer one is paid, or its
provider is about to take the money: the late one is paid without holding it, and its money is owed back at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from kassa.kit.database import Tx
from kassa.kit.errors import Conflict
from kassa.payments import store
from kassa.payments.model import HOLDS, Payment, Refund, Verdict
from kassa.payments.refund import begin_refund
from kassa.payments.settle import Settled, settle

_KEEPS_MONEY = frozenset({"paid", "refunding"})
_SUPERSEDED = Verdict("cancelled", code="superseded", message="Another payment of the same order was paid.")


class ReferenceTaken(Conflict):
    """A newer payment of this reference was made at this very moment; look again."""

    code = "conflict"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a verdict: the payment after it, and the refund that it made owed, if any."""

    settled: Settled
    refund: Refund | None = None


async def settle_reference(tx: Tx, payment: Payment, verdict: Verdict) -> Kept:
    """Settle a payment of an outside reference, in the caller's transaction, whatever else there is of that reference.

    Called twice with the same verdict, the second changes nothing. Raises `ReferenceTaken` when the caller should begin anew.
    """
    try:
        return await _settle(tx, payment, verdict)
    except asyncpg.UniqueViolationError as error:
        raise ReferenceTaken from error


async def _settle(tx: Tx, payment: Payment, verdict: Verdict) -> Kept:
    if verdict.kind != "paid" or payment.status in HOLDS or payment.ref_kind == "grpc":
        # If it has failed meanwhile and a newer one holds the reference, the unique key says so and the caller looks again.
        return Kept(await settle(tx, payment, verdict))
    siblings = await store.lock_reference(tx, payment)
    payment = next(each for each, _ in siblings if each.payment_id == payment.payment_id)
    holder = next((each for each, holds in siblings if holds and each.payment_id != payment.payment_id), None)
    if holder is not None and (holder.status in _KEEPS_MONEY or holder.held_by is not None):
        settled = await settle(tx, payment, verdict, holds=False)
        if not settled.moved:
            return Kept(settled)
        paid, refund = await begin_refund(tx, settled.payment, owed=True, reason="superseded")
        return Kept(Settled(paid, settled.before), refund)
    if holder is not None:
        await settle(tx, holder, _SUPERSEDED)
    return Kept(await settle(tx, payment, verdict))
