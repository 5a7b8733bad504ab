"""What merchants are shown of a payment, and its story: events of the payment and what its provider reported, as one timeline."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa import checkout, events, orders, payments
from kassa.collect import store
from kassa.collect.model import (
    ASKED,
    CANCELLED,
    CREATED,
    DISPUTED,
    EXPIRED,
    FAILED,
    PENDING,
    PROCESSING,
    REFUNDED,
    SUCCESS,
    VERDICT,
    PaymentMissing,
)
from kassa.kit.context import Context
from kassa.payments import requests
from kassa.payments.model import Details, Payment

_KINDS = {
    "payment.created": (CREATED, SUCCESS, "Payment created"),
    "payment.waiting": (ASKED, SUCCESS, "The provider gave a link"),
    "payment.unknown": (ASKED, PROCESSING, "The provider has not answered; it is being asked"),
    "payment.paid": (VERDICT, SUCCESS, "Payment paid"),
    "payment.declined": (VERDICT, FAILED, "Payment declined"),
    "payment.cancelled": (CANCELLED, SUCCESS, "Payment cancelled"),
    "payment.expired": (EXPIRED, SUCCESS, "Payment expired"),
    "payment.reversed": (DISPUTED, SUCCESS, "Payment reversed by the provider"),
}
_REFUND_LOGS = {"refund.created": PENDING, "refund.succeeded": SUCCESS, "refund.failed": FAILED}
_NO_LINK = frozenset({"provider_unreachable", "provider_link_failed"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A payment with what is seldom asked for; `order` is the shop's own order behind it, if there is one."""

    payment: Payment
    details: Details
    order: orders.Order | None


@dataclass(frozen=True, slots=True)
class Happened:
    """One line of the timeline."""

    event_type: int
    status: int
    message: str
    payload: Mapping[str, Any] | None
    at: datetime


async def read_payment(ctx: Context, merchant_id: str | None, payment_id: uuid.UUID) -> Shown:
    """One payment of a merchant (of any, for None: only behind a gateway). Raises `PaymentMissing`.

    A payment in doubt is asked about in the background.
    """
    payment = await _find(ctx, merchant_id, payment_id)
    details = await requests.details(ctx.db, payment.merchant_id, payment_id)
    order = await orders.find(ctx.db, payment.merchant_id, uuid.UUID(payment.ref)) if payment.ref_kind == "order" else None
    return Shown(payment, details, order)


async def read_timeline(ctx: Context, merchant_id: str | None, payment_id: uuid.UUID) -> tuple[Payment, list[Happened]]:
    """A payment and what happened to it, oldest first. Raises `PaymentMissing`."""
    payment = await _find(ctx, merchant_id, payment_id)
    told = await events.events_of(ctx.db, payment.merchant_id, f"payment:{payment_id}")
    details = await requests.details(ctx.db, payment.merchant_id, payment_id)
    notes = await store.contradictions(ctx.db, payment.merchant_id, payment_id)
    lines = [*_lines(told, details), *(_contradiction(note) for note in notes)]
    return payment, sorted(lines, key=lambda line: line.at)


async def _find(ctx: Context, merchant_id: str | None, payment_id: uuid.UUID) -> Payment:
    if merchant_id is None:
        payment = await payments.find_anywhere(ctx.db, payment_id)
    else:
        payment = await payments.find(ctx.db, merchant_id, payment_id)
    if payment is None:
        raise PaymentMissing
    checkout.ask_soon(ctx, payment)
    return payment


def _lines(told: Sequence[events.Told], details: Details) -> Iterable[Happened]:
    """One line per event; the events of one refund are one line, which shows where the refund stands."""
    refunds: dict[str, int] = {}
    lines: list[Happened] = []
    for event in told:
        if event.type in _REFUND_LOGS:
            refund = event.data["refund"]
            payload = {name: refund[name] for name in ("refund_id", "amount", "currency", "reason")}
            line = Happened(REFUNDED, _REFUND_LOGS[event.type], f"Refund {refund['status']}", payload, event.occurred_at)
            if (place := refunds.get(refund["refund_id"])) is None:
                refunds[refund["refund_id"]] = len(lines)
                lines.append(line)
            else:
                lines[place] = Happened(line.event_type, line.status, line.message, payload, lines[place].at)
        elif event.type in _KINDS:
            lines.append(_line(event, details))
    return lines


def _line(event: events.Told, details: Details) -> Happened:
    kind, log, message = _KINDS[event.type]
    reason = event.data.get("reason")
    payload: dict[str, Any] | None = {"reason": reason} if reason else None
    if kind == CREATED and details.event_ref is not None:
        payload = {"event_id": details.event_ref}
    elif reason in _NO_LINK:
        kind, message = ASKED, "The provider gave no link"
    if kind == ASKED and details.routing:
        payload = {**(payload or {}), "routing": list(details.routing)}
    return Happened(kind, log, message, payload, event.occurred_at)


def _contradiction(note: store.Noted) -> Happened:
    message = f"The provider reported {note.status}; nothing was applied ({note.outcome})"
    return Happened(VERDICT, FAILED, message, {"reported": note.status, "outcome": note.outcome}, note.received_at)
