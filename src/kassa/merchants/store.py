"""Every question that merchants ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.kit.database import Database, Reader, Row, Tx
from kassa.merchants.model import ApiKey, Caller, Merchant, Plan, Subscription

_MERCHANT = "m.merchant_id, m.name, m.email, m.currency, m.created_at"
_KEY = "merchant_id, key_id, name, prefix, scopes, created_at, last_used_at, revoked_at"
_SUBSCRIPTION = "merchant_id, plan_id, name, price_minor, currency, tokens_total, tokens_used, active, started_at"


def _key(row: Row) -> ApiKey:
    return ApiKey(**{**dict(row.items()), "scopes": tuple(row["scopes"])})


async def find(reader: Reader, merchant_id: str) -> Merchant | None:
    """One merchant, or None."""
    row = await reader.row(f"SELECT {_MERCHANT} FROM merchants m WHERE m.merchant_id = $1", merchant_id)
    return Merchant(**dict(row.items())) if row else None


async def find_all(reader: Reader) -> list[Merchant]:
    """All merchants, in the order of their ids; for an operator."""
    rows = await reader.rows(f"SELECT {_MERCHANT} FROM merchants m ORDER BY length(m.merchant_id), m.merchant_id")
    return [Merchant(**dict(row.items())) for row in rows]


async def caller_by_hash(reader: Reader, key_hash: bytes) -> Caller | None:
    """Whose key this is and what it may do; None for one that is unknown or revoked. A plain read before a merchant is known."""
    row = await reader.row(
        f"""
        SELECT {_MERCHANT}, k.key_id, k.scopes, coalesce(k.last_used_at < kassa_now() - interval '1 minute', true) AS stale
          FROM api_key_hashes h
          JOIN api_keys k ON k.merchant_id = h.merchant_id AND k.key_id = h.key_id AND k.revoked_at IS NULL
          JOIN merchants m ON m.merchant_id = h.merchant_id
         WHERE h.key_hash = $1
        """,
        key_hash,
    )
    if row is None:
        return None
    merchant = Merchant(row["merchant_id"], row["name"], row["email"], row["currency"], row["created_at"])
    return Caller(merchant, frozenset(row["scopes"]), row["key_id"], row["stale"])


async def note_used(db: Database, merchant_id: str, key_id: uuid.UUID) -> None:
    """Note that a key was used just now."""
    await db.execute("UPDATE api_keys SET last_used_at = kassa_now() WHERE merchant_id = $1 AND key_id = $2", merchant_id, key_id)


async def insert_merchant(tx: Tx, merchant_id: str, name: str, email: str | None, currency: str) -> bool:
    """Add a merchant, or complete one that has no address yet."""
    return bool(
        await tx.execute(
            """
            INSERT INTO merchants AS m (merchant_id, name, email, currency, created_at) VALUES ($1, $2, $3, $4, kassa_now())
            ON CONFLICT (merchant_id) DO UPDATE SET email = excluded.email, currency = excluded.currency
             WHERE m.email IS NULL AND excluded.email IS NOT NULL
            """,
            merchant_id, name, email, currency,
        )
    )  # fmt: skip


async def insert_key(
    tx: Tx, merchant_id: str, key_id: uuid.UUID, name: str, prefix: str, scopes: Sequence[str], key_hash: bytes
) -> ApiKey | None:
    """Write a key and its hash; None when that hash is there already."""
    row = await tx.row(
        f"""
        WITH hashed AS (
            INSERT INTO api_key_hashes (key_hash, merchant_id, key_id) VALUES ($6, $1, $2) ON CONFLICT DO NOTHING RETURNING key_id
        )
        INSERT INTO api_keys (merchant_id, key_id, name, prefix, scopes, created_at)
        SELECT $1, hashed.key_id, $3, $4, $5, kassa_now() FROM hashed
        RETURNING {_KEY}
        """,
        merchant_id, key_id, name, prefix, list(scopes), key_hash,
    )  # fmt: skip
    return _key(row) if row else None


async def keys_of(reader: Reader, merchant_id: str) -> list[ApiKey]:
    """The keys of a merchant, oldest first."""
    rows = await reader.rows(f"SELECT {_KEY} FROM api_keys WHERE merchant_id = $1 ORDER BY created_at, key_id", merchant_id)
    return [_key(row) for row in rows]


async def key_anywhere(reader: Reader, merchant_id: str | None, key_id: uuid.UUID) -> ApiKey | None:
    """One key by its id, of a merchant or (for an operator) of any; whatever follows names the merchant."""
    row = await reader.row(
        f"""
        SELECT k.* FROM merchants m CROSS JOIN LATERAL (
            SELECT {_KEY} FROM api_keys WHERE merchant_id = m.merchant_id AND key_id = $1) k
         WHERE $2::text IS NULL OR m.merchant_id = $2 LIMIT 1
        """,
        key_id, merchant_id,
    )  # fmt: skip
    return _key(row) if row else None


async def revoke(tx: Tx, merchant_id: str, key_id: uuid.UUID) -> bool | None:
    """Revoke a key; False when it was revoked before, which keeps its time, None when there is none."""
    revoked = await tx.execute(
        "UPDATE api_keys SET revoked_at = kassa_now() WHERE merchant_id = $1 AND key_id = $2 AND revoked_at IS NULL",
        merchant_id, key_id,
    )  # fmt: skip
    if revoked:
        return True
    known = await tx.value("SELECT true FROM api_keys WHERE merchant_id = $1 AND key_id = $2", merchant_id, key_id)
    return False if known else None


async def plans(reader: Reader) -> list[Plan]:
    """All plans, in the order of their ids."""
    rows = await reader.rows("SELECT plan_id, name, price_minor, currency, tokens FROM plans ORDER BY length(plan_id), plan_id")
    return [Plan(**dict(row.items())) for row in rows]


async def insert_plan(tx: Tx, plan: Plan) -> bool:
    """Add a plan; False when there is one of that id."""
    return bool(
        await tx.execute(
            "INSERT INTO plans (plan_id, name, price_minor, currency, tokens) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            plan.plan_id, plan.name, plan.price_minor, plan.currency, plan.tokens,
        )
    )  # fmt: skip


async def fill(tx: Tx, merchant_id: str, plan: Plan, tokens: int, *, active: bool) -> Subscription:
    """Begin a subscription with `tokens`, or add them to the one there is; what was told of the old filling may be told anew."""
    row = await tx.row(
        f"""
        INSERT INTO subscriptions AS s (merchant_id, plan_id, name, price_minor, currency, tokens_total, active, started_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, kassa_now())
        ON CONFLICT (merchant_id, plan_id) DO UPDATE
           SET tokens_total = s.tokens_total + excluded.tokens_total, active = excluded.active, told = 0
        RETURNING {_SUBSCRIPTION}
        """,
        merchant_id, plan.plan_id, plan.name, plan.price_minor, plan.currency, tokens, active,
    )  # fmt: skip
    assert row is not None
    return Subscription(**dict(row.items()))


async def set_active(tx: Tx, merchant_id: str, plan_id: str, *, active: bool) -> bool | None:
    """Switch a subscription on or off; False when it was so before, None when there is none."""
    switched = await tx.execute(
        "UPDATE subscriptions SET active = $3 WHERE merchant_id = $1 AND plan_id = $2 AND active <> $3",
        merchant_id,
        plan_id,
        active,
    )
    if switched:
        return True
    known = await tx.value("SELECT true FROM subscriptions WHERE merchant_id = $1 AND plan_id = $2", merchant_id, plan_id)
    return False if known else None


async def subscriptions_of(reader: Reader, merchant_id: str) -> list[Subscription]:
    """A merchant's subscriptions, oldest first."""
    rows = await reader.rows(
        f"SELECT {_SUBSCRIPTION} FROM subscriptions WHERE merchant_id = $1 ORDER BY started_at, plan_id", merchant_id
    )
    return [Subscription(**dict(row.items())) for row in rows]


