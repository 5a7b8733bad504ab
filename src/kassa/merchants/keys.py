"""Make, list and revoke API keys. A secret is shown once, by the act that makes it; stored is its hash."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable

from kassa.kit.database import Reader, Tx
from kassa.kit.ids import new_id
from kassa.merchants import store
from kassa.merchants.model import SCOPES, ApiKey, KeyMissing, hash_of, shown_prefix


async def issue_key(
    tx: Tx, merchant_id: str, name: str, scopes: Iterable[str], *, secret: str | None = None, key_id: uuid.UUID | None = None
) -> tuple[ApiKey, str] | None:
    """Make a key for a merchant; returns it and its secret, `sk_` and 43 URL-safe characters.

    `key_id` is its id where the caller must know it before; `secret` is for demo data only. None when that very secret is in use
    already; called twice without one, it makes two keys.
    """
    chosen = secret or f"sk_{secrets.token_urlsafe(32)}"
    wanted = set(scopes)
    key = await store.insert_key(
        tx,
        merchant_id,
        key_id or new_id(),
        name,
        shown_prefix(chosen),
        [scope for scope in SCOPES if scope in wanted],
        hash_of(chosen),
    )
    return None if key is None else (key, chosen)


async def find_keys(reader: Reader, merchant_id: str) -> list[ApiKey]:
    """All keys of a merchant, revoked ones too, oldest first; never a secret."""
    return await store.keys_of(reader, merchant_id)


async def revoke_key(tx: Tx, merchant_id: str, key_id: uuid.UUID) -> bool:
    """Refuse a key from the next request on; False, and nothing changes, for one that is revoked already. Raises `KeyMissing`."""
    found = await store.revoke(tx, merchant_id, key_id)
    if found is None:
        raise KeyMissing
    return found
