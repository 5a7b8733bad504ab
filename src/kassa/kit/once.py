"""Idempotency: one key, one effect, one answer.

A key is claimed in the transaction of its first effect and answered in the transaction that decides the answer.
Same key and same payload give the first answer again, byte for byte; another payload is refused; a key that is
still being worked on makes the caller wait, then come back. Stored answers are encrypted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Reader, Row, Tx, placeholders
from kassa.kit.errors import Conflict, Invalid, Refused
from kassa.kit.secrets import Keys
from kassa.kit.writes import Write

WAIT_S = 1.0
"""Seconds that a repeat waits for the first one before it is sent away."""
DEAD_AFTER_S = 15.0
"""Seconds after which a key that was claimed and never answered has lost its owner: a repeat may take its work over."""

_VISIBLE = re.compile(r"[\x21-\x7e]{8,255}")
_QUOTED = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{8,255})"')


class InvalidKey(Invalid):
    """Idempotency-Key must be 8 to 255 visible ASCII characters."""

    code = "invalid_idempotency_key"
    advice = "Send a key of 8 to 255 visible ASCII characters, such as a UUID."


class KeyReused(Refused):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"
    advice = "Use another key for another request; under one key always send the same bytes."


class Claimed(Exception):
    """This key was claimed before; `found` says what is known of it."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.state)
        self.found = found


class InProgress(Conflict):
    """The first request with this Idempotency-Key is still running."""

    code = "in_progress"
    advice = "Send the same again after `Retry-After` seconds: the answer to the first one is yours, too."