async def spend_token(tx: Tx, merchant_id: str, plan_id: str | None) -> tuple[Subscription, int, int] | None:
    """Take one token from the oldest active subscription that fits and has any; None when none does.

    With it what has been told of this filling (1 few left, 2 none), now and before.
    """
    row = await tx.row(
        f"""
        WITH mine AS (
            SELECT plan_id AS which, told AS told_before FROM subscriptions
             WHERE merchant_id = $1 AND active AND tokens_used < tokens_total AND ($2::text IS NULL OR plan_id = $2)
             ORDER BY started_at, plan_id LIMIT 1 FOR NO KEY UPDATE
        )
        UPDATE subscriptions s
           SET tokens_used = s.tokens_used + 1,
               told = greatest(s.told, CASE WHEN s.tokens_used + 1 >= s.tokens_total THEN 2
                                            WHEN (s.tokens_total - s.tokens_used - 1) * 10 <= s.tokens_total THEN 1 ELSE 0 END)
          FROM mine WHERE s.merchant_id = $1 AND s.plan_id = mine.which
        RETURNING {_SUBSCRIPTION}, told, told_before
        """,
        merchant_id, plan_id,
    )  # fmt: skip
    if row is None:
        return None
    told = dict(row.items())
    return (
        Subscription(**{name: told[name] for name in told if name not in {"told", "told_before"}}),
        row["told"],
        row["told_before"],
    )


async def what_is_left(tx: Tx, merchant_id: str, plan_id: str | None) -> tuple[bool, bool]:
    """Whether a fitting subscription is active, and whether one of those has a token left."""
    row = await tx.row(
        """
        SELECT count(*) > 0 AS active, coalesce(bool_or(tokens_used < tokens_total), false) AS any_left
          FROM subscriptions WHERE merchant_id = $1 AND active AND ($2::text IS NULL OR plan_id = $2)
        """,
        merchant_id, plan_id,
    )  # fmt: skip
    assert row is not None
    return row["active"], row["any_left"]


async def return_token(tx: Tx, merchant_id: str, plan_id: str) -> None:
    """One token fewer is used."""
    await tx.execute(
        "UPDATE subscriptions SET tokens_used = tokens_used - 1 WHERE merchant_id = $1 AND plan_id = $2", merchant_id, plan_id
    )
