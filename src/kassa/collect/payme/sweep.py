"""End Payme's attempts whose time is over, so that an abandoned payment does not hold its order for ever (Merchant API, 4.1)."""

from __future__ import annotations

import logging

from kassa.collect.payme.acts import expire
from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.payments import payme

log = logging.getLogger("kassa.payme")
_AT_ONCE = 100


async def sweep_attempts(ctx: Context) -> int:
    """End Payme's attempts whose time is over, at most 100 a turn; returns how many were ended now."""
    ended = 0
    for merchant_id, payme_id in await payme.expired(ctx.db, _AT_ONCE):
        try:
            ended += await expire(ctx, merchant_id, payme_id)
        except KassaError as error:
            log.warning("an attempt of Payme could not be ended: %s", error.code)
    return ended
