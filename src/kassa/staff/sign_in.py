"""Sign in. A try is counted before it is judged, in the database, so that neither a restart nor many at once give more of them.

An unknown name, a wrong password and a disabled account look the same and take as long.
"""

from __future__ import annotations

import hashlib
import secrets

from kassa import audit
from kassa.audit import By, Hand
from kassa.kit.context import Context
from kassa.kit.database import Reader
from kassa.staff import store
from kassa.staff.model import ACCOUNT_TRIES, ADDRESS_TRIES, Account, Session, TooManyTries, WrongSignIn, spelling
from kassa.staff.passwords import is_password

_LONGEST = 300


async def sign_in(
    ctx: Context, merchant_id: str, typed: str, password: str, address: str, *, instead: str | None = None
) -> tuple[Account, str]:
    """Begin a session for whoever knows the password; the account and the session's token, which nobody can read again.

    `typed` is a name or an e-mail address; `instead` the token of a session that this browser had, which ends. Raises `WrongSignIn`
    and, whoever it is, `TooManyTries`.
    """
    said = typed.strip().lower()[:_LONGEST]
    found = await store.account_called(ctx.db, merchant_id, said)
    who = ctx.keys.fingerprint(f"staff:account:{found[0].account_id if found else said}".encode())
    where = ctx.keys.fingerprint(f"staff:address:{address}".encode())
    await _count(ctx, merchant_id, "address", where, ADDRESS_TRIES)
    await _count(ctx, merchant_id, "account", who, ACCOUNT_TRIES)
    right = await is_password(found[1] if found else None, spelling(password[:_LONGEST]))
    if found is None or not right or found[0].disabled_at is not None:
        raise WrongSignIn
    account, token = found[0], secrets.token_urlsafe(32)
    async with ctx.db.transaction("staff.sign_in") as tx:
        await store.forget_tries(tx, merchant_id, "account", who)
        await store.take_back_try(tx, merchant_id, "address", where)  # many people may sit behind one address
        before = await store.session_by_hash(tx, merchant_id, _hash(instead)) if instead else None
        if before is not None:
            await store.end_sessions(tx, merchant_id, before.account_id, only=before.session_id)
        session_id = await store.insert_session(tx, merchant_id, account.account_id, _hash(token), address[:64])
        hand = Hand(ctx.keys, By(account.role, account.name))
        audit.note(tx, hand, merchant_id, "staff.signin", f"staff:{account.account_id}", session_id=str(session_id))
    return account, token


async def find_session(reader: Reader, merchant_id: str, token: str) -> Session | None:
    """The living session of a token, or None: ended, idle for 30 minutes, 12 hours old, its account disabled, or no such."""
    return await store.session_by_hash(reader, merchant_id, _hash(token))


async def _count(ctx: Context, merchant_id: str, kind: str, key: bytes, most: int) -> None:
    tries, wait_s = await store.count_try(ctx.db, merchant_id, kind, key)
    if tries > most:
        raise TooManyTries(wait_s)


def _hash(token: str) -> bytes:
    """A token has 256 random bits: its plain hash cannot be turned back."""
    return hashlib.sha256(token.encode()).digest()
