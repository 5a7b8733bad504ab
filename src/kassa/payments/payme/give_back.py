"""Give back what was paid at Payme: the receipt of the performed attempt is cancelled, and asked about until it is (section 12).

Payme then calls our CancelTransaction, often before its answer is here. Whichever comes first concludes the refund, once, under the
lock of its payment. A part of a receipt cannot be cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass

from kassa.kit.database import Database
from kassa.kit.neighbour import BreakerOpen, NoAnswer, NotSent
from kassa.kit.secrets import Keys
from kassa.payments.model import Payment, Refund, RefundVerdict
from kassa.payments.payme import store
from kassa.payments.payme.cashboxes import KeyLost, open_cashbox
from kassa.payments.payme.model import Cashbox, PaymeRules
from kassa.payments.payme.subscribe import GIVEN_BACK, PAID, PaymeSaidNo, Receipts

SILENCE = (NotSent, BreakerOpen, NoAnswer)
"""Payme said nothing that can be believed: what happened there is not known."""
_IN_CABINET = "refund it in Payme's cabinet"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The port of the Subscribe API; where it is switched off there is none."""

    receipts: Receipts
    db: Database
    keys: Keys
    rules: PaymeRules

    async def box_of(self, merchant_id: str) -> Cashbox | None:
        """A merchant's cashbox, or None. Raises `KeyLost`."""
        return await open_cashbox(self.db, self.rules, self.keys, merchant_id)


async def give_back(api: Subscribe, payment: Payment, refund: Refund) -> RefundVerdict:
    """What a provider says of a refund (`Provider.refund`). Repeated, it asks first, and cancels again only what is paid still."""
    if refund.amount_minor != payment.captured_minor:
        return RefundVerdict("impossible", message=f"Payme gives back whole payments only; {_IN_CABINET}")
    receipt_id = payment.provider_ref
    attempt = await store.find(api.db, payment.merchant_id, receipt_id) if receipt_id else None
    if attempt is None:
        return RefundVerdict("impossible", message=f"no attempt of Payme is known; {_IN_CABINET}")
    try:
        box = await api.box_of(payment.merchant_id)
    except KeyLost:
        return RefundVerdict("pending", message="the key of the cashbox cannot be opened")
    if box is None or box.cashbox_id != attempt.cashbox_id:
        return RefundVerdict("impossible", message=f"it was paid into another cashbox; {_IN_CABINET}")
    if refund.sends > 1:  # an earlier cancel may have arrived
        known = await _ask(api, box, attempt.payme_id)
        if known is not None:
            return known
    return await _cancel(api, box, attempt.payme_id, attempt.amount_minor)


async def _ask(api: Subscribe, box: Cashbox, receipt_id: str) -> RefundVerdict | None:
    """What became of an earlier cancel; None when the receipt is still paid, or Payme does not say: then it is sent again."""
    try:
        state = await api.receipts.check(box, receipt_id)
    except SILENCE:
        return RefundVerdict("pending", message="no answer")
    except PaymeSaidNo:
        return None
    return None if state == PAID else _verdict(state)


async def _cancel(api: Subscribe, box: Cashbox, receipt_id: str, amount_minor: int) -> RefundVerdict:
    try:
        receipt = await api.receipts.cancel(box, receipt_id, amount_minor)
    except SILENCE:
        return RefundVerdict("pending", message="no answer")
    except PaymeSaidNo as no:
        return await _refused(api, box, receipt_id, no)
    return _verdict(receipt.state)


async def _refused(api: Subscribe, box: Cashbox, receipt_id: str, no: PaymeSaidNo) -> RefundVerdict:
    """A no may mean that it was cancelled before: the state of the receipt decides, and a person where Payme shows none."""
    message = f"Payme refused it ({no.number}): {no.said or 'no reason'}"
    try:
        state = await api.receipts.check(box, receipt_id)
    except SILENCE:
        return RefundVerdict("pending", message=message)
    except PaymeSaidNo:
        return RefundVerdict("impossible", message=message)
    return RefundVerdict("failed", message=message) if state == PAID else _verdict(state)


def _verdict(state: int) -> RefundVerdict:
    if state == GIVEN_BACK:
        return RefundVerdict("succeeded", message="cancelled at Payme")
    return RefundVerdict("pending", message=f"in state {state} at Payme")
