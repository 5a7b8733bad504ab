"""What Payme asks without changing anything: may this be paid, how is that attempt, what was there in a period."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import orjson

from kassa import payments
from kassa.collect.payme.detail import detail_of
from kassa.collect.payme.model import (
    NO_SUCH_ORDER,
    NO_SUCH_RECEIPT,
    NO_SUCH_TRANSACTION,
    PaymeRefusal,
    account_id,
    check_amount,
    check_payable,
)
from kassa.kit import jsontext
from kassa.kit.context import Context
from kassa.kit.database import Reader
from kassa.payments import Payment, payme
from kassa.payments.payme.model import CREATED, Cashbox, PaymeRules, Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS = 2000
_IN_MEMORY = 256 * 1024
"""Bytes of a statement that are kept in memory; a longer one goes through a file."""
_EARLIEST = -(2**63)
_LATEST = 2**63 - 1


async def cashbox_of(ctx: Context, merchant_id: str) -> Cashbox | None:
    """The cashbox of a merchant, or None. Raises `KeyLost`."""
    return await payme.cashbox_of(ctx, ctx.db, merchant_id)


async def check_perform(ctx: Context, box: Cashbox, amount: int, account: Mapping[str, Any]) -> dict[str, Any]:
    """CheckPerformTransaction (5.1). Changes nothing. Raises `PaymeRefusal`."""
    rules = ctx.port(PaymeRules)
    payment = await payment_for(ctx.db, box, account)
    check_amount(payment, amount)
    check_payable(payment, box.account_field)
    if payment.held_by is not None:
        attempt = await payme.live(ctx.db, payment)
        if attempt is not None and attempt.state == CREATED and not is_over(attempt, payment):
            raise PaymeRefusal(rules.busy_code, box.account_field)
    return {"allow": True, **({"detail": await detail_of(ctx, payment)} if box.fiscal else {})}


async def check(ctx: Context, box: Cashbox, payme_id: str) -> dict[str, Any]:
    """CheckTransaction (5.5). Changes nothing. Raises `PaymeRefusal` -31003."""
    found = await payme.find(ctx.db, box.merchant_id, payme_id)
    if found is None:
        raise PaymeRefusal(NO_SUCH_TRANSACTION)
    return found.checked()


async def statement(ctx: Context, box: Cashbox, from_ms: int, to_ms: int) -> IO[bytes]:
    """GetStatement (5.6): the `result` as JSON, read from one moment of the database and in parts, so that memory stays flat.

    The file is at its beginning; whoever gets it closes it.
    """
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - it goes to the caller
    spool.write(b'{"transactions":[')
    first, after = True, (min(from_ms, _LATEST), _EARLIEST, "")
    async with ctx.db.snapshot("payme.statement") as tx:
        while rows := await payme.statement(tx, box.merchant_id, box.cashbox_id, min(to_ms, _LATEST), after, _ROWS):
            spool.write((b"" if first else b",") + b",".join(orjson.dumps(row.stated()) for row in rows))
            first, after = False, (rows[-1].time_ms, rows[-1].create_ms, rows[-1].payme_id)
    spool.write(b"]}")
    spool.seek(0)
    return spool


async def set_fiscal_data(ctx: Context, box: Cashbox, payme_id: str, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """SetFiscalData (9.3): keep a receipt of the tax authority verbatim. A repeated one replaces itself. Raises -32001."""
    async with ctx.db.transaction("payme.receipt") as tx:
        if await payme.find(tx, box.merchant_id, payme_id) is None:
            raise PaymeRefusal(NO_SUCH_RECEIPT)
        await payme.write_receipt(tx, box.merchant_id, payme_id, kind, jsontext.write(dict(data)))
    return {"success": True}


async def payment_for(reader: Reader, box: Cashbox, account: Mapping[str, Any]) -> Payment:
    """The payment that an account stands for. Raises `PaymeRefusal` -31050."""
    found = await payme.payment_for(reader, box.merchant_id, account_id(account, box.account_field))
    if found is None:
        raise PaymeRefusal(NO_SUCH_ORDER, box.account_field)
    return found


def is_over(attempt: Transaction, payment: payments.Payment) -> bool:
    """Whether an attempt in state 1 has run out of time (4.1), at the moment the payment was read."""
    return now_ms(payment) > attempt.deadline_ms


def now_ms(payment: payments.Payment) -> int:
    """The moment at which a payment was read, in whole milliseconds of the one clock."""
    return (payment.read_at - _EPOCH) // timedelta(milliseconds=1)
