"""Tell facts as one numbered list: by time, then subject, then number. The same facts make the same list. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from kassa.checkout.model import Step
from kassa.events import Told
from kassa.kit.clock import rfc3339_micros
from kassa.notices.model import NoticeSent
from kassa.orders import Happening
from kassa.timeline.model import Entry, Facts
from kassa.webhooks.model import Delivery

_HAPPENED: Final = {
    "payment.created": "{price} {currency} was asked for",
    "payment.waiting": "The buyer can pay at the provider",
    "payment.unknown": "The provider has not answered; it is being asked",
    "payment.paid": "{price} {currency} was paid",
    "payment.declined": "The payment was declined",
    "payment.expired": "Nobody paid in time",
    "payment.cancelled": "The payment was cancelled",
    "payment.refunded": "The whole sum was given back",
    "payment.reversed": "The provider took the money back",
    "refund.created": "{amount} {currency} is to be given back",
    "refund.succeeded": "{amount} {currency} was given back",
    "refund.failed": "{amount} {currency} could not be given back",
    "order.created": "Order {order_number} was placed",
    "order.paid": "The order is paid",
    "order.processing": "The order is being made ready",
    "order.shipped": "The order is on its way",
    "order.delivered": "The order has arrived",
    "order.cancelled": "The order was cancelled",
    "checkout.started": "The purchase began",
    "checkout.completed": "The purchase ended with an order",
    "checkout.undone": "The purchase ended with nothing owed",
}
_SHOWN: Final = {
    "payment": ("payment_id", "order_id", "state", "provider", "price", "currency", "captured", "refunded", "reason"),
    "refund": ("refund_id", "amount", "currency", "status", "refunded", "refundable"),
    "order": ("order_number", "status", "payment_status", "total", "currency"),
    "checkout": ("status", "error"),
}
"""What is shown of an event: no words of people, no user."""
_ACTS: Final = {
    "stock": "Stock",
    "payment": "Payment",
    "inventory": "Inventory service",
    "order": "Order",
    "order_service": "Order service",
}
_STEPS: Final = {
    "running": "begun",
    "done": "done",
    "refused": "refused",
    "unknown": "not answered yet",
    "undoing": "being undone",
    "undone": "undone",
    "stuck": "waits for a person",
}
_DELIVERIES: Final = {
    "pending": "is to be sent to the merchant",
    "processing": "is being sent to the merchant",
    "success": "was delivered to the merchant",
    "retrying": "was not taken by the merchant; it is sent again",
    "blocked": "waits for its turn at the merchant",
    "failed": "could not be delivered to the merchant",
}
_NOTICES: Final = {
    "pending": "is to be sent to the buyer",
    "sent": "was sent to the buyer",
    "dead": "could not be sent to the buyer",
}

_Place = tuple[datetime, str, int, int, int, str]


def tell(facts: Facts) -> list[Entry]:
    """All entries, numbered 1, 2, 3 …, oldest first."""
    of_events = {each.event_id: each for each in facts.told}
    placed = [
        *(_of_event(each, facts.moves) for each in facts.told),
        *(_of_delivery(each) for each in facts.deliveries),
        *(_of_notice(each, of_events.get(each.event_id)) for each in facts.notices),
    ]
    if facts.journal is not None:
        subject = f"checkout:{facts.journal.checkout_id}"
        began = next((each.occurred_at for each in facts.told if each.type == "checkout.started"), None)
        placed += [_of_step(subject, step, began) for step in facts.journal.steps]
    placed.sort(key=lambda each: each[0])
    return [
        Entry(number, place[0], kind, title, place[1], place[3], details)
        for number, (place, kind, title, details) in enumerate(placed, 1)
    ]


_Placed = tuple[_Place, str, str, Mapping[str, Any]]


def _place(at: datetime, subject: str, phase: int, sequence: int, rank: int = 0, own: object = "") -> _Place:
    """Where an entry stands; what an event called for stands right behind it."""
    return at, subject, phase, sequence, rank, str(own)


def _phase(event_type: str) -> int:
    """Of one moment: a checkout begins, does its acts (1), and ends."""
    return 2 if event_type in {"checkout.completed", "checkout.undone"} else 0


def _of_event(event: Told, moves: Iterable[Happening]) -> _Placed:
    family = event.type.partition(".")[0]
    data: Mapping[str, Any] = event.data["refund"] if family == "refund" else event.data
    details = {name: data[name] for name in _SHOWN.get(family, ()) if data.get(name) is not None}
    updated = event.type == "order.updated"
    title = _of_update(event, moves) if updated else _HAPPENED.get(event.type, event.type).format_map(data)
    if family == "order":
        move = next((each for each in moves if each.sequence == event.sequence), None)
        details |= {} if move is None else _known(tracking_number=move.tracking_number, carrier=move.carrier)
    place = _place(event.occurred_at, event.subject, _phase(event.type), event.sequence)
    return place, family, title, {"type": event.type, **details, **_known(trace_id=event.trace_id)}


def _of_update(event: Told, moves: Iterable[Happening]) -> str:
    """What changed of an order without a move, as its timeline tells it."""
    around = {each.sequence: each for each in moves if event.sequence - each.sequence in {0, 1}}
    now, before = around.get(event.sequence), around.get(event.sequence - 1)
    if now is None or before is None:
        return "The order's data changed"
    if (now.tracking_number, now.carrier) != (before.tracking_number, before.carrier):
        return "The order's tracking data changed"
    if now.payment_status != before.payment_status:
        return f"The order shows its payment as {now.payment_status}"
    return "A note was left on the order"


def _of_step(subject: str, step: Step, began: datetime | None) -> _Placed:
    """An act. The first ones are dated from when prices were read, a moment before the purchase itself began."""
    act, _, product = step.step.partition(":")
    name = f"Stock of {product} at the product service" if act == "take" else _ACTS.get(act, act)
    details = _known(
        step=step.step,
        status=step.status,
        ref=step.ref,
        sends=step.sends or None,
        undos=step.undos or None,
        updated_at=rfc3339_micros(step.updated_at),
    )
    place = _place(max(step.began_at, began or step.began_at), subject, 1, step.position + 1)
    return place, "step", f"{name}: {_STEPS.get(step.status, step.status)}", details


def _of_delivery(delivery: Delivery) -> _Placed:
    details = _known(
        delivery_id=str(delivery.delivery_id),
        endpoint_id=str(delivery.endpoint_id),
        event_id=str(delivery.event_id),
        event_type=delivery.event_type,
        status=delivery.status,
        attempts_made=delivery.attempts,
        last_status_code=delivery.last_status_code,
        last_error=delivery.last_error,
        next_attempt_at=rfc3339_micros(delivery.next_at) if delivery.next_at else None,
        delivered_at=rfc3339_micros(delivery.ended_at) if delivery.ended_at and delivery.status == "success" else None,
    )
    phase = _phase(delivery.event_type)
    place = _place(delivery.created_at, delivery.subject, phase, delivery.sequence, 1, delivery.endpoint_id)
    return place, "delivery", f"{delivery.event_type} {_DELIVERIES[delivery.status]}", details


def _of_notice(notice: NoticeSent, event: Told | None) -> _Placed:
    subject, sequence = (event.subject, event.sequence) if event else (f"order:{notice.order_id}", 0)
    details = {"type": notice.type, "status": notice.status, "attempts": notice.attempts}
    place = _place(notice.created_at, subject, 0, sequence, 2, notice.notice_id)
    name = notice.type.replace("_", " ").capitalize()
    return place, "notice", f"{name} {_NOTICES.get(notice.status, notice.status)}", details


def _known(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