@dataclass(frozen=True, slots=True)
class Key:
    """A key in its scope. `payload` is a keyed hash of what was asked, without any security code.

    `before` is the same key as the secret that is being replaced would have hashed it: a rotation forgets no key.
    """

    merchant_id: str
    caller: str
    operation: str
    key: str
    payload: bytes
    keep: timedelta
    before: Key | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a key: `state` is `running`, `accepted` (promised, not final) or `done`; `age_s` its age in seconds."""

    state: str
    subject: str | None
    status: int | None = None
    body: bytes | None = None
    age_s: float = 0.0


def read_header(value: str | None) -> str | None:
    """The key of an `Idempotency-Key` header, bare or quoted; None when absent. Raises `InvalidKey`."""
    if value is None:
        return None
    if quoted := _QUOTED.fullmatch(value):
        return quoted[1]
    if _VISIBLE.fullmatch(value) and not (value.startswith('"') and value.endswith('"')):
        return value
    raise InvalidKey


_CLAIM = Write(
    "key_claimed",
    """
    key_claimed AS (
        INSERT INTO idempotency_keys AS k
            (merchant_id, caller, operation, key, payload, subject, state, status, answer, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $10, $8, $9, kassa_now(), kassa_now() + $7)
        ON CONFLICT (merchant_id, caller, operation, key) DO UPDATE
           SET payload = excluded.payload, subject = excluded.subject, state = excluded.state, status = excluded.status,
               answer = excluded.answer, created_at = excluded.created_at, expires_at = excluded.expires_at
         WHERE k.expires_at <= excluded.created_at
        RETURNING 1)
    """,
    expects="1",
    unmet=InProgress,
    patience_s=WAIT_S,
)
_ANSWER = Write(
    "key_answered",
    """
    key_answered AS (
        UPDATE idempotency_keys SET state = 'done', status = $5, answer = $6
         WHERE merchant_id = $1 AND caller = $2 AND operation = $3 AND key = $4 AND state <> 'done'
        RETURNING 1)
    """,
)


async def claim(tx: Tx, keys: Keys, key: Key, subject: str | None = None) -> Found | None:
    """Claim `key` for `subject`; None when it is ours now, else what the first caller left.

    Waits up to one second for a claim that another transaction has not committed yet, then raises `InProgress`.
    Raises `KeyReused` when the first payload was another one.
    """
    if key.before is not None and (earlier := await find(tx, keys, key)) is not None:
        return earlier
    try:
        async with asyncio.timeout(WAIT_S):
            mine = await tx.value(_CLAIM.selecting("true"), *_claimed(key, subject))
    except (TimeoutError, asyncpg.QueryCanceledError):
        raise InProgress from None
    return None if mine else await find(tx, keys, key)


async def claim_later(tx: Tx, keys: Keys, key: Key, subject: str, answer: tuple[int, bytes] | None = None) -> None:
    """Claim `key` together with what follows; `InProgress` is raised then if anybody has claimed it, and `find` says who.

    A claim that another transaction has not committed yet is waited for, up to one second. `answer` is the final one, status and
    body, where it is known already.
    """
    if key.before is not None and await find(tx, keys, key.before) is not None:
        raise InProgress
    status, body = answer or (None, None)
    await tx.later(_CLAIM, *_claimed(key, subject, status, None if body is None else keys.seal(body, key.key.encode())))


def _claimed(key: Key, subject: str | None, status: int | None = None, answer: bytes | None = None) -> tuple[Any, ...]:
    state = "running" if answer is None else "done"
    return key.merchant_id, key.caller, key.operation, key.key, key.payload, subject, key.keep, status, answer, state


async def find(reader: Reader, keys: Keys, key: Key) -> Found | None:
    """What is known of `key`, or None. Raises `KeyReused` when it belongs to another payload."""
    row = await reader.row(
        """
        SELECT payload, state, subject, status, answer, extract(epoch FROM kassa_now() - created_at)::float8 AS age_s
          FROM idempotency_keys
         WHERE merchant_id = $1 AND caller = $2 AND operation = $3 AND key = $4 AND expires_at > kassa_now()
        """,
        key.merchant_id, key.caller, key.operation, key.key,
    )  # fmt: skip
    if row is None:
        return None if key.before is None else await find(reader, keys, key.before)
    return _found(row, keys, key)


async def accept(tx: Tx, key: Key) -> None:
    """Note that the caller was promised an answer later: repeats are told the same instead of waiting."""
    await tx.execute(
        """
        UPDATE idempotency_keys SET state = 'accepted'
         WHERE merchant_id = $1 AND caller = $2 AND operation = $3 AND key = $4 AND state = 'running'
        """,
        key.merchant_id, key.caller, key.operation, key.key,
    )  # fmt: skip


async def answer(tx: Tx, keys: Keys, key: Key, status: int, body: bytes) -> None:
    """Keep the final answer. The first one stays: called twice, the second changes nothing."""
    sealed = keys.seal(body, key.key.encode())
    await tx.later(_ANSWER, key.merchant_id, key.caller, key.operation, key.key, status, sealed)


async def concern(tx: Tx, key: Key, subject: str) -> None:
    """Say what a claim is about, once its effect has a name."""
    await tx.execute(
        "UPDATE idempotency_keys SET subject = $5 WHERE merchant_id = $1 AND caller = $2 AND operation = $3 AND key = $4",
        key.merchant_id, key.caller, key.operation, key.key, subject,
    )  # fmt: skip


async def release(tx: Tx, key: Key, subject: str) -> None:
    """Forget a claim whose work came to nothing, so that a repeat is judged anew. A claim of another subject stays."""
    await tx.execute(
        """
        DELETE FROM idempotency_keys
         WHERE merchant_id = $1 AND caller = $2 AND operation = $3 AND key = $4 AND subject = $5 AND state = 'running'
        """,
        key.merchant_id, key.caller, key.operation, key.key, subject,
    )  # fmt: skip


FORGOTTEN = 410
"""The status of an answer that was erased. The key stays, so that a repeat is no second purchase."""
_ERASED = b'\n{"code":"forgotten","message":"This answer was erased on request."}'
"""Begins with a line break, because some surfaces keep a line of their own before the body; JSON does not mind."""


async def forget(tx: Tx, keys: Keys, merchant_id: str, callers: Sequence[str], subjects: Sequence[str]) -> int:
    """Erase the stored answers to these callers, and those about these subjects, whoever asked; returns how many.

    Their keys stay until their time is over.
    """
    rows = await tx.rows(
        """
        SELECT caller, operation, key FROM idempotency_keys
         WHERE merchant_id = $1 AND (caller = ANY ($2) OR subject = ANY ($3)) AND state = 'done' AND status <> $4
         ORDER BY caller, operation, key FOR UPDATE
        """,
        merchant_id, list(callers), list(subjects), FORGOTTEN,
    )  # fmt: skip
    sealed = [(row["caller"], row["operation"], row["key"], keys.seal(_ERASED, row["key"].encode())) for row in rows]
    return await tx.execute(
        """
        UPDATE idempotency_keys k SET status = $2, answer = e.answer
          FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[]) AS e (caller, operation, key, answer)
         WHERE k.merchant_id = $1 AND (k.caller, k.operation, k.key) = (e.caller, e.operation, e.key)
        """,
        merchant_id, FORGOTTEN, *placeholders(sealed, 4),
    )  # fmt: skip


async def sweep(reader: Reader, limit: int = 1000) -> int:
    """Forget keys whose time is over, at most `limit` at once; returns how many."""
    rows = await reader.rows(
        """
        SELECT merchant_id, caller, operation, key FROM idempotency_keys
         WHERE expires_at < kassa_now() ORDER BY expires_at LIMIT $1
        """,
        limit,
    )
    swept = 0
    for merchant_id, old in by_merchant(rows).items():
        swept += await reader.execute(
            """
            DELETE FROM idempotency_keys k USING unnest($2::text[], $3::text[], $4::text[]) AS old (caller, operation, key)
             WHERE k.merchant_id = $1 AND (k.caller, k.operation, k.key) = (old.caller, old.operation, old.key)
               AND k.expires_at < kassa_now()
            """,
            merchant_id, *placeholders([(row["caller"], row["operation"], row["key"]) for row in old], 3),
        )  # fmt: skip
    return swept


def _found(row: Row, keys: Keys, key: Key) -> Found:
    if bytes(row["payload"]) not in {key.payload, key.before.payload if key.before else key.payload}:
        raise KeyReused
    if row["state"] != "done":
        return Found(row["state"], row["subject"], age_s=row["age_s"])
    body = keys.unseal(row["answer"], key.key.encode())
    if body is None:
        # The secret was changed without KASSA_SECRET_OLD: the effect stands, its first answer cannot be read any more.
        raise InProgress("The first answer to this Idempotency-Key can no longer be read.")
    return Found("done", row["subject"], row["status"], body)
