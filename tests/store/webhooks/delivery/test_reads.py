"""What a delivery costs the database does not depend on how much was delivered before."""

from __future__ import annotations

from tests.store.webhooks.delivery.town import MERCHANT, Town, payment, settled

from kassa.kit.context import Context
from kassa.webhooks.delivery import Deliverer

_HISTORY, _NEW = 600, 160
_MOST = 40
"""Entries of indexes that are read for a delivery, from its claim to its end."""


async def _read(world: Context) -> int:
    """Entries of its indexes that were read so far. `world` has one connection, which tells what it has counted."""
    await world.db.value("SELECT pg_stat_force_next_flush()::text")
    found: int = await world.db.value("SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname = 'deliveries'")
    return found


async def _deliver(town: Town, world: Context, many: int, merchant_id: str = MERCHANT) -> None:
    """Nobody but `world` asks for deliveries, so that nothing else is counted."""
    await town.tell(*[payment() for _ in range(many)], merchant_id=merchant_id)
    ids = [each["event_id"] for each in await world.db.rows("SELECT event_id FROM deliveries WHERE status = 'pending'")]
    assert len(ids) == many
    for at in range(0, many, 40):
        await world.port(Deliverer).take(world, merchant_id, ids[at : at + 40])
    await settled(world.port(Deliverer))


async def test_a_claim_reads_what_it_names_and_no_history(town: Town) -> None:
    """The planner has looked at the tables while they were small, as it does a minute after the first events of a merchant."""
    world, others = await town.another(size=1), [f"other-{n}" for n in range(15)]
    await town.db.execute("INSERT INTO merchants (merchant_id, name) SELECT m, m FROM unnest($1::text[]) m", others)
    for merchant_id in (MERCHANT, *others):
        await town.endpoint(merchant_id=merchant_id)
        await _deliver(town, world, 30, merchant_id)
    await town.db.execute("ANALYZE deliveries, endpoints")
    await _deliver(town, world, _HISTORY)
    reads = []
    for _ in range(
        3
    ):  # whoever looks at the tables meanwhile, such as autovacuum, keeps entries that are dead from being passed over
        before = await _read(world)
        await _deliver(town, world, _NEW)
        reads.append(await _read(world) - before)
    assert _NEW < min(reads) < _MOST * _NEW, reads
    assert {each["status"] for each in await town.deliveries()} == {"success"}
