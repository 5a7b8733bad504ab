"""What the payments contract shows (sections 3, 5, 6): money as text with its decimals, statuses as numbers and names."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from kassa.api.answers import dumps
from kassa.collect import Happened, Refunded, Reported, Shown
from kassa.collect.model import EVENT_NAMES, LOG_NAMES, NOTIFIED
from kassa.kit.clock import rfc3339_micros
from kassa.kit.ids import in_json
from kassa.kit.money import fixed_text
from kassa.ledger import Line
from kassa.merchants.model import ApiKey, Merchant, Subscription
from kassa.payments.model import Payment, Refund, shown_name, shown_number
from kassa.timeline import Entry
from kassa.webhooks.model import LOG_STATUS, Delivery

CREATED = "PAYMENT_PENDING"
"""The status in the answer of a creation: as of the first answer, whatever has happened since."""


def created(payment_id: uuid.UUID, url: str | None) -> tuple[int, bytes]:
    """A new payment and its link."""
    return 200, dumps({"payment_id": str(payment_id), "status": CREATED, "payment_url": url})


def item(payment: Payment) -> dict[str, Any]:
    """A payment in a list."""
    return {
        "payment_id": str(payment.payment_id),
        "order_id": payment.order_id,
        "provider": payment.alias,
        "amount": payment.quantity,
        "price": fixed_text(payment.amount_minor, payment.currency),
        "currency": payment.currency,
        "status": shown_number(payment.status),
        "status_name": shown_name(payment.status),
        "created_at": rfc3339_micros(payment.created_at),
    }


def whole(shown: Shown) -> dict[str, Any]:
    """One payment; with `lines` where the shop's own order is behind it."""
    payment, details = shown.payment, shown.details
    content = item(payment) | {
        "merchant_id": in_json(payment.merchant_id),
        "payment_url": payment.pay_url,
        "captured": fixed_text(payment.captured_minor, payment.currency),
        "refunded": fixed_text(payment.refunded_minor, payment.currency),
        "refundable": fixed_text(payment.refundable_minor if payment.status == "paid" else 0, payment.currency),
        "reason": payment.reason,
        "event_id": details.event_ref,
        "updated_at": rfc3339_micros(details.updated_at),
    }
    if shown.order is not None:
        content["lines"] = [
            {
                "line_id": line.product_id,
                "name": line.product_name,
                "quantity": line.quantity,
                "price": fixed_text(line.price_minor, payment.currency),
                "total": fixed_text(line.total_minor, payment.currency),
            }
            for line in shown.order.lines
        ]
    return content


def tracking(payment: Payment, happened: Iterable[Happened]) -> dict[str, Any]:
    """The timeline of a payment, oldest first."""
    return {
        "payment_id": str(payment.payment_id),
        "payment_status": shown_number(payment.status),
        "payment_status_name": shown_name(payment.status),
        "events": [
            {
                "event_type": line.event_type,
                "event_name": EVENT_NAMES[line.event_type],
                "status": line.status,
                "status_name": LOG_NAMES[line.status],
                "message": line.message,
                "payload": line.payload,
                "timestamp": rfc3339_micros(line.at),
            }
            for line in happened
        ],
    }


def told(delivery: Delivery) -> Happened:
    """A line of the timeline: what one endpoint of the merchant was told, and how far that is. Never where the endpoint is."""
    payload = {
        "delivery_id": str(delivery.delivery_id),
        "endpoint_id": str(delivery.endpoint_id),
        "event_id": str(delivery.event_id),
        "event_type": delivery.event_type,
        "attempts_made": delivery.attempts,
        "next_attempt_at": rfc3339_micros(delivery.next_at) if delivery.next_at else None,
        "last_status_code": delivery.last_status_code,
        "last_error": delivery.last_error,
    }
    message = f"Notification of {delivery.event_type}: {delivery.status}"
    return Happened(NOTIFIED, LOG_STATUS[delivery.status], message, payload, delivery.created_at)


