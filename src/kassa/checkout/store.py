"""Every question that the conductor asks the database: checkouts, their journal, and cases for a person."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kassa import cases
from kassa.checkout.model import GUEST, Checkout, Refusal, Step
from kassa.kit.database import Database, Reader, Row, Tx
from kassa.kit.errors import Conflict
from kassa.kit.writes import Write

_COLUMNS = """merchant_id, checkout_id, channel, surface, buyer_id, status, method, acts, cart_id, cart_version, order_id,
    payment_id, currency, total_minor, customer_email, request_id, error, error_code, error_message, error_items, deadline,
    tries, lease_version, idempotency, created_at, updated_at, kassa_now() AS read_at"""
_STEP = "step, position, status, ref, sends, first_sent_at, undos, undo_since, began_at, updated_at"


class Overtaken(Conflict):
    """Somebody moved this checkout first: look again."""

    code = "overtaken"


@dataclass(frozen=True, slots=True)
class NewCheckout:
    """What a checkout is begun with. `hold` is how long stock is held, `lease_s` how long its maker may be silent.

    One that `sleeps` has no leader before its deadline.
    """

    merchant_id: str
    checkout_id: uuid.UUID
    channel: str
    surface: str
    buyer_id: str | None
    status: str
    method: str
    acts: Sequence[str]
    currency: str
    total_minor: int | None
    request_id: str | None
    lease_s: float
    order_id: uuid.UUID | None = None
    payment_id: uuid.UUID | None = None
    cart_id: uuid.UUID | None = None
    cart_version: int | None = None
    asked: bytes | None = None
    customer_email: str | None = None
    hold: timedelta | None = None
    sleeps: bool = False
    idempotency: Mapping[str, Any] | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What to write into the journal about one act. `sent` counts a sending, `undo` an attempt to undo."""

    step: str
    status: str
    ref: str | None = None
    sent: bool = False
    undo: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """When the checkout is to be looked at again.

    `in_s` seconds from now, None for never. `lease` is `keep` (not ours to touch), `renew` (we go on) or `release`.
    """

    in_s: float | None
    lease: str = "keep"


OVER = Next(None, "release")


@dataclass(frozen=True, slots=True)
class Move:
    """Where a checkout goes, when it is looked at again, and the lines of its journal that go with it."""

    status: str
    when: Next
    notes: Sequence[Note] = ()
    lease_s: float = 0
    refusal: Refusal | None = None
    tries: int = 0


def _checkout(row: Row) -> Checkout:
    return Checkout(**dict(row.items()))


_INSERT = Write(
    "checkout_begun",
    """
    checkout_begun AS (
        INSERT INTO checkouts (merchant_id, checkout_id, channel, surface, buyer_id, status, method, acts, cart_id,
                               cart_version, asked, order_id, payment_id, currency, total_minor, customer_email,
                               request_id, idempotency, deadline, error, error_code, error_message, error_items,
                               next_at, lease_until, lease_version, created_at, updated_at, ended_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
                CASE WHEN $30 THEN $19 WHEN $6 <> 'undone' THEN kassa_now() END,
                CASE WHEN $6 <> 'undone' AND NOT $30 THEN now() + make_interval(secs => $24) END,
                1, $25, $25, CASE WHEN $6 = 'undone' THEN kassa_now() END)
        RETURNING 1
    ), checkout_noted AS (
        INSERT INTO checkout_steps (merchant_id, checkout_id, step, position, status, sends, first_sent_at, began_at,
                                    updated_at)
        SELECT $1, $2, n.step, n.position, n.status, n.sends, CASE WHEN n.sends > 0 THEN $25 END, $25, $25
          FROM unnest($26::text[], $27::text[], $28::int[], $29::int[]) AS n (step, status, sends, position))
    """,
)


