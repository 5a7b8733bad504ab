"""The provider of payment links, `payments.md` sections 3 and 6: make a link, give money back.

Prices are text in major units of the named currency. What a buyer does with a link stands in `buyer.py`.
"""

from __future__ import annotations

import secrets
import uuid
from decimal import Decimal
from typing import Any

from kassa.sandbox import exact, fields
from kassa.sandbox.book import amount_booked, book, refunded
from kassa.sandbox.model import Act, Call, Reply, Tx, say

_KEPT = ("merchant_id", "provider", "order_id", "price", "currency", "expires_at")


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"status": "failed", "error": error, "detail": message}


def make_link(tx: Tx, call: Call) -> Reply:
    """Make a page where the buyer can pay. The same `payment_id` again, under any key: the same link, unchanged."""
    payment_id = fields.word(call.fields.get("payment_id"))
    if payment_id is None:
        return say(422, refusal("invalid_payment_id", "payment_id is not valid"), keep=False)
    facts = {name: call.fields[name] for name in _KEPT if isinstance(call.fields.get(name), str | int | Decimal)}
    if "price" in facts and exact.amount(facts["price"]) is None:
        return say(422, refusal("invalid_price", "price is not valid"), keep=False)
    tx.execute(
        "INSERT OR IGNORE INTO links (token, payment_id, facts, state, made_us) VALUES (?, ?, ?, 'open', ?)",
        (secrets.token_urlsafe(24), payment_id, exact.dumps(facts).decode(), call.booked_us),
    )
    token = tx.execute("SELECT token FROM links WHERE payment_id = ?", (payment_id,)).fetchone()[0]
    return say(200, {"payment_url": f"{call.base_url}/sandbox/pay/{token}"}, keep=False)


def refund(tx: Tx, call: Call) -> Reply:
    """Give money back at once. The same `refund_id` again, under whatever key: the same answer, no second refund.

    A payment that was never paid here (settled by a webhook sent by hand, or by gRPC) is refunded too, and the book
    says `unbacked`. One that was paid here is never refunded beyond its price: 422.
    """
    refund_id, payment_id = fields.word(call.fields.get("refund_id")), fields.word(call.fields.get("payment_id"))
    amount = exact.amount(call.fields.get("amount"))
    if refund_id is None or payment_id is None or amount is None or amount <= 0:
        return say(422, refusal("invalid_refund", "Refund is not valid"))
    if amount_booked(tx, "refund", "link", refund_id) is not None:
        return say(200, {"status": "refunded"})
    charged = amount_booked(tx, "charge", "link", payment_id)
    if charged is not None and amount > charged - refunded(tx, "link", payment_id):
        return say(422, refusal("refund_exceeds_charge", "Refund exceeds the charged amount"))
    facts = {
        "refund_id": refund_id,
        "payment_id": payment_id,
        "currency": fields.word(call.fields.get("currency")),
        "provider_refund_id": uuid.uuid4().hex,
        "unbacked": charged is None,
    }
    book(tx, call, "refund", "link", refund_id, of=payment_id, amount=amount, facts=facts)
    return say(200, {"status": "refunded"})


ACTS = (
    Act("link", "create", "POST", "/payment-links", make_link, refusal, keyed=True, same_body=False),
    Act("link", "refund", "POST", "/refunds", refund, refusal, keyed=True),
)
