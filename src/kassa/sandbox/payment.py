"""The payment service of `checkout.md` sections 4 and 5: charge a card, ask by key, refund.

Above 1000 (strictly) a charge is declined for insufficient funds, with a card ending in 0002 by the card's bank; all
else is paid. Amounts are in major units of whatever currency the caller means. Of a card only brand, first six and last
four are ever booked.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.answer import first_answer
from kassa.sandbox.book import amount_booked, book, refunded
from kassa.sandbox.model import Act, Call, Reply, Tx, say

_FUNDS = Decimal(1000)
_DECLINED_LAST4 = "0002"
_CARD_DIGITS = range(12, 20)
_BRANDS = (("visa", 4, 4), ("mastercard", 51, 55), ("mastercard", 2221, 2720), ("amex", 34, 34), ("amex", 37, 37))


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"status": "failed", "error": error, "message": message}


def process(tx: Tx, call: Call) -> Reply:
    """Charge a card. The same key again: the same answer, never a second charge."""
    amount = exact.amount(call.fields.get("amount"))
    card = _read_card(call.fields.get("payment_method"))
    if amount is None:
        return say(422, refusal("invalid_amount", "Amount is not valid"))
    if card is None:
        return say(422, refusal("invalid_card", "Card is not valid"))
    if amount > _FUNDS:
        return say(422, refusal("insufficient_funds", "Insufficient funds in account"))
    if card["last4"] == _DECLINED_LAST4:
        return say(422, refusal("card_declined", "Card was declined"))
    transaction = f"txn_{uuid.uuid4().hex}"
    facts = {"transaction_id": transaction, **card}
    book(tx, call, "charge", "payment", transaction, amount=amount, facts=facts)
    message = "Payment processed successfully"
    return say(200, {"status": "success", "transactionId": transaction, "message": message})


def by_key(tx: Tx, call: Call) -> Reply:
    """What became of a key: 200 with the first answer, 202 while it is worked on, 404 `never_seen`."""
    key = call.params["key"]
    first = first_answer(tx, "payment", "process", key)
    if first is None:
        return say(404, {"status": "never_seen", "key": key})
    if first.ready_us > call.now_us:
        return say(202, {"status": "processing", "key": key})
    return Reply(200, first.reply.body)


def refund(tx: Tx, call: Call) -> Reply:
    """Give back a part of a charge, or all that is left. Never more than was charged.

    The same key again: the same answer. Another key on a wholly refunded charge: 409.
    """
    transaction = call.params["transaction"]
    charged = amount_booked(tx, "charge", "payment", transaction, call.now_us)
    if charged is None:
        return say(404, refusal("unknown_transaction", "Transaction not found"), keep=False)
    left = charged - refunded(tx, "payment", transaction)
    if left <= 0:
        return say(409, refusal("already_refunded", "Transaction was refunded already"))
    amount = exact.amount(call.fields["amount"]) if "amount" in call.fields else left
    if amount is None or amount <= 0:
        return say(422, refusal("invalid_amount", "Amount is not valid"))
    if amount > left:
        return say(422, refusal("refund_exceeds_charge", "Refund exceeds the charged amount"))
    refund_id = f"rf_{uuid.uuid4().hex}"
    facts = {"refund_id": refund_id, "transaction_id": transaction}
    book(tx, call, "refund", "payment", refund_id, of=transaction, amount=amount, facts=facts)
    return say(200, {"status": "refunded", "refundId": refund_id})


ACTS = (
    Act("payment", "process", "POST", "/payments/process", process, refusal, keyed=True, busy=409),
    Act("payment", "by_key", "GET", "/payments/by-key/{key}", by_key),
    Act("payment", "refund", "POST", "/payments/{transaction}/refund", refund, refusal, keyed=True),
)


def _read_card(method: Any) -> dict[str, str] | None:
    if not isinstance(method, dict) or not isinstance(method.get("card_number"), str):
        return None
    number = method["card_number"].replace(" ", "").replace("-", "")
    if len(number) not in _CARD_DIGITS or not (number.isascii() and number.isdigit()):
        return None
    brand = next((name for name, low, high in _BRANDS if low <= int(number[: len(str(low))]) <= high), "unknown")
    return {"brand": brand, "first6": number[:6], "last4": number[-4:]}
