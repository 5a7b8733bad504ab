"""Send due notices to the notification service (orders contract, section 7).

Any 2xx is delivered. Everything else is tried again with back-off for three days under the same key; meanwhile no later
notice of that order is sent. Then it is dead and the next one has its turn. No purchase ever waits for this.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from kassa import orders
from kassa.kit.context import Context
from kassa.kit.neighbour import BreakerOpen, Neighbour, NoAnswer, NotSent
from kassa.notices import store
from kassa.notices.model import Notice

CALL_S = 5.0
_AT_ONCE = 16
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Notifier:
    """The port that bootstrap fills: the notification service, or nobody."""

    neighbour: Neighbour | None = None


async def send_due(ctx: Context) -> int:
    """Send the first waiting notice of each order that has one due; returns how many were tried."""
    neighbour = ctx.port(Notifier).neighbour
    if neighbour is None:
        return 0
    claimed = [notice for notice in await store.due(ctx.db, _AT_ONCE) if await store.claim(ctx.db, notice, CALL_S * 2)]
    await asyncio.gather(*(_send(ctx, neighbour, notice) for notice in claimed))
    return len(claimed)


async def _send(ctx: Context, neighbour: Neighbour, notice: Notice) -> None:
    order = await orders.find(ctx.db, notice.merchant_id, notice.order_id)
    if order is None or order.buyer_id is None:
        await store.note(ctx.db, notice, "sent", "a guest has no account to be told at", None)
        return
    user_id = int(order.buyer_id) if _NUMBER.fullmatch(order.buyer_id) else order.buyer_id
    body = {"user_id": user_id, "order_id": str(notice.order_id), "type": notice.type}
    try:
        answer = await neighbour.call("POST", "/api/notifications/send", act="notify", timeout_s=CALL_S, body=body, key=notice.key)
    except (NotSent, BreakerOpen):
        await _again(ctx, notice, "not reachable")
    except NoAnswer:
        await _again(ctx, notice, "no answer")
    else:
        if answer.ok:
            await store.note(ctx.db, notice, "sent", None, None)
        else:
            await _again(ctx, notice, f"answered {answer.status}")


async def _again(ctx: Context, notice: Notice, why: str) -> None:
    wait = notice.wait_s
    await store.note(ctx.db, notice, "pending" if wait is not None else "dead", why, wait)