async def insert(tx: Tx, new: NewCheckout, notes: Sequence[Note], at: datetime) -> Checkout:
    """Write a new checkout with its first journal lines, later, leased by its maker unless it is over already."""
    refusal = new.refusal
    deadline = at + new.hold if new.hold is not None else None
    acts = list(new.acts)
    error = (refusal.error, refusal.code, refusal.message, refusal.items) if refusal else (None, None, None, None)
    await tx.later(
        _INSERT,
        new.merchant_id, new.checkout_id, new.channel, new.surface, new.buyer_id, new.status, new.method, acts,
        new.cart_id, new.cart_version, new.asked, new.order_id, new.payment_id, new.currency, new.total_minor,
        new.customer_email, new.request_id, new.idempotency, deadline, *error, new.lease_s, at,
        [note.step for note in notes], [note.status for note in notes], [int(note.sent) for note in notes],
        [acts.index(note.step) for note in notes], new.sleeps,
    )  # fmt: skip
    return Checkout(
        merchant_id=new.merchant_id, checkout_id=new.checkout_id, channel=new.channel, surface=new.surface,
        buyer_id=new.buyer_id, status=new.status, method=new.method, acts=acts, cart_id=new.cart_id,
        cart_version=new.cart_version, order_id=new.order_id, payment_id=new.payment_id, currency=new.currency,
        total_minor=new.total_minor, customer_email=new.customer_email, request_id=new.request_id, error=error[0],
        error_code=error[1], error_message=error[2], error_items=error[3], deadline=deadline, tries=0, lease_version=1,
        idempotency=new.idempotency, created_at=at, updated_at=at, read_at=at,
    )  # fmt: skip


# The moment stands in no CASE, so that a distributed server can work it out before it sees a row (decision 0046).
_MOVE = Write(
    "checkout_moved",
    """
    checkout_moved AS (
        UPDATE checkouts SET
               status = $5,
               next_at = kassa_now() + make_interval(secs => $6::float8),
               lease_until = greatest(CASE $7 WHEN 'keep' THEN lease_until END,
                                      now() + make_interval(secs => CASE $7 WHEN 'renew' THEN $8::float8 END)),
               error = coalesce(error, $9), error_code = coalesce(error_code, $10),
               error_message = coalesce(error_message, $11), error_items = coalesce(error_items, $12),
               tries = $13,
               ended_at = least(CASE WHEN $5 IN ('completed', 'undone') THEN ended_at END,
                                kassa_now() + make_interval(secs => CASE WHEN $5 IN ('completed', 'undone') THEN 0 END)),
               updated_at = kassa_now()
         WHERE merchant_id = $1 AND checkout_id = $2 AND status = $3 AND lease_version = $4 AND updated_at = $20
        RETURNING *
    ), checkout_noted AS (
        INSERT INTO checkout_steps AS s (merchant_id, checkout_id, step, position, status, ref, sends, first_sent_at,
                                         undos, undo_since, began_at, updated_at)
        SELECT $1, $2, n.step, n.position, n.status, n.ref, n.sends, CASE WHEN n.sends > 0 THEN kassa_now() END,
               n.undos, CASE WHEN n.undos > 0 THEN kassa_now() END, kassa_now(), kassa_now()
          FROM checkout_moved, unnest($14::text[], $15::text[], $16::text[], $17::int[], $18::int[], $19::int[])
            AS n (step, status, ref, sends, undos, position)
        ON CONFLICT (merchant_id, checkout_id, step) DO UPDATE
           SET status = excluded.status, ref = coalesce(excluded.ref, s.ref), sends = s.sends + excluded.sends,
               first_sent_at = coalesce(s.first_sent_at, excluded.first_sent_at), undos = s.undos + excluded.undos,
               undo_since = coalesce(s.undo_since, excluded.undo_since), updated_at = excluded.updated_at)
    """,
    expects="1",
    unmet=Overtaken,
)
_MOVE_NOW = _MOVE.selecting(_COLUMNS)


async def advance(tx: Tx, checkout: Checkout, move: Move) -> Checkout:
    """Move a checkout from the status and lease it was read with, and write the journal, in one statement.

    It is the first statement of each transaction of the saga: it locks the row, fences off a worker that slept past its
    lease, and raises `Overtaken` when somebody was first, also with a line of the journal alone (`updated_at` tells).
    """
    row = await tx.row(_MOVE_NOW, *_moved(checkout, move))
    if row is None:
        raise Overtaken
    return _checkout(row)


async def complete_later(tx: Tx, checkout: Checkout, move: Move) -> Checkout:
    """The same for a move that ends the checkout, later: the row as it is then, but for its times. `Overtaken` comes then too."""
    await tx.later(_MOVE, *_moved(checkout, move))
    return replace(checkout, status=move.status, tries=move.tries)


