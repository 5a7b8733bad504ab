"""The papers of an order or a payment: what strangers said of it, whom it was told, what people did about it. Masked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kassa.desk.mask import masked, masked_text
from kassa.desk.model import Act, AttemptRow, DeliveryRow, Message, NoticeRow, Papers
from kassa.kit.database import Reader

_MOST = 500
_DELIVERY = """d.merchant_id, d.endpoint_id, d.delivery_id, d.event_id, d.event_type, d.subject, d.status, d.replayed, d.attempts,
    d.next_at, d.last_status_code, d.last_error, d.created_at, d.ended_at"""
_PAYME_STATES = {1: "created", 2: "performed", -1: "cancelled", -2: "cancelled after it was performed"}


async def read_papers(
    reader: Reader,
    merchant_id: str,
    *,
    subjects: Sequence[str],
    payment_ids: Sequence[uuid.UUID],
    order_id: uuid.UUID | None,
    checkout_id: uuid.UUID | None,
) -> Papers:
    """What is kept about a family of rows, each kind oldest first and at most 500 of it. `subjects` are theirs (`order:<id>` …)."""
    deliveries = await _deliveries(reader, merchant_id, subjects)
    return Papers(
        messages=sorted(
            [
                *await _reports(reader, merchant_id, payment_ids),
                *await _answers(reader, merchant_id, checkout_id),
                *await _payme(reader, merchant_id, payment_ids),
                *await _receipts(reader, merchant_id, payment_ids),
            ],
            key=lambda each: each.at,
        ),
        deliveries=deliveries,
        attempts=await attempts_of(reader, merchant_id, deliveries),
        notices=await _notices(reader, merchant_id, order_id),
        acts=await acts_on(reader, merchant_id, subjects),
        guest=await _guest(reader, merchant_id, checkout_id),
    )


async def find_delivery(reader: Reader, merchant_id: str, delivery_id: uuid.UUID) -> tuple[DeliveryRow, list[AttemptRow]] | None:
    """A delivery of a merchant by its id alone, with its attempts; None when there is none. A deleted endpoint's, too."""
    row = await reader.row(
        f"""
        SELECT {_DELIVERY} FROM endpoints e
          JOIN deliveries d ON d.merchant_id = e.merchant_id AND d.endpoint_id = e.endpoint_id AND d.delivery_id = $2
         WHERE e.merchant_id = $1
        """,
        merchant_id, delivery_id,
    )  # fmt: skip
    if row is None:
        return None
    found = DeliveryRow(**dict(row.items()))
    return found, list((await attempts_of(reader, merchant_id, [found])).get(delivery_id, ()))


async def attempts_of(
    reader: Reader, merchant_id: str, deliveries: Sequence[DeliveryRow]
) -> Mapping[uuid.UUID, Sequence[AttemptRow]]:
    """The attempts of some deliveries, the first one first, with what was answered, masked."""
    rows = await reader.rows(
        """
        SELECT a.delivery_id, a.number, a.began_at, a.duration_ms, a.status_code, a.error, a.response
          FROM unnest($2::uuid[], $3::uuid[]) AS w (endpoint_id, delivery_id)
          JOIN delivery_attempts a ON a.merchant_id = $1 AND a.endpoint_id = w.endpoint_id AND a.delivery_id = w.delivery_id
         ORDER BY a.delivery_id, a.number
        """,
        merchant_id, [each.endpoint_id for each in deliveries], [each.delivery_id for each in deliveries],
    )  # fmt: skip
    found: dict[uuid.UUID, list[AttemptRow]] = {}
    for row in rows:
        said = masked_text(row["response"]) if row["response"] else None
        found.setdefault(row["delivery_id"], []).append(AttemptRow(**{**dict(row.items()), "response": said}))
    return found


async def acts_on(reader: Reader, merchant_id: str, subjects: Sequence[str]) -> list[Act]:
    """What people did to these subjects, oldest first."""
    rows = await reader.rows(
        """
        SELECT at, who_kind || ':' || who_name AS who, act, subject, why, what FROM audit_log
         WHERE merchant_id = $1 AND subject = ANY ($2) ORDER BY place LIMIT $3
        """,
        merchant_id, list(subjects), _MOST,
    )  # fmt: skip
    return [Act(**dict(row.items())) for row in rows]


async def _deliveries(reader: Reader, merchant_id: str, subjects: Sequence[str]) -> list[DeliveryRow]:
    rows = await reader.rows(
        f"""
        SELECT {_DELIVERY} FROM events e JOIN deliveries d ON d.merchant_id = e.merchant_id AND d.event_id = e.event_id
         WHERE e.merchant_id = $1 AND e.subject = ANY ($2) ORDER BY d.created_at, d.delivery_id LIMIT $3
        """,
        merchant_id, list(subjects), _MOST,
    )  # fmt: skip
    return [DeliveryRow(**dict(row.items())) for row in rows]