def story(payment_id: uuid.UUID, entries: Sequence[Entry], after: int, *, has_next: bool) -> dict[str, Any]:
    """A page of the whole story of a payment, oldest first."""
    items = [
        {
            "number": entry.number,
            "at": rfc3339_micros(entry.at),
            "kind": entry.kind,
            "title": entry.title,
            "subject": entry.subject,
            "sequence": entry.sequence,
            "details": entry.details,
        }
        for entry in entries
    ]
    return {
        "payment_id": str(payment_id),
        "items": items,
        "next_after": entries[-1].number if entries else after,
        "has_next": has_next,
    }


def refunded(made: Refunded) -> tuple[int, bytes]:
    """A refund that was just begun."""
    return 201, dumps(made.refund.shown(made.payment))


def refunds(payment: Payment, items: Iterable[Refund]) -> dict[str, Any]:
    """All refunds of a payment, oldest first."""
    return {
        "payment_id": str(payment.payment_id),
        "currency": payment.currency,
        "captured": fixed_text(payment.captured_minor, payment.currency),
        "refunded": fixed_text(payment.refunded_minor, payment.currency),
        "pending": fixed_text(payment.refunding_minor, payment.currency),
        "refundable": fixed_text(payment.refundable_minor, payment.currency),
        "items": [one.shown(payment) for one in items],
    }


def ledger(payment: Payment, lines: Iterable[Line]) -> dict[str, Any]:
    """The entries of a payment, oldest first; the postings of each sum to zero, and the balance is what the provider holds."""
    entries: dict[uuid.UUID, dict[str, Any]] = {}
    balance = 0
    for line in lines:
        entry = entries.setdefault(
            line.entry_id,
            {"entry_id": str(line.entry_id), "kind": line.kind, "occurred_at": rfc3339_micros(line.occurred_at), "postings": []},
        )
        entry["postings"].append({"account": line.account, "amount": fixed_text(line.amount_minor, line.currency)})
        balance += line.amount_minor if line.account.startswith("provider:") else 0
    return {
        "payment_id": str(payment.payment_id),
        "currency": payment.currency,
        "balance": fixed_text(balance, payment.currency),
        "entries": list(entries.values()),
    }


def subscription(one: Subscription) -> dict[str, Any]:
    """A prepaid plan."""
    return {
        "subscription_id": in_json(one.plan_id),
        "plan": one.name,
        "price": fixed_text(one.price_minor, one.currency),
        "status": 1 if one.active else 2,
        "status_name": "SUBSCRIPTION_ACTIVE" if one.active else "SUBSCRIPTION_INACTIVE",
        "tokens_total": one.tokens_total,
        "tokens_used": one.tokens_used,
        "tokens_left": one.tokens_left,
        "started_at": rfc3339_micros(one.started_at),
    }


def merchant(one: Merchant, subscriptions: Sequence[Subscription]) -> dict[str, Any]:
    """A merchant and its plans; `subscription` is the one that pays for the next payment."""
    active = [each for each in subscriptions if each.active]
    paying = next((each for each in active if each.tokens_left), active[0] if active else None)
    return {
        "merchant_id": in_json(one.merchant_id),
        "name": one.name,
        "email": one.email,
        "currency": one.currency,
        "created_at": rfc3339_micros(one.created_at),
        "subscription": subscription(paying) if paying else None,
        "subscriptions": [subscription(each) for each in subscriptions],
    }


def api_key(one: ApiKey) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "key_id": str(one.key_id),
        "name": one.name,
        "prefix": one.prefix,
        "scopes": list(one.scopes),
        "created_at": rfc3339_micros(one.created_at),
        "last_used_at": rfc3339_micros(one.last_used_at) if one.last_used_at else None,
        "revoked_at": rfc3339_micros(one.revoked_at) if one.revoked_at else None,
    }


def reported(found: Reported, payment_id: uuid.UUID) -> dict[str, Any]:
    """What a provider is told of its report."""
    result = {"message": found.message, "payment_id": str(payment_id)}
    if found.payment is not None:
        result["status"] = shown_name(found.payment.status)
    return {"status": "ok", "result": result}
