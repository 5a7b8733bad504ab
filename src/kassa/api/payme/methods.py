"""Payme's methods: what each takes, and the verb that it is. The verbs judge the business, and what they return is the `result`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import IO, Final

from kassa.api.payme.reading import Asked, Params, fiscal
from kassa.api.payme.verbs import Result, Verbs
from kassa.collect.payme import Cashbox
from kassa.kit.context import Context

Method = Callable[[Verbs, Context, Cashbox, Asked], Awaitable[Result | IO[bytes]]]
"""Reads the parameters (raises `Malformed`) and calls the verb (raises `PaymeRefusal`); gives the result."""


async def check_perform(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """Say whether this may be paid. Changes nothing."""
    params = Params(asked)
    return await verbs.check_perform(ctx, box, params.amount(), params.account())


async def create(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """Hold the order for one attempt to pay it."""
    params = Params(asked)
    payme_id, time_ms, amount = params.payme_id(), params.time_ms(), params.amount()
    return await verbs.create(ctx, box, payme_id, time_ms, amount, params.account())


async def perform(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """The money is there."""
    return await verbs.perform(ctx, box, Params(asked).payme_id())


async def cancel(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """The attempt has failed, or the money goes back."""
    params = Params(asked)
    return await verbs.cancel(ctx, box, params.payme_id(), params.reason())


async def check(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """Say how this attempt is."""
    return await verbs.check(ctx, box, Params(asked).payme_id())


async def statement(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> IO[bytes]:
    """List all attempts of a period. There may be many: the verb writes the JSON itself, into a file."""
    params = Params(asked)
    return await verbs.statement(ctx, box, params.bound_ms("from"), params.bound_ms("to"))


async def set_fiscal_data(verbs: Verbs, ctx: Context, box: Cashbox, asked: Asked) -> Result:
    """Keep what the tax authority said."""
    params = fiscal(asked)
    payme_id, kind = params.payme_id(), params.fiscal_kind()
    return await verbs.set_fiscal_data(ctx, box, payme_id, kind, params.fiscal_data())


METHODS: Final[dict[str, Method]] = {
    "CheckPerformTransaction": check_perform,
    "CreateTransaction": create,
    "PerformTransaction": perform,
    "CancelTransaction": cancel,
    "CheckTransaction": check,
    "GetStatement": statement,
    "SetFiscalData": set_fiscal_data,
}