def _moved(checkout: Checkout, move: Move) -> tuple[Any, ...]:
    acts, notes, when, refusal = list(checkout.acts), move.notes, move.when, move.refusal
    error = (refusal.error, refusal.code, refusal.message, refusal.items) if refusal else (None, None, None, None)
    return (
        checkout.merchant_id, checkout.checkout_id, checkout.status, checkout.lease_version, move.status, when.in_s,
        when.lease, move.lease_s, *error, move.tries,
        [note.step for note in notes], [note.status for note in notes], [note.ref for note in notes],
        [int(note.sent) for note in notes], [int(note.undo) for note in notes], [acts.index(note.step) for note in notes],
        checkout.updated_at,
    )  # fmt: skip


async def find(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> Checkout | None:
    """One checkout, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM checkouts WHERE merchant_id = $1 AND checkout_id = $2", merchant_id, checkout_id
    )
    return _checkout(row) if row else None


async def merchant_of(reader: Reader, checkout_id: uuid.UUID) -> str | None:
    """Whose checkout this is: a plain read across merchants; whatever follows names the merchant."""
    found: str | None = await reader.value("SELECT merchant_id FROM checkouts WHERE checkout_id = $1", checkout_id)
    return found


async def lock(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> Checkout | None:
    """One checkout under its row lock, or None."""
    row = await tx.row(
        f"SELECT {_COLUMNS} FROM checkouts WHERE merchant_id = $1 AND checkout_id = $2 FOR UPDATE", merchant_id, checkout_id
    )
    return _checkout(row) if row else None


async def steps_of(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> list[Step]:
    """The journal, in the order of the acts."""
    rows = await reader.rows(
        f"SELECT {_STEP} FROM checkout_steps WHERE merchant_id = $1 AND checkout_id = $2 ORDER BY position",
        merchant_id, checkout_id,
    )  # fmt: skip
    return [Step(**dict(row.items())) for row in rows]


@dataclass(frozen=True, slots=True)
class CartTaken:
    """What became of a cart version: its checkout's order, what was asked for, and whether it is recent."""

    order_id: uuid.UUID
    asked: bytes
    recent: bool


async def taken_by(reader: Reader, merchant_id: str, cart_id: uuid.UUID, version: int) -> CartTaken | None:
    """The checkout that a cart version became, or None. Recent means within 10 minutes."""
    row = await reader.row(
        """
        SELECT order_id, asked, created_at > kassa_now() - interval '10 minutes' AS recent FROM checkouts
         WHERE merchant_id = $1 AND cart_id = $2 AND cart_version = $3
        """,
        merchant_id, cart_id, version,
    )  # fmt: skip
    return CartTaken(**dict(row.items())) if row else None


async def waiting_for_buyer(reader: Reader, merchant_id: str, buyer_id: str) -> int:
    """How many checkouts of a buyer wait for that buyer to pay a link."""
    waiting: int = await reader.value(
        """
        SELECT count(*) FROM checkouts
         WHERE merchant_id = $1 AND buyer_id = $2 AND status = 'paying' AND next_at IS NOT NULL AND surface = 'orders'
           AND (method LIKE 'link:%' OR method = 'payme')
        """,
        merchant_id, buyer_id,
    )  # fmt: skip
    return waiting


async def lock_together(tx: Tx, checkout: Checkout) -> list[Checkout]:
    """A checkout and all others of its cart that wait for their buyer, under their row locks, taken in the order of ids.

    Others only where carts keep their lines. The cart is locked, so no new one comes.
    """
    rows = await tx.rows(
        f"""
        SELECT {_COLUMNS} FROM checkouts
         WHERE merchant_id = $1 AND checkout_id = ANY (ARRAY(
               SELECT $2::uuid UNION
               SELECT checkout_id FROM checkouts
                WHERE merchant_id = $1 AND cart_id = $3 AND status = 'paying' AND surface = 'purchases'))
         ORDER BY checkout_id FOR UPDATE
        """,
        checkout.merchant_id, checkout.checkout_id, checkout.cart_id,
    )  # fmt: skip
    return [_checkout(row) for row in rows]


async def lock_open(tx: Tx, merchant_id: str, cart_id: uuid.UUID) -> list[Checkout]:
    """The checkouts of a cart that keeps its lines which wait for their buyer, under their row locks, in the order of ids."""
    rows = await tx.rows(
        f"""
        SELECT {_COLUMNS} FROM checkouts
         WHERE merchant_id = $1 AND cart_id = $2 AND status = 'paying' AND surface = 'purchases' ORDER BY checkout_id FOR UPDATE
        """,
        merchant_id, cart_id,
    )  # fmt: skip
    return [_checkout(row) for row in rows]


async def of_version(reader: Reader, merchant_id: str, cart_id: uuid.UUID, version: int) -> Checkout | None:
    """The checkout that a cart version became and that still waits for its buyer, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM checkouts WHERE merchant_id = $1 AND cart_id = $2 AND cart_version = $3 AND status = 'paying'",
        merchant_id, cart_id, version,
    )  # fmt: skip
    return _checkout(row) if row else None


async def is_newest(reader: Reader, checkout: Checkout) -> bool:
    """Whether no later version of its cart has become a checkout."""
    newer: bool = await reader.value(
        "SELECT EXISTS (SELECT FROM checkouts WHERE merchant_id = $1 AND cart_id = $2 AND cart_version > $3)",
        checkout.merchant_id, checkout.cart_id, checkout.cart_version,
    )  # fmt: skip
    return not newer


async def open_of_channel(
    reader: Reader, merchant_id: str, channel: str, after: tuple[uuid.UUID, uuid.UUID], limit: int
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Cart and order of checkouts of a channel that wait for their buyer, behind the pair `after`, in that order."""
    rows = await reader.rows(
        """
        SELECT cart_id, order_id FROM checkouts
         WHERE merchant_id = $1 AND channel = $2 AND status = 'paying' AND surface = 'purchases' AND (cart_id, order_id) > ($3, $4)
         ORDER BY cart_id, order_id LIMIT $5
        """,
        merchant_id, channel, *after, limit,
    )  # fmt: skip
    return [(row["cart_id"], row["order_id"]) for row in rows]


async def claim(db: Database, merchant_id: str, checkout_id: uuid.UUID, lease_s: float) -> Checkout | None:
    """Take the lease of a checkout that has something to do and that nobody leads; None when somebody does."""
    row = await db.row(
        f"""
        WITH claimed AS (
            UPDATE checkouts SET lease_until = now() + make_interval(secs => $3), lease_version = lease_version + 1
             WHERE merchant_id = $1 AND checkout_id = $2 AND next_at IS NOT NULL AND (lease_until IS NULL OR lease_until < now())
            RETURNING *
        )
        SELECT {_COLUMNS} FROM claimed
        """,
        merchant_id, checkout_id, lease_s,
    )  # fmt: skip
    return _checkout(row) if row else None


async def due(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Checkouts that are due and that nobody leads, oldest first, across merchants: a plain read."""
    rows = await reader.rows(
        """
        SELECT merchant_id, checkout_id FROM checkouts
         WHERE next_at <= kassa_now() AND (lease_until IS NULL OR lease_until < now()) ORDER BY next_at LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["checkout_id"]) for row in rows]


