"""For whom a request acts: the merchant of its API key, or the one that a trusted gateway names (payments contract, section 2).

Keys are looked up anew for every request, so that a revoked one is refused by the next request in every process.
"""

from __future__ import annotations

from kassa.kit.context import Context
from kassa.merchants import store
from kassa.merchants.model import (
    LONGEST_KEY,
    TRUSTED_SCOPES,
    Caller,
    InvalidApiKey,
    MerchantMismatch,
    Unauthorized,
    UnknownMerchant,
    hash_of,
)


async def identify(ctx: Context, *, api_key: str | None, merchant_id: str | None, trusted: bool) -> Caller | None:
    """Who calls; None when the request names nobody.

    A key that is not good is never ignored in favour of the merchant that is named beside it. Raises `InvalidApiKey`,
    `MerchantMismatch`, `UnknownMerchant`, and `Unauthorized` for a merchant's bare name where no gateway is trusted.
    """
    if api_key is not None:
        if not api_key.startswith("sk_") or len(api_key) > LONGEST_KEY:
            raise InvalidApiKey
        caller = await store.caller_by_hash(ctx.db, hash_of(api_key))
        if caller is None:
            raise InvalidApiKey
        if merchant_id is not None and merchant_id != caller.merchant.merchant_id:
            raise MerchantMismatch
        return caller
    if merchant_id is None:
        return None
    if not trusted:
        raise Unauthorized
    merchant = await store.find(ctx.db, merchant_id) if merchant_id.isprintable() else None
    if merchant is None:
        raise UnknownMerchant
    return Caller(merchant, TRUSTED_SCOPES)


def mark_used(ctx: Context, caller: Caller) -> None:
    """Note in the background that a key was used, at most once a minute."""
    if caller.stale and caller.key_id is not None:
        noting = store.note_used(ctx.db, caller.merchant.merchant_id, caller.key_id)
        ctx.background.spawn(noting, name="API key used")
