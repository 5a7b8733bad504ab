"""Every question that the back office's people ask the database."""

from __future__ import annotations

import uuid
from datetime import timedelta

from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Database, Reader, Row, Tx, placeholders
from kassa.kit.ids import new_id
from kassa.staff.model import IDLE, LONGEST, SPAN, Account, Session

_ACCOUNT = "merchant_id, account_id, name, email, role, created_at, password_at, disabled_at"
_SESSION = "s.merchant_id, s.session_id, s.account_id, a.name, a.role, s.address, s.created_at, s.seen_at"
_LIVES = "s.ended_at IS NULL AND s.seen_at > kassa_now() - {idle}::interval AND s.created_at > kassa_now() - {longest}::interval"

# ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def insert_account(tx: Tx, merchant_id: str, name: str, email: str, role: str, password_hash: str) -> Account | None:
    """Add an account; None when its name or address is taken."""
    row = await tx.row(
        f"""
        INSERT INTO staff_accounts (merchant_id, account_id, name, email, role, password_hash, password_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, kassa_now(), kassa_now()) ON CONFLICT DO NOTHING RETURNING {_ACCOUNT}
        """,
        merchant_id, new_id(), name, email, role, password_hash,
    )  # fmt: skip
    return _account(row) if row else None


async def accounts_of(reader: Reader, merchant_id: str) -> list[Account]:
    """All accounts of a merchant, by name."""
    rows = await reader.rows(f"SELECT {_ACCOUNT} FROM staff_accounts WHERE merchant_id = $1 ORDER BY name", merchant_id)
    return [_account(row) for row in rows]


async def account(reader: Reader, merchant_id: str, account_id: uuid.UUID) -> Account | None:
    """One account, or None."""
    row = await reader.row(
        f"SELECT {_ACCOUNT} FROM staff_accounts WHERE merchant_id = $1 AND account_id = $2", merchant_id, account_id
    )
    return _account(row) if row else None


async def account_called(reader: Reader, merchant_id: str, typed: str) -> tuple[Account, str] | None:
    """The account that somebody means by a name or an e-mail address, and the hash of its password; also a disabled one."""
    column = "lower(email)" if "@" in typed else "name"
    row = await reader.row(
        f"SELECT {_ACCOUNT}, password_hash FROM staff_accounts WHERE merchant_id = $1 AND {column} = $2", merchant_id, typed
    )
    return (_account(row), row["password_hash"]) if row else None


async def lock_admins(tx: Tx, merchant_id: str) -> list[uuid.UUID]:
    """The admins who can sign in, under their row locks, so that two cannot disable each other at once."""
    rows = await tx.rows(
        """
        SELECT account_id FROM staff_accounts WHERE merchant_id = $1 AND role = 'admin' AND disabled_at IS NULL
         ORDER BY account_id FOR UPDATE
        """,
        merchant_id,
    )
    return [row["account_id"] for row in rows]


async def set_password(tx: Tx, merchant_id: str, account_id: uuid.UUID, password_hash: str) -> bool:
    """Keep another password; False when there is no such account."""
    return bool(
        await tx.execute(
            "UPDATE staff_accounts SET password_hash = $3, password_at = kassa_now() WHERE merchant_id = $1 AND account_id = $2",
            merchant_id, account_id, password_hash,
        )
    )  # fmt: skip


async def set_disabled(tx: Tx, merchant_id: str, account_id: uuid.UUID, *, disabled: bool) -> bool:
    """Let an account sign in no more, or again; False when it is so already, or there is none."""
    return bool(
        await tx.execute(
            """
            UPDATE staff_accounts SET disabled_at = kassa_now() + make_interval(secs => CASE WHEN $3 THEN 0 END)
             WHERE merchant_id = $1 AND account_id = $2 AND (disabled_at IS NULL) = $3
            """,
            merchant_id, account_id, disabled,
        )
    )  # fmt: skip


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def insert_session(tx: Tx, merchant_id: str, account_id: uuid.UUID, token_hash: bytes, address: str) -> uuid.UUID:
    """Begin a session; its id."""
    session_id = new_id()
    await tx.execute(
        """
        INSERT INTO staff_sessions (merchant_id, session_id, account_id, token_hash, address, created_at, seen_at)
        VALUES ($1, $2, $3, $4, $5, kassa_now(), kassa_now())
        """,
        merchant_id, session_id, account_id, token_hash, address,
    )  # fmt: skip
    return session_id


async def session_by_hash(reader: Reader, merchant_id: str, token_hash: bytes) -> Session | None:
    """The living session of a token. It counts as a sign of life, written once a minute at most."""
    row = await reader.row(
        f"""
        WITH seen AS (
            UPDATE staff_sessions s SET seen_at = kassa_now()
             WHERE s.merchant_id = $1 AND s.token_hash = $2 AND s.seen_at < kassa_now() - interval '1 minute'
               AND {_LIVES.format(idle="$3", longest="$4")})
        SELECT {_SESSION} FROM staff_sessions s JOIN staff_accounts a USING (merchant_id, account_id)
         WHERE s.merchant_id = $1 AND s.token_hash = $2 AND {_LIVES.format(idle="$3", longest="$4")} AND a.disabled_at IS NULL
        """,
        merchant_id, token_hash, IDLE, LONGEST,
    )  # fmt: skip
    return Session(**dict(row.items())) if row else None


