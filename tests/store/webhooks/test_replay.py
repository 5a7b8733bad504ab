"""Replays: outside the order, with a new plan, one by one or a whole range of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.factories import at_once
from tests.store.webhooks.conftest import Desk

from kassa import webhooks
from kassa.events import FanOut
from kassa.kit.ids import new_id
from kassa.webhooks import DELIVERY_MADE, Endpoint, store
from kassa.webhooks.model import DeliveryMissing, EndpointDisabled, EndpointMissing

ALL = ("*",)


async def again(desk: Desk, endpoint: Endpoint, status: str = "failed", **options: object) -> int:
    return await webhooks.replay_range(desk.ctx, desk.merchant_id, endpoint.endpoint_id, status, **options)  # type: ignore[arg-type]


async def one(desk: Desk, endpoint: Endpoint, delivery_id: object) -> webhooks.Delivery:
    found: webhooks.Delivery = await desk.do(webhooks.replay_delivery, desk.merchant_id, endpoint.endpoint_id, delivery_id)
    return found


@pytest.mark.parametrize("status", ["success", "failed"])
async def test_what_has_ended_is_due_again_with_a_new_plan_and_its_old_number(desk: Desk, status: str) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    await desk.ends(endpoint, status)
    (before,) = await desk.deliveries(endpoint)
    found = await one(desk, endpoint, before["delivery_id"])
    (row,) = await desk.deliveries(endpoint)
    assert (row["status"], row["tries"], row["attempts"], row["replayed"], row["ended_at"]) == ("pending", 0, 10, True, None)
    assert row["event_id"] == before["event_id"]
    assert row["next_at"] is not None
    assert (found.status, found.attempts) == ("pending", 10)


async def test_what_is_being_sent_stays_as_it_is(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    await desk.put(endpoint, "processing")
    (before,) = await desk.deliveries(endpoint)
    assert (await one(desk, endpoint, before["delivery_id"])).status == "processing"
    assert await desk.deliveries(endpoint) == [before]


async def test_whatever_waited_behind_it_waits_no_more(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    other = await desk.tell("payment.created", "payment.paid")
    await desk.tell("payment.created", "payment.paid", "payment.refunded")
    rows = await desk.deliveries(endpoint)
    mine = [row["delivery_id"] for row in rows if row["subject"] != other]
    theirs = [row["delivery_id"] for row in rows if row["subject"] == other]
    await desk.put(endpoint, "retrying", delivery_id=mine[0])
    for delivery_id in (*mine[1:], theirs[1]):
        await desk.put(endpoint, "blocked", delivery_id=delivery_id)
    await one(desk, endpoint, mine[0])
    states = {row["delivery_id"]: (row["status"], row["replayed"]) for row in await desk.deliveries(endpoint)}
    assert [states[each] for each in mine] == [("pending", True), ("pending", False), ("blocked", False)]
    assert states[theirs[1]] == ("blocked", False)


async def test_a_delivery_of_another_endpoint_or_of_none_is_missing(desk: Desk) -> None:
    endpoint, sibling = await desk.make(events=ALL), await desk.make(events=("order.*",))
    await desk.tell("payment.created")
    (row,) = await desk.deliveries(endpoint)
    for which, wanted in ((sibling, row["delivery_id"]), (endpoint, new_id())):
        with pytest.raises(DeliveryMissing):
            await one(desk, which, wanted)


async def test_a_disabled_endpoint_is_told_nothing_again(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    await desk.ends(endpoint, "failed")
    (row,) = await desk.deliveries(endpoint)
    await desk.disable(endpoint)
    for act in (again(desk, endpoint), one(desk, endpoint, row["delivery_id"])):
        with pytest.raises(EndpointDisabled):
            await act
    assert await desk.deliveries(endpoint) == [row]


async def test_a_range_is_replayed_in_steps_and_only_what_ended_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STEP", 4)
    endpoint, sibling = await desk.make(events=ALL), await desk.make(events=ALL)
    for _ in range(14):
        await desk.tell("payment.created")
    for each in (endpoint, sibling):
        await desk.ends(each, "failed")
    rows = await desk.deliveries(endpoint)
    await desk.ends(endpoint, "success", [row["delivery_id"] for row in rows[3:6]])
    await desk.put(endpoint, "processing", delivery_id=rows[9]["delivery_id"])
    assert await again(desk, endpoint) == 10
    assert await desk.states(endpoint) == ["pending"] * 3 + ["success"] * 3 + ["pending"] * 3 + ["processing"] + ["pending"] * 4
    assert await again(desk, endpoint) == 0
    assert await again(desk, endpoint, "success") == 3
    assert set(await desk.states(sibling)) == {"failed"}


async def test_the_times_of_a_range_are_those_of_the_events(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    for _ in range(5):
        await desk.tell("payment.created")
    await desk.ends(endpoint, "failed")
    rows = await desk.deliveries(endpoint)
    happened = await desk.db.rows("SELECT event_id, occurred_at FROM events WHERE merchant_id = $1", desk.merchant_id)
    times = {row["event_id"]: row["occurred_at"] for row in happened}
    at = [times[row["event_id"]] for row in rows]
    assert await again(desk, endpoint, since=at[1], until=at[3]) == 3
    assert await desk.states(endpoint) == ["failed", "pending", "pending", "pending", "failed"]
    assert await again(desk, endpoint, since=at[4] + timedelta(microseconds=1)) == 0
    assert await again(desk, endpoint, until=at[0]) == 1


async def test_an_endpoint_that_was_told_nothing_has_nothing_to_repeat(desk: Desk) -> None:
    endpoint = await desk.make()
    assert await again(desk, endpoint) == 0
    await desk.delete(endpoint)
    with pytest.raises(EndpointMissing):
        await again(desk, endpoint)


async def test_asked_twice_at_once_each_delivery_is_replayed_once(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    for _ in range(20):
        await desk.tell("payment.created")
    await desk.ends(endpoint, "failed")
    assert sum(await at_once(*(again(desk, endpoint) for _ in range(4)))) == 20


async def test_a_long_range_takes_no_long_transaction(desk: Desk) -> None:
    """Twenty thousand dead letters: ten steps, each with the lock for its own length only."""
    endpoint = await desk.make(events=ALL)
    assert desk.db.ports[FanOut].parts == (DELIVERY_MADE,)
    await desk.db.execute(
        """
        INSERT INTO deliveries (merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, sequence, status, attempts,
                                tries, created_at, ended_at)
        SELECT $1, $2, gen_random_uuid(), gen_random_uuid(), 'payment.paid', 'payment:' || n, 1, 'failed', 10, 10, kassa_now(), kassa_now()
          FROM generate_series(1, 20000) n
        """,
        desk.merchant_id,
        endpoint.endpoint_id,
    )
    before = desk.db.statements
    assert await again(desk, endpoint) == 20_000
    assert desk.db.statements - before <= 40
    assert set(await desk.states(endpoint)) == {"pending"}
