"""Dead owners, stale owners, what a broker is told, and what becomes old."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.store.webhooks.delivery.town import MERCHANT, PLAN, Answer, Town, payment, settled, until

from kassa import webhooks
from kassa.kit.database import DatabaseAway
from kassa.webhooks.delivery import Deliverer
from kassa.webhooks.delivery import deliverer as inside

LAPSE = "UPDATE deliveries SET lease_until = now() - interval '1 second' WHERE status = 'processing'"


async def stuck(town: Town, *subjects: str) -> asyncio.Event:
    """Deliveries whose server does not answer before the gate opens."""
    gate = asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    await town.tell(*subjects)
    began = await town.deliverer.take_due(town.ctx)
    await until(lambda: len(town.merchants.calls) == began)
    return gate


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_owners_delivery_is_due_again_and_the_lost_attempt_counts(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    gate = await stuck(town, subject)
    lasts = await town.db.value(
        "SELECT lease_until - began_at + (kassa_now() - now()) FROM deliveries"
    )  # leases know no moved clock
    assert timedelta(seconds=9.5) < lasts < timedelta(seconds=10.5), "the time-out, and five seconds"
    assert await town.deliverer.reclaim(town.ctx) == 0, "its lease still lasts"
    await town.db.execute(LAPSE)
    assert await town.deliverer.reclaim(town.ctx) == 1
    found = await town.one(subject)
    assert (found["status"], found["attempts"], found["last_error"]) == ("retrying", 1, "cut")
    [lost] = await town.attempts(found["delivery_id"])
    assert (lost["number"], lost["error"], lost["duration_ms"]) == (1, "cut", None)
    other = await town.another()
    town.merchants.will("/hook", Answer())
    assert await town.now(other) == 1
    found = await town.one(subject)
    assert (found["status"], found["attempts"]) == ("success", 2)
    gate.set()
    await settled(town.deliverer)
    assert len(await town.attempts(found["delivery_id"])) == 2


async def test_a_stale_owner_writes_nothing(town: Town) -> None:
    endpoint = await town.endpoint()
    stale, fresh = payment(), payment()
    gate = await stuck(town, stale, fresh)
    await town.db.execute(
        "UPDATE deliveries SET lease_version = lease_version + 1, lease_until = now() + interval '1 minute' WHERE subject = $1",
        stale,
    )
    before, health = await town.one(stale), await town.health(endpoint)
    town.merchants.will("/hook", Answer(503))
    gate.set()
    await settled(town.deliverer)
    assert await town.one(stale) == before
    assert await town.attempts(before["delivery_id"]) == []
    assert (await town.one(fresh))["status"] == "success", "what ended beside it is written all the same"
    assert (await town.health(endpoint))["failures"] == health["failures"] == 0


async def test_the_last_attempt_that_is_lost_makes_a_dead_letter_and_frees_the_next(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject, subject)
    gate = asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    await town.deliverer.take_due(town.ctx)
    await town.db.execute("UPDATE deliveries SET tries = $1, attempts = $1 WHERE status = 'processing'", len(PLAN))
    await town.db.execute(LAPSE)
    assert await town.deliverer.reclaim(town.ctx) == 1
    assert [each["status"] for each in await town.deliveries(subject)] == ["failed", "pending"]
    gate.set()
    await settled(town.deliverer)


@pytest.mark.parametrize(
    ("closed", "status"), [("status = 'disabled', disabled_reason = 'manual'", "blocked"), ("deleted_at = now()", "failed")]
)
async def test_a_lease_that_ends_at_a_closed_endpoint(town: Town, closed: str, status: str) -> None:
    await town.endpoint()
    subject = payment()
    gate = await stuck(town, subject)
    await town.db.execute(LAPSE)
    await town.db.execute(f"UPDATE endpoints SET {closed}")
    await town.deliverer.reclaim(town.ctx)
    assert (await town.one(subject))["status"] == status
    gate.set()
    await settled(town.deliverer)


async def test_two_take_back_what_one_had(town: Town) -> None:
    await town.endpoint(ordered=False)
    gate = await stuck(town, *[payment() for _ in range(8)])
    await town.db.execute(LAPSE)
    other = await town.another()
    counts = await asyncio.gather(town.deliverer.reclaim(town.ctx), other.port(Deliverer).reclaim(other))
    assert sum(counts) == 8
    assert {each["attempts"] for each in await town.deliveries()} == {1}
    gate.set()
    await settled(town.deliverer)


async def test_outcomes_wait_for_a_database_that_is_away(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await town.endpoint()
    subject = payment()
    gate = await stuck(town, subject)
    away, real = [1, 1, 1], inside.note

    async def note(*args: object) -> object:
        if away:
            away.pop()
            raise DatabaseAway
        return await real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(inside, "note", note)
    monkeypatch.setattr(inside, "_AGAIN_S", 0.01)
    gate.set()
    await settled(town.deliverer)
    assert (await town.one(subject))["status"] == "success"
    assert away == []


# ── the broker's side ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_first_attempt_is_left_to_its_message_for_a_minute(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject)
    assert await town.deliverer.due(town.ctx, 100) == []
    await town.later(seconds=60)
    [found] = await town.deliverer.due(town.ctx, 100)
    delivery = await town.one(subject)
    assert (found.merchant_id, found.delivery_id, found.event_id) == (MERCHANT, delivery["delivery_id"], delivery["event_id"])
    assert await town.deliverer.due(town.ctx, 100) == [], "it is on its way"
    await town.db.execute("UPDATE deliveries SET queued_until = now() - interval '1 second'")
    assert len(await town.deliverer.due(town.ctx, 100)) == 1, "it did not come back"


async def test_a_later_attempt_is_due_at_its_time(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject)
    town.merchants.will("/hook", Answer(500), Answer())
    await town.now()
    assert await town.deliverer.due(town.ctx, 100) == []
    await town.later(seconds=1.3)
    [found] = await town.deliverer.due(town.ctx, 100)
    await asyncio.gather(*(await town.deliverer.take(town.ctx, MERCHANT, [found.event_id], [found.delivery_id])).attempts)
    assert (await town.one(subject))["status"] == "success"
    again = await town.deliverer.take(town.ctx, MERCHANT, [found.event_id], [found.delivery_id])
    assert not again.attempts, "a message that comes twice"


async def test_replays_and_what_an_endpoint_kept_are_due_when_it_is_enabled(town: Town) -> None:
    endpoint = await town.endpoint()
    first, second = payment(), payment()
    await town.tell(first)
    await town.now()
    async with town.db.transaction("test") as tx:
        await webhooks.replay_delivery(tx, MERCHANT, endpoint.endpoint_id, (await town.one(first))["delivery_id"])
    async with town.db.transaction("test") as tx:
        await webhooks.disable_endpoint(tx, MERCHANT, endpoint.endpoint_id)
    await town.tell(second)
    assert await town.deliverer.due(town.ctx, 100) == []
    async with town.db.transaction("test") as tx:
        await webhooks.enable_endpoint(tx, MERCHANT, endpoint.endpoint_id)
    assert len(await town.deliverer.due(town.ctx, 100)) == 2


async def test_of_a_paused_or_full_endpoint_nothing_is_due(town: Town) -> None:
    await town.endpoint(ordered=False)
    gate = await stuck(town, *[payment() for _ in range(20)])
    await town.later(minutes=2)
    assert await town.deliverer.due(town.ctx, 100) == []
    gate.set()
    await settled(town.deliverer)
    await town.db.execute("UPDATE endpoints SET failures = 10, paused_until = kassa_now() + interval '1 hour'")
    assert await town.deliverer.due(town.ctx, 100) == []
    await town.db.execute("UPDATE endpoints SET failures = 0, paused_until = NULL")
    assert len(await town.deliverer.due(town.ctx, 100)) == 12
    assert len(await town.deliverer.due(town.ctx, 100)) == 0


# ── what becomes old ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_dead_letters_are_dropped_after_ninety_days_and_successes_are_kept(town: Town) -> None:
    await town.endpoint()
    good, bad = payment(), payment()
    town.merchants.rules["/hook"] = lambda call: Answer(200 if call.subject == good else 500)
    await town.tell(good, bad)
    await town.db.execute("UPDATE deliveries SET tries = 3, attempts = 3")
    await town.now()
    await town.later(days=89)
    await town.deliverer.tidy(town.ctx)
    assert len(await town.deliveries()) == 2
    await town.later(days=2)
    assert await town.deliverer.tidy(town.ctx) == 1
    [left] = await town.deliveries()
    assert left["subject"] == good
    assert await town.db.value("SELECT count(*) FROM delivery_attempts") == 1


@pytest.mark.parametrize(
    ("closed", "status"), [("status = 'disabled', disabled_reason = 'manual'", "blocked"), ("deleted_at = now()", "failed")]
)
async def test_what_was_recorded_while_its_endpoint_closed_is_put_in_order(town: Town, closed: str, status: str) -> None:
    await town.endpoint()
    await town.tell(*[payment() for _ in range(3)])
    await town.db.execute(f"UPDATE endpoints SET {closed}")
    assert await town.deliverer.tidy(town.ctx) == 3
    assert {each["status"] for each in await town.deliveries()} == {status}
    assert await town.deliverer.tidy(town.ctx) == 0


async def test_what_is_blocked_behind_nothing_is_released(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(subject, subject)
    await town.db.execute("UPDATE deliveries SET status = 'blocked', next_at = NULL")
    assert await town.deliverer.tidy(town.ctx) == 1
    assert [each["status"] for each in await town.deliveries(subject)] == ["pending", "blocked"]
    await town.now()
    assert {each["status"] for each in await town.deliveries(subject)} == {"success"}


async def test_a_batch_of_twenty_costs_few_statements(town: Town) -> None:
    await town.endpoint(ordered=False)
    await town.tell(*[payment() for _ in range(20)])
    ids = [each["event_id"] for each in await town.deliveries()]
    before = town.db.statements
    await town.deliverer.take(town.ctx, MERCHANT, ids)
    claimed = town.db.statements - before
    await settled(town.deliverer)
    assert claimed == 2
    assert town.db.statements - before <= 2 + 3 * 20