async def sessions_of(reader: Reader, merchant_id: str, account_id: uuid.UUID) -> list[Session]:
    """Where somebody is signed in, newest first."""
    rows = await reader.rows(
        f"""
        SELECT {_SESSION} FROM staff_sessions s JOIN staff_accounts a USING (merchant_id, account_id)
         WHERE s.merchant_id = $1 AND s.account_id = $2 AND {_LIVES.format(idle="$3", longest="$4")}
         ORDER BY s.created_at DESC LIMIT 100
        """,
        merchant_id, account_id, IDLE, LONGEST,
    )  # fmt: skip
    return [Session(**dict(row.items())) for row in rows]


async def end_sessions(
    reader: Reader, merchant_id: str, account_id: uuid.UUID, *, only: uuid.UUID | None = None, but: uuid.UUID | None = None
) -> int:
    """End the sessions of an account: all of them, `only` one, or all `but` one; returns how many lived."""
    return await reader.execute(
        """
        UPDATE staff_sessions SET ended_at = kassa_now()
         WHERE merchant_id = $1 AND account_id = $2 AND ended_at IS NULL
           AND ($3::uuid IS NULL OR session_id = $3) AND ($4::uuid IS NULL OR session_id <> $4)
        """,
        merchant_id, account_id, only, but,
    )  # fmt: skip


# ── tries ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def count_try(db: Database, merchant_id: str, kind: str, key: bytes) -> tuple[int, int]:
    """Count a try; how many that makes in its time, and in how many seconds that time is over."""
    row = await db.row(
        """
        WITH counted AS (
            INSERT INTO staff_tries AS t (merchant_id, kind, key, tries, since) VALUES ($1, $2, $3, 1, kassa_now())
            ON CONFLICT (merchant_id, kind, key) DO UPDATE
               SET tries = CASE WHEN excluded.since - t.since >= $4::interval THEN 1 ELSE t.tries + 1 END,
                   since = CASE WHEN excluded.since - t.since >= $4::interval THEN excluded.since ELSE t.since END
            RETURNING tries, since
        )
        SELECT tries, ceil(extract(epoch FROM least($4::interval, since + $4::interval - kassa_now())))::int AS wait_s FROM counted
        """,
        merchant_id, kind, key, SPAN,
    )  # fmt: skip
    assert row is not None
    return row["tries"], row["wait_s"]


async def forget_tries(reader: Reader, merchant_id: str, kind: str, key: bytes) -> None:
    """Whoever knew the password has not been guessing."""
    await reader.execute("DELETE FROM staff_tries WHERE merchant_id = $1 AND kind = $2 AND key = $3", merchant_id, kind, key)


async def take_back_try(reader: Reader, merchant_id: str, kind: str, key: bytes) -> None:
    """A try that was none: it is not counted."""
    await reader.execute(
        """
        WITH last AS (DELETE FROM staff_tries WHERE merchant_id = $1 AND kind = $2 AND key = $3 AND tries = 1)
        UPDATE staff_tries SET tries = tries - 1 WHERE merchant_id = $1 AND kind = $2 AND key = $3 AND tries > 1
        """,
        merchant_id, kind, key,
    )  # fmt: skip


async def sweep(reader: Reader, limit: int = 1000) -> int:
    """Forget tries whose time is over and sessions of more than 90 days ago, at most `limit` of each; returns how many."""
    tries = await reader.rows(
        "SELECT merchant_id, kind, key FROM staff_tries WHERE since < kassa_now() - $1::interval ORDER BY since LIMIT $2",
        SPAN,
        limit,
    )
    sessions = await reader.rows(
        """
        SELECT merchant_id, session_id FROM staff_sessions
         WHERE created_at < kassa_now() - $1::interval ORDER BY created_at LIMIT $2
        """,
        timedelta(days=90), limit,
    )  # fmt: skip
    swept = 0
    for merchant_id, old in by_merchant(tries).items():
        swept += await reader.execute(
            """
            DELETE FROM staff_tries t USING (
                SELECT o.kind, o.key FROM unnest($2::text[], $3::bytea[]) AS named (kind, key)
                  JOIN staff_tries o ON o.merchant_id = $1 AND o.kind = named.kind AND o.key = named.key
                 WHERE o.since < kassa_now() - $4::interval FOR UPDATE OF o SKIP LOCKED) old
             WHERE t.merchant_id = $1 AND (t.kind, t.key) = (old.kind, old.key)
            """,
            merchant_id, *placeholders([(row["kind"], row["key"]) for row in old], 2), SPAN,
        )  # fmt: skip
    for merchant_id, old in by_merchant(sessions).items():
        swept += await reader.execute(
            """
            DELETE FROM staff_sessions s USING (
                SELECT session_id FROM staff_sessions WHERE merchant_id = $1 AND session_id = ANY ($2) FOR UPDATE SKIP LOCKED) old
             WHERE s.merchant_id = $1 AND s.session_id = old.session_id
            """,
            merchant_id, [row["session_id"] for row in old],
        )  # fmt: skip
    return swept


def _account(row: Row) -> Account:
    return Account(**{name: row[name] for name in Account.__slots__})
