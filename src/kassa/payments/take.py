"""Take the money: the outside call, made after its intent was committed and with no transaction open.

The caller notes the verdict through `settle`. If the process dies between, the payment is found `opened` with its
intent noted, and `resolve.ask` is what comes next: a charge is never sent by whoever did not note its intent.
"""

from __future__ import annotations

from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import store
from kassa.payments.model import Card, Payment, Verdict
from kassa.payments.provider import Providers


async def take(ctx: Context, payment: Payment, card: Card | None, email: str | None) -> Verdict:
    """Ask the provider for the money, under the payment's own key. Never raises for silence: that is `unknown`."""
    return await ctx.port(Providers).of(payment).begin(payment, card, email)


async def note_sending(tx: Tx, payment: Payment) -> Payment:
    """Note that the charge is about to be sent once more under the same key (it was never seen by the provider)."""
    return await store.note_sending(tx, payment)
