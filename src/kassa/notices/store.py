"""Every question that notices ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import orjson

from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Database, Reader, Tx
from kassa.kit.languages import usable_language
from kassa.kit.secrets import Keys
from kassa.kit.writes import Write
from kassa.notices.model import TYPE_OF_EVENT, Contact, Notice, NoticeSent, email_keys

ASKING_S = 1.5
"""Seconds that the first e-mail of an order waits for the user service."""

_ORDER_EVENTS = ", ".join(f"('{event}', '{type_}')" for event, type_ in TYPE_OF_EVENT.items() if event.startswith("order."))
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def _written(first_wait: str) -> str:
    # An order's own events are told without looking whose they are: its recipient is written in the same statement, where no other
    # part sees it. A payment's may be of an outside reference, so they look. The comma keeps that from being read as a reason to
    # send this statement apart (`kit/writes.py`): nothing gives money back in the statement that places its order.
    return f"""
    notice_told AS (
        SELECT e.event_id, (e.data->>'order_id')::uuid AS order_id, e.type, t.type AS told, NULL::text AS amount,
               CASE WHEN e.type = 'order.created' AND e.data->>'user_id' IS NOT NULL THEN {first_wait}
                    ELSE interval '0' END AS wait
          FROM event_recorded e JOIN (VALUES {_ORDER_EVENTS}) AS t (event, type) ON t.event = e.type
        UNION ALL
        SELECT e.event_id, r.order_id, e.type, '{TYPE_OF_EVENT["payment.refunded"]}',
               CASE e.type WHEN 'payment.refunded' THEN e.data->>'refunded' ELSE e.data->'refund'->>'amount' END, interval '0'
          FROM event_recorded e, notice_recipients r
         WHERE (e.type = 'payment.refunded' OR (e.type = 'refund.succeeded' AND e.data->>'state' <> 'refunded'))
           AND r.merchant_id = $1 AND e.subject = 'payment:' || r.payment_id
           AND r.order_id = CASE WHEN e.data->>'order_id' ~ '{_UUID}' THEN (e.data->>'order_id')::uuid END
    ), notice_written AS (
        INSERT INTO notices (merchant_id, notice_id, order_id, event_id, type, event_type, amount, place,
                             next_at, created_at, updated_at)
        SELECT $1, event_id, order_id, event_id, told, type, amount, row_number() OVER (ORDER BY event_id),
               kassa_now() + wait, kassa_now(), kassa_now()
          FROM notice_told
        RETURNING 1)
    """


NOTICE_WRITTEN = _written("interval '0'")
"""Parts of a `WITH` that write the notices which the events in its part `event_recorded` call for (`events.FanOut`)."""

NOTICE_WRITTEN_AFTER_ASKING = _written(f"interval '{ASKING_S} seconds'")
"""The same where a user service is asked for addresses: the first message to a buyer who has an account waits a moment for it."""

_ADDRESSED = Write(
    "notice_addressed",
    """
    notice_addressed AS (
        INSERT INTO notice_recipients (merchant_id, order_id, payment_id, buyer_id, sealed, email_key, language, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, kassa_now())
        RETURNING 1)
    """,
)


async def insert_recipient(
    tx: Tx, keys: Keys, merchant_id: str, order_id: uuid.UUID, payment_id: uuid.UUID, contact: Contact
) -> None:
    """Write who is told of an order, later, with what else the transaction leaves."""
    sealed, key = _seal(keys, order_id, contact), _key(keys, contact)
    await tx.later(_ADDRESSED, merchant_id, order_id, payment_id, contact.buyer_id, sealed, key, contact.language)


async def update_recipient(db: Database, keys: Keys, merchant_id: str, order_id: uuid.UUID, contact: Contact | None) -> None:
    """Note a better address, if there is one and the buyer was not forgotten meanwhile, and let the first message go."""
    await db.execute(
        """
        WITH addressed AS (
            UPDATE notice_recipients SET sealed = $3, email_key = $4
             WHERE merchant_id = $1 AND order_id = $2 AND $3::bytea IS NOT NULL AND NOT forgotten)
        UPDATE notices SET next_at = kassa_now()
         WHERE merchant_id = $1 AND order_id = $2 AND status = 'pending' AND attempts = 0 AND next_at > kassa_now()
        """,
        merchant_id, order_id, _seal(keys, order_id, contact) if contact else None, _key(keys, contact) if contact else None,
    )  # fmt: skip


async def forget_recipients(tx: Tx, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> int:
    """Erase who is told of these orders; returns how many there were."""
    return await tx.execute(
        """
        UPDATE notice_recipients SET buyer_id = NULL, sealed = NULL, email_key = NULL, language = DEFAULT, forgotten = true
         WHERE merchant_id = $1 AND order_id = ANY ($2) AND NOT forgotten
        """,
        merchant_id, list(order_ids),
    )  # fmt: skip


async def drop_waiting(tx: Tx, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> None:
    """Delete what is still to be sent about these orders; whoever is sending one at this moment notes nothing."""
    await tx.execute(
        "DELETE FROM notices WHERE merchant_id = $1 AND order_id = ANY ($2) AND status = 'pending'", merchant_id, list(order_ids)
    )


async def due(reader: Reader, limit: int) -> list[Notice]:
    """The first waiting notice of each order, where it is due and nobody is sending it, across merchants."""
    rows = await reader.rows(
        """
        SELECT merchant_id, notice_id, order_id, event_id, type, event_type, amount, attempts + 1 AS attempts,
               extract(epoch FROM kassa_now() - created_at)::float8 AS age_s, created_at, again
          FROM notices n
         WHERE status = 'pending' AND next_at <= kassa_now() AND (lease_until IS NULL OR lease_until < now())
           AND NOT EXISTS (SELECT FROM notices b
                            WHERE b.merchant_id = n.merchant_id AND b.order_id = n.order_id AND b.status = 'pending'
                              AND (b.created_at, b.place) < (n.created_at, n.place))
         ORDER BY next_at LIMIT $1
        """,
        limit,
    )
    return [Notice(**dict(row.items())) for row in rows]


async def claim(db: Database, keys: Keys, notice: Notice, lease_s: float) -> Contact | None:
    """Take the lease of a notice: who is told, as far as that is known; None when somebody else has it."""
    row = await db.row(
        """
        WITH taken AS (
            UPDATE notices SET lease_until = now() + make_interval(secs => $4), attempts = $3
             WHERE merchant_id = $1 AND notice_id = $2 AND status = 'pending' AND attempts = $3 - 1
               AND (lease_until IS NULL OR lease_until < now())
            RETURNING order_id)
        SELECT r.buyer_id, r.sealed, r.language
          FROM taken t LEFT JOIN notice_recipients r ON r.merchant_id = $1 AND r.order_id = t.order_id
        """,
        notice.merchant_id, notice.notice_id, notice.attempts, lease_s,
    )  # fmt: skip
    return _unseal(keys, notice.order_id, row["buyer_id"], row["sealed"], row["language"]) if row else None


async def note(reader: Reader, notice: Notice, status: str, answer: str | None, wait_s: float | None) -> bool:
    """Note how an attempt ended; False for a sender that slept past its lease: it writes nothing.

    Those behind it in its order become due with it, so that nobody looks at them before.
    """
    return bool(
        await reader.value(
            """
            WITH noted AS (
                UPDATE notices SET status = $4, last_answer = $5, lease_until = NULL, updated_at = kassa_now(),
                       next_at = kassa_now() + make_interval(secs => coalesce($6::float8, 0))
                 WHERE merchant_id = $1 AND notice_id = $2 AND attempts = $3 AND status = 'pending'
                RETURNING next_at
            ), behind AS (
                UPDATE notices b SET next_at = noted.next_at FROM noted
                 WHERE b.merchant_id = $1 AND b.order_id = $7 AND b.status = 'pending' AND b.notice_id <> $2)
            SELECT count(*) FROM noted
            """,
            notice.merchant_id, notice.notice_id, notice.attempts, status, answer, wait_s, notice.order_id,
        )
    )  # fmt: skip


async def send_again(tx: Tx, merchant_id: str, order_id: uuid.UUID, event_id: uuid.UUID) -> bool | None:
    """Make a notice that was sent, or given up, due once more; False while it is on its way, None when there is none."""
    row = await tx.row(
        """
        WITH found AS (
            SELECT notice_id, status FROM notices WHERE merchant_id = $1 AND event_id = $3 AND order_id = $2 FOR UPDATE
        ), due AS (
            UPDATE notices n SET status = 'pending', attempts = 0, again = n.again + 1, next_at = kassa_now(),
                   lease_until = NULL, updated_at = kassa_now()
              FROM found f WHERE n.merchant_id = $1 AND n.notice_id = f.notice_id AND f.status <> 'pending')
        SELECT status <> 'pending' AS moved FROM found
        """,
        merchant_id, order_id, event_id,
    )  # fmt: skip
    return row["moved"] if row else None


async def delete_sent(reader: Reader, after_days: int, limit: int) -> int:
    """Delete notices that were sent more than `after_days` ago, at most `limit`; returns how many."""
    rows = await reader.rows(
        """
        SELECT merchant_id, notice_id FROM notices
         WHERE status = 'sent' AND updated_at < kassa_now() - make_interval(days => $1) ORDER BY updated_at LIMIT $2
        """,
        after_days, limit,
    )  # fmt: skip
    deleted = 0
    for merchant_id, old in by_merchant(rows).items():
        deleted += await reader.execute(
            "DELETE FROM notices WHERE merchant_id = $1 AND notice_id = ANY ($2) AND status = 'sent'",
            merchant_id, [row["notice_id"] for row in old],
        )  # fmt: skip
    return deleted


def key_of_sealed(keys: Keys, sealed: bytes) -> bytes | None:
    """The keyed hash of the address in what was sealed, once that is opened; None where there is no address in it."""
    email = orjson.loads(sealed)["email"]
    return email_keys(keys, email)[0] if email is not None else None


def _key(keys: Keys, contact: Contact) -> bytes | None:
    return email_keys(keys, contact.email)[0] if contact.email is not None else None


def _seal(keys: Keys, order_id: uuid.UUID, contact: Contact) -> bytes | None:
    if contact.email is None and contact.name is None:
        return None
    return keys.seal(orjson.dumps({"email": contact.email, "name": contact.name}), order_id.bytes)


def _unseal(keys: Keys, order_id: uuid.UUID, buyer_id: str | None, sealed: bytes | None, language: str | None) -> Contact:
    spoken = usable_language(language)
    if sealed is None:
        return Contact(buyer_id, language=spoken)
    raw = keys.unseal(bytes(sealed), order_id.bytes)
    if raw is None:
        return Contact(buyer_id, locked=True, language=spoken)
    return Contact(buyer_id, **orjson.loads(raw), language=spoken)


async def notices_of(reader: Reader, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> list[NoticeSent]:
    """What the buyers of some orders of a merchant are told, in order."""
    rows = await reader.rows(
        """
        SELECT notice_id, order_id, event_id, type, status, attempts, created_at
          FROM notices WHERE merchant_id = $1 AND order_id = ANY ($2) ORDER BY created_at, place
        """,
        merchant_id, list(order_ids),
    )  # fmt: skip
    return [NoticeSent(**dict(row.items())) for row in rows]
