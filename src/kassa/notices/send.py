"""Send due notices (orders contract, section 7): to the notification service, or as e-mails.

An attempt runs under a lease, so no two send a notice at the same time, and the receiver's yes is noted right after it was given.
A process that dies in between, or sleeps past its lease, is why a notice may be sent twice; it then carries the same key
(`Idempotency-Key`, `Message-ID`). Everything else than a yes is tried again with back-off for three days; meanwhile no later notice
of that order is sent. Then it is dead, an operator finds it among the cases, and the next one has its turn. No purchase ever waits
for this.
"""

from __future__ import annotations

import asyncio
import logging

from kassa import cases
from kassa.kit.context import Context, concerns
from kassa.kit.errors import KassaError
from kassa.notices import store
from kassa.notices.model import Contact, Notice, Outcome, later
from kassa.notices.ways.way import Notifier, Way

log = logging.getLogger("kassa.notices")
KEPT_DAYS = 90
_AT_ONCE = 16


async def send_due(ctx: Context) -> int:
    """Send the first waiting notice of each order that has one due; returns how many were tried."""
    way = ctx.port(Notifier).way
    if way is None:
        return 0
    tried = await asyncio.gather(*(_send(ctx, way, notice) for notice in await store.due(ctx.db, _AT_ONCE)))
    return sum(tried)


async def sweep_sent(ctx: Context) -> int:
    """Delete notices that were sent more than 90 days ago, a thousand at once; returns how many."""
    return await store.delete_sent(ctx.db, KEPT_DAYS, 1000)


async def _send(ctx: Context, way: Way, notice: Notice) -> bool:
    concerns(merchant_id=notice.merchant_id, order_id=notice.order_id, notice_id=notice.notice_id)
    contact = await store.claim(ctx.db, ctx.keys, notice, 2 * way.limit_s)
    if contact is None:
        return False
    await _note(ctx, notice, await _told(ctx, way, notice, contact))
    return True


async def _told(ctx: Context, way: Way, notice: Notice, contact: Contact) -> Outcome:
    try:
        async with asyncio.timeout(way.limit_s):
            return await way.tell(ctx, notice, contact)
    except TimeoutError:
        return later("no answer")
    except KassaError as error:
        return later(error.code)
    except Exception as error:  # noqa: BLE001 - one message that cannot be made must not hold up all others
        log.warning("notice %s: %s", notice.notice_id, type(error).__name__)
        return later(type(error).__name__)


async def _note(ctx: Context, notice: Notice, outcome: Outcome) -> None:
    if outcome.kind == "sent":
        await store.note(ctx.db, notice, "sent", outcome.why, None)
    elif outcome.kind == "later" and (wait := notice.wait_s) is not None:
        await store.note(ctx.db, notice, "pending", outcome.why, wait)
    else:
        await _bury(ctx, notice, outcome)


async def _bury(ctx: Context, notice: Notice, outcome: Outcome) -> None:
    """Nobody will try it again, so a person is told."""
    async with ctx.db.transaction("notices.dead") as tx:
        if await store.note(tx, notice, "dead", outcome.why, None):
            subject = f"order:{notice.order_id}"
            await cases.open_case(
                tx, notice.merchant_id, "notice_not_sent", subject, act=str(notice.event_id),
                last_answer=f"{notice.event_type}: {outcome.why}",
            )  # fmt: skip
