"""For which merchant a request is, and what it may do there (payments contract, section 2)."""

from __future__ import annotations

from kassa import merchants
from kassa.api.call import Call, headers
from kassa.audit import By, Hand
from kassa.kit.context import concerns
from kassa.merchants.model import Caller, Unauthorized


async def caller_for(call: Call, scope: str) -> Caller:
    """The caller, who must have `scope`. Raises `Unauthorized` and its kin (401, 403), `InsufficientScope` (403)."""
    caller = await named(call)
    if caller is None:
        raise Unauthorized
    caller.needs(scope)
    return caller


async def caller_or_public(call: Call, scope: str) -> Caller | None:
    """The same for what is public behind a gateway; None for a request without credentials there."""
    caller = await named(call)
    if caller is not None:
        caller.needs(scope)
    elif not call.trusted:
        raise Unauthorized
    return caller


async def named(call: Call) -> Caller | None:
    """Whom the credentials of a request name; None without any."""
    caller = await merchants.identify(
        call.ctx, api_key=_one(call, b"x-api-key"), merchant_id=_one(call, b"x-merchant-id"), trusted=call.trusted
    )
    if caller is not None:
        concerns(merchant_id=caller.merchant.merchant_id)
        merchants.mark_used(call.ctx, caller)
    return caller


def by_of(caller: Caller) -> By:
    """Who it is in the audit log: the key that was shown, or the gateway that named the merchant."""
    return By("gateway", caller.merchant.merchant_id) if caller.key_id is None else By("key", str(caller.key_id))


def hand_of(call: Call, caller: Caller) -> Hand:
    """The caller's hand in an act."""
    return Hand(call.ctx.keys, by_of(caller))


def _one(call: Call, name: bytes) -> str | None:
    """A header that may be repeated with one and the same value only."""
    given = set(headers(call.scope, name))
    if len(given) > 1:
        raise Unauthorized
    return given.pop() if given else None