async def _notices(reader: Reader, merchant_id: str, order_id: uuid.UUID | None) -> list[NoticeRow]:
    """By the order's events, because no index leads from an order to messages that were sent."""
    rows = await reader.rows(
        """
        SELECT n.notice_id, n.event_id, n.type, n.status, n.attempts, n.last_answer, n.next_at, n.created_at, n.updated_at
          FROM orders o
          JOIN events e ON e.merchant_id = o.merchant_id AND e.subject IN ('order:' || o.order_id, 'payment:' || o.payment_id)
          JOIN notices n ON n.merchant_id = e.merchant_id AND n.event_id = e.event_id
         WHERE o.merchant_id = $1 AND o.order_id = $2 ORDER BY n.created_at, n.place LIMIT $3
        """,
        merchant_id, order_id, _MOST,
    )  # fmt: skip
    return [
        NoticeRow(**{**dict(row.items()), "last_answer": masked_text(row["last_answer"]) if row["last_answer"] else None})
        for row in rows
    ]


async def _reports(reader: Reader, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[Message]:
    rows = await reader.rows(
        """
        SELECT received_at, status, outcome, payment_id, refund_id FROM inbox
         WHERE merchant_id = $1 AND payment_id = ANY ($2) ORDER BY received_at, message_id LIMIT $3
        """,
        merchant_id, list(payment_ids), _MOST,
    )  # fmt: skip
    return [
        Message(
            row["received_at"],
            "report of the provider",
            row["status"],
            row["outcome"],
            _known(payment_id=str(row["payment_id"]), refund_id=str(row["refund_id"]) if row["refund_id"] else None),
        )
        for row in rows
    ]


async def _answers(reader: Reader, merchant_id: str, checkout_id: uuid.UUID | None) -> list[Message]:
    rows = await reader.rows(
        """
        SELECT step, status, ref, answer, sends, first_sent_at, updated_at FROM checkout_steps
         WHERE merchant_id = $1 AND checkout_id = $2 AND (answer IS NOT NULL OR ref IS NOT NULL) ORDER BY position, step
        """,
        merchant_id, checkout_id,
    )  # fmt: skip
    return [
        Message(
            row["updated_at"],
            f"answer to {row['step']}",
            masked_text(row["ref"] or ""),
            row["status"],
            _known(answer=masked(row["answer"]), times_sent=row["sends"] or None),
        )
        for row in rows
    ]


async def _payme(reader: Reader, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[Message]:
    rows = await reader.rows(
        """
        SELECT payme_id, account, amount_minor, time_ms, create_ms, perform_ms, cancel_ms, state, reason FROM payme_transactions
         WHERE merchant_id = $1 AND payment_id = ANY ($2) ORDER BY create_ms LIMIT $3
        """,
        merchant_id, list(payment_ids), _MOST,
    )  # fmt: skip
    messages = []
    for row in rows:
        raw = {name: row[name] for name in row.keys() if name not in {"payme_id", "account", "reason"}}  # noqa: SIM118 - a Record
        reason = None if row["reason"] is None else int(row["reason"])
        raw |= _known(account=masked(row["account"]), reason=reason)
        said = f"attempt {row['payme_id']}: {_PAYME_STATES.get(row['state'], row['state'])}"
        messages.append(Message(_at(row["create_ms"]), "Payme", said, None, raw))
    return messages


async def _receipts(reader: Reader, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[Message]:
    rows = await reader.rows(
        """
        SELECT r.received_at, r.payme_id, r.kind, r.data FROM payme_transactions t
          JOIN payme_receipts r ON r.merchant_id = t.merchant_id AND r.payme_id = t.payme_id
         WHERE t.merchant_id = $1 AND t.payment_id = ANY ($2) ORDER BY r.received_at LIMIT $3
        """,
        merchant_id, list(payment_ids), _MOST,
    )  # fmt: skip
    fiscal = [
        Message(row["received_at"], "fiscal receipt", f"{row['kind']} of {row['payme_id']}", "kept", masked(row["data"]))
        for row in rows
    ]
    rows = await reader.rows(
        """
        SELECT receipt_id, state, message, asks, created_at FROM payme_charges
         WHERE merchant_id = $1 AND payment_id = ANY ($2) ORDER BY created_at LIMIT $3
        """,
        merchant_id, list(payment_ids), _MOST,
    )  # fmt: skip
    charges = [
        Message(
            row["created_at"],
            "Payme, by a card's token",
            f"receipt {row['receipt_id'] or 'not made'}",
            row["state"],
            _known(message=masked_text(row["message"]) if row["message"] else None, asked=row["asks"] or None),
        )
        for row in rows
    ]
    return [*fiscal, *charges]


async def _guest(reader: Reader, merchant_id: str, checkout_id: uuid.UUID | None) -> str | None:
    email = await reader.value(
        "SELECT customer_email FROM checkouts WHERE merchant_id = $1 AND checkout_id = $2", merchant_id, checkout_id
    )
    return masked_text(email) if email else None


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def _known(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