async def claim_due(db: Database, merchant_id: str, checkout_ids: Sequence[uuid.UUID], lease_s: float) -> list[Checkout]:
    """Take the leases of those of one merchant's due checkouts that are still free, without waiting for anybody."""
    rows = await db.rows(
        f"""
        WITH free AS (
            SELECT checkout_id FROM checkouts
             WHERE merchant_id = $1 AND checkout_id = ANY ($2) AND next_at <= kassa_now()
               AND (lease_until IS NULL OR lease_until < now())
               FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE checkouts c SET lease_until = now() + make_interval(secs => $3), lease_version = lease_version + 1
              FROM free WHERE c.merchant_id = $1 AND c.checkout_id = free.checkout_id
            RETURNING c.*
        )
        SELECT {_COLUMNS} FROM claimed
        """,
        merchant_id, list(checkout_ids), lease_s,
    )  # fmt: skip
    return [_checkout(row) for row in rows]


async def was_taken_over(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> bool:
    """Whether anybody else than its maker has led this checkout."""
    found: bool | None = await reader.value(
        "SELECT lease_version > 1 FROM checkouts WHERE merchant_id = $1 AND checkout_id = $2", merchant_id, checkout_id
    )
    return bool(found)


async def renew(db: Database, checkout: Checkout, lease_s: float) -> bool:
    """Hold the lease for longer; False when it was lost."""
    return bool(
        await db.execute(
            """
            UPDATE checkouts SET lease_until = now() + make_interval(secs => $4)
             WHERE merchant_id = $1 AND checkout_id = $2 AND lease_version = $3
            """,
            checkout.merchant_id, checkout.checkout_id, checkout.lease_version, lease_s,
        )
    )  # fmt: skip


async def let_go(db: Database, checkout: Checkout) -> None:
    """Give the lease back, so that whoever looks next need not wait for its end."""
    await db.execute(
        "UPDATE checkouts SET lease_until = NULL WHERE merchant_id = $1 AND checkout_id = $2 AND lease_version = $3",
        checkout.merchant_id, checkout.checkout_id, checkout.lease_version,
    )  # fmt: skip


async def open_case(
    reader: Reader, checkout: Checkout, kind: str, act: str, last_answer: str | None, amount_minor: int | None
) -> None:
    """List something about a checkout for a person, once while it is open."""
    subject = f"checkout:{checkout.checkout_id}"
    await cases.open_case(
        reader, checkout.merchant_id, kind, subject, act=act, last_answer=last_answer, amount_minor=amount_minor,
        currency=checkout.currency,
    )  # fmt: skip


async def close_cases(tx: Tx, checkout: Checkout, decision: str) -> None:
    """Close what is open about a checkout, with the decision that closed it."""
    await cases.close_cases(tx, checkout.merchant_id, f"checkout:{checkout.checkout_id}", decision)


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class OfPerson:
    """A checkout of somebody, as far as forgetting must know it."""

    checkout_id: uuid.UUID
    status: str
    next_at: datetime | None
    order_id: uuid.UUID | None
    payment_id: uuid.UUID | None
    buyer_id: str | None


_IS_GUEST = f"(buyer_id IS NULL OR starts_with(buyer_id, '{GUEST}'))"
_OF_PERSON = f"""
    SELECT checkout_id, status, next_at, order_id, payment_id, buyer_id FROM checkouts
     WHERE merchant_id = $1 AND (buyer_id = $2 OR ({_IS_GUEST} AND lower(customer_email) = lower($3)))
     ORDER BY checkout_id
"""


async def of_person(reader: Reader, merchant_id: str, buyer_id: str | None, email: str | None) -> list[OfPerson]:
    """All checkouts of a buyer, or of guests with an e-mail address. Without an index: for an operator."""
    return [OfPerson(**dict(row.items())) for row in await reader.rows(_OF_PERSON, merchant_id, buyer_id, email)]


async def lock_of_person(tx: Tx, merchant_id: str, checkout_ids: Sequence[uuid.UUID]) -> list[OfPerson]:
    """The same as they are now, under their row locks in the order of their ids."""
    rows = await tx.rows(
        """
        SELECT checkout_id, status, next_at, order_id, payment_id, buyer_id FROM checkouts
         WHERE merchant_id = $1 AND checkout_id = ANY ($2) ORDER BY checkout_id FOR UPDATE
        """,
        merchant_id, list(checkout_ids),
    )  # fmt: skip
    return [OfPerson(**dict(row.items())) for row in rows]


async def guest_emails(tx: Tx, merchant_id: str, email: str | None = None) -> list[str]:
    """An e-mail address in all the ways in which guests have written it; for None every address of a guest."""
    rows = await tx.rows(
        f"""
        SELECT DISTINCT customer_email AS email FROM checkouts
         WHERE merchant_id = $1 AND {_IS_GUEST} AND lower(customer_email) = lower(coalesce($2, customer_email))
        """,
        merchant_id, email,
    )  # fmt: skip
    return [row["email"] for row in rows]


async def forget(tx: Tx, merchant_id: str, checkout_ids: Sequence[uuid.UUID]) -> int:
    """Erase the e-mail addresses of checkouts and what neighbours said about them; returns how many had any."""
    return await tx.execute(
        """
        UPDATE checkouts SET customer_email = NULL, error_message = NULL
         WHERE merchant_id = $1 AND checkout_id = ANY ($2) AND num_nonnulls(customer_email, error_message) > 0
        """,
        merchant_id, list(checkout_ids),
    )  # fmt: skip
