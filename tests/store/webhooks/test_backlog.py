"""What an operator sees of what merchants have not been told yet."""

from __future__ import annotations

from tests.factories import Shop

from kassa.events import Event, record
from kassa.events.feed import give_places
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.webhooks import read_backlog


async def tell(shop: Shop, subject: str) -> None:
    async with shop.db.transaction("tell") as tx:
        record(tx, Event(shop.merchant_id, subject, "payment.paid", {}))


async def age(shop: Shop, seconds: int) -> None:
    """Let everything of this merchant have happened so long ago."""
    await shop.db.execute(
        "UPDATE events SET occurred_at = occurred_at - make_interval(secs => $2) WHERE merchant_id = $1", shop.merchant_id, seconds
    )


async def test_the_oldest_event_that_the_broker_has_not_confirmed_says_how_far_behind_it_is(ctx: Context, shop: Shop) -> None:
    nothing = await read_backlog(ctx.db, broker=True)
    await tell(shop, "payment:1")
    await age(shop, 7200)
    waiting = (await read_backlog(ctx.db, broker=True)).waiting_s
    assert max(7199, nothing.waiting_s) <= waiting < 7300
    await give_places(ctx, shop.merchant_id, 10)
    assert 7199 <= (await read_backlog(ctx.db, broker=True)).waiting_s < 7300, "a place is not yet a confirmation"
    await ctx.db.execute("UPDATE feeds SET relayed = last WHERE merchant_id = $1", shop.merchant_id)
    assert (await read_backlog(ctx.db, broker=True)).waiting_s < 7199
    assert (await read_backlog(ctx.db, broker=False)).waiting_s == 0


async def test_deliveries_are_counted_by_state_and_the_latest_one_says_how_late_they_are(ctx: Context, shop: Shop) -> None:
    before = await read_backlog(ctx.db, broker=False)
    endpoint = new_id()
    await ctx.db.execute(
        """
        INSERT INTO endpoints (merchant_id, endpoint_id, url, events, format, ordered, secret, good_at, created_at, updated_at)
        VALUES ($1, $2, 'https://shop.example/hook', '{*}', 'event', true, '', now(), now(), now())
        """,
        shop.merchant_id, endpoint,
    )  # fmt: skip
    states = {"pending": 2, "retrying": 1, "blocked": 3, "processing": 1, "failed": 4, "success": 1}
    for status, number in states.items():
        for _ in range(number):
            await ctx.db.execute(
                """
                INSERT INTO deliveries (merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, sequence, status,
                                        next_at, lease_until, created_at, ended_at)
                VALUES ($1, $2, $3, $4, 'payment.paid', 'payment:1', 1, $5::text,
                        CASE WHEN $5 IN ('pending', 'retrying') THEN kassa_now() - interval '1 day' END,
                        CASE WHEN $5 = 'processing' THEN now() END, kassa_now(),
                        CASE WHEN $5 IN ('success', 'failed') THEN kassa_now() END)
                """,
                shop.merchant_id, endpoint, new_id(), new_id(), status,
            )  # fmt: skip
    after = await read_backlog(ctx.db, broker=False)
    assert 86_399 <= after.late_s < 86_500
    assert after.dead - before.dead == 4
    assert {status: after.open[status] - before.open[status] for status in after.open} == {
        status: states[status] for status in ("pending", "processing", "retrying", "blocked")
    }
