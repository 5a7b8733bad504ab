"""Order per subject, eight at a time, and what several deliverers of one database do to each other."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict

import pytest
from tests.store.webhooks.delivery.town import MERCHANT, Answer, Call, Town, payment, settled, until

from kassa import webhooks
from kassa.verify import check
from kassa.webhooks.delivery import Deliverer


def in_order(calls: list[Call]) -> None:
    """No attempt of an event began before an earlier one of its subject had ended, and each had its turn."""
    by_subject: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_subject[call.subject].append(call)
    for mine in by_subject.values():
        for earlier, later in itertools.pairwise(mine):
            assert later.began >= earlier.ended
            assert later.sequence >= earlier.sequence


async def test_events_of_a_subject_go_one_after_another(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    await town.tell(*[subject] * 5)
    assert await town.now() == 1
    assert [each["status"] for each in await town.deliveries(subject)] == ["success"] * 5, "each end lets the next one begin"
    in_order(town.merchants.calls)


async def test_two_events_of_a_subject_are_never_claimed_together(town: Town) -> None:
    await town.endpoint()
    subject, gate = payment(), asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    await town.tell(subject, subject)
    ids = [each["event_id"] for each in await town.deliveries(subject)]
    tasks = (await town.deliverer.take(town.ctx, MERCHANT, ids)).attempts
    assert len(tasks) == 1
    assert [each["status"] for each in await town.deliveries(subject)] == ["processing", "blocked"]
    gate.set()
    await asyncio.gather(*tasks)
    await settled(town.deliverer)
    assert [each["status"] for each in await town.deliveries(subject)] == ["success"] * 2


async def test_a_later_event_waits_through_all_retries_of_an_earlier_one(town: Town) -> None:
    await town.endpoint()
    subject = payment()
    town.merchants.rules["/hook"] = lambda call: Answer(500 if call.sequence == 1 else 200)
    await town.tell(subject, subject)
    await town.now()
    for _ in range(3):
        assert [each["status"] for each in await town.deliveries(subject)] == ["retrying", "blocked"]
        await town.later(seconds=1.3)
        await town.now()
    assert [each["status"] for each in await town.deliveries(subject)] == ["failed", "success"]
    assert [call.sequence for call in town.merchants.calls] == [1, 1, 1, 1, 2]


async def test_many_later_events_do_not_hide_the_one_they_wait_for(town: Town) -> None:
    """They have been due for longer than its retry."""
    await town.endpoint()
    subject = payment()
    town.merchants.will("/hook", Answer(500), Answer())
    await town.tell(subject)
    await town.now()
    for _ in range(3):
        await town.tell(*[subject] * 100)
    await town.later(seconds=1.3)
    assert await town.now() == 1
    assert {each["status"] for each in await town.deliveries(subject)} == {"success"}
    assert [call.sequence for call in town.merchants.calls] == [1, *range(1, 302)]


async def test_without_order_nothing_waits(town: Town) -> None:
    await town.endpoint(ordered=False)
    subject = payment()
    await town.tell(*[subject] * 6)
    assert await town.now() == 6


async def test_a_replay_holds_nothing_up_and_waits_for_nothing(town: Town) -> None:
    endpoint = await town.endpoint()
    subject = payment()
    await town.tell(subject)
    await town.now()
    first = await town.one(subject)
    gate = asyncio.Event()
    town.merchants.rules["/hook"] = lambda call: Answer(gate=gate) if call.attempt == 2 else Answer()
    async with town.db.transaction("test") as tx:
        await webhooks.replay_delivery(tx, MERCHANT, endpoint.endpoint_id, first["delivery_id"])
    assert await town.deliverer.take_due(town.ctx) == 1
    await until(lambda: len(town.merchants.calls) == 2)
    await town.tell(subject)
    assert await town.deliverer.take_due(town.ctx) == 1
    await until(lambda: _ended(town, subject, 2))
    assert (await town.deliveries(subject))[0]["status"] == "processing"
    gate.set()
    await settled(town.deliverer)
    assert {each["status"] for each in await town.deliveries(subject)} == {"success"}


async def _ended(town: Town, subject: str, sequence: int) -> bool:
    return (await town.deliveries(subject))[sequence - 1]["status"] == "success"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_order_is_kept_under_failures_with_four_deliverers(town: Town, seed: int) -> None:
    dice = random.Random(seed)
    town.ctx = await town.another(plan=(0,) * 20)
    worlds = [town.ctx, *[await town.another(plan=(0,) * 20) for _ in range(3)]]

    def moody(_: Call) -> Answer:
        roll = dice.random()
        if roll < 0.12:
            return Answer(500)
        return Answer(cut=True) if roll < 0.17 else Answer(after_s=dice.choice((0, 0, 0.004, 0.02)))

    for path in ("/a", "/b"):
        await town.endpoint(path)
        town.merchants.rules[path] = moody
    subjects = [payment() for _ in range(12)]
    town.begin(*worlds)
    for _ in range(6):
        told = [dice.choice(subjects) for _ in range(20)]
        await asyncio.gather(*(town.tell(*told[at : at + 5]) for at in range(0, 20, 5)))
    found = await town.all_ended(within_s=60)
    assert len(found) == 240
    assert {each["status"] for each in found} == {"success"}
    for path in ("/a", "/b"):
        in_order([call for call in town.merchants.calls if call.path == path])
        assert town.merchants.most[path] <= 8
    assert await check(town.db, 7) == []


async def test_eight_requests_are_in_flight_at_most_over_three_deliverers(town: Town) -> None:
    await town.endpoint(ordered=False)
    gate = asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    worlds = [town.ctx, await town.another(), await town.another()]
    town.begin(*worlds)
    await town.tell(*[payment() for _ in range(60)])
    await until(lambda: len(town.merchants.calls) == 8)
    for ctx in worlds:
        await ctx.port(Deliverer).take_due(ctx)
    assert len(town.merchants.calls) == 8
    town.merchants.will("/hook", Answer(after_s=0.01))
    gate.set()
    await town.all_ended()
    assert town.merchants.most["/hook"] == 8
    assert len(town.merchants.calls) == 60


async def test_a_message_and_the_database_lead_to_one_request(town: Town) -> None:
    """The same deliveries are taken by name and found as due, by four at once."""
    await town.endpoint(ordered=False)
    worlds = [town.ctx, *[await town.another() for _ in range(3)]]
    subjects = [payment() for _ in range(8)]
    await town.tell(*subjects)
    ids = [each["event_id"] for each in await town.deliveries()]
    await asyncio.gather(
        *(ctx.port(Deliverer).take(ctx, MERCHANT, ids) for ctx in worlds), *(ctx.port(Deliverer).take_due(ctx) for ctx in worlds)
    )
    for ctx in worlds:
        await settled(ctx.port(Deliverer))
    assert sorted(call.subject for call in town.merchants.calls) == sorted(subjects)


async def test_what_came_and_had_no_room_begins_when_there_is_some(town: Town) -> None:
    """As with a broker: nobody looks into the database, and nothing is claimed that did not come."""
    await town.endpoint(ordered=False)
    gate = asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate), Answer())
    await town.tell(*[payment() for _ in range(40)])
    ids = [each["event_id"] for each in await town.deliveries()]
    ids.sort()
    tasks = (await town.deliverer.take(town.ctx, MERCHANT, ids[:30])).attempts
    assert len(tasks) == 8
    gate.set()
    await settled(town.deliverer)
    assert sorted(call.headers["webhook-id"] for call in town.merchants.calls) == [str(each) for each in ids[:30]]
    assert town.deliverer._left == {}


async def test_more_than_is_remembered_is_found_in_the_database_as_soon_as_there_is_room(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their messages were acknowledged, and nobody publishes them again within a minute. An endpoint without such is left alone."""
    monkeypatch.setattr("kassa.webhooks.delivery.deliverer._MOST_LEFT", 20)
    await town.endpoint("/a", ordered=False)
    gate = asyncio.Event()
    town.merchants.will("/a", Answer(gate=gate), *[Answer(gate=gate)] * 7, Answer())
    await town.tell(*[payment() for _ in range(100)])
    ids = [each["event_id"] for each in await town.deliveries()]
    assert len((await town.deliverer.take(town.ctx, MERCHANT, ids)).attempts) == 8
    await town.endpoint("/b", ordered=False)
    others = [payment() for _ in range(3)]
    await town.tell(*others)
    gate.set()
    await until(lambda: len([call for call in town.merchants.calls if call.path == "/a"]) >= 100, within_s=5)
    await settled(town.deliverer)
    came = [call.headers["webhook-id"] for call in town.merchants.calls if call.path == "/a"]
    assert len(came) == len(set(came))
    assert set(map(str, ids)) <= set(came)
    assert not [call for call in town.merchants.calls if call.path == "/b"], "nothing else was asked for"
    assert not town.deliverer._left
    assert not town.deliverer._overflowed


async def test_what_came_while_the_last_outcome_was_written_is_not_left_lying(town: Town) -> None:
    """Messages come in batches while others end; nobody looks into the database."""
    await town.endpoint(ordered=False)
    for _ in range(10):
        await town.tell(*[payment() for _ in range(60)])
    ids = [each["event_id"] for each in await town.deliveries()]
    for at in range(0, 600, 20):
        await town.deliverer.take(town.ctx, MERCHANT, ids[at : at + 20])
        await until(lambda: sum(map(len, town.deliverer._left.values())) <= 40)
    await town.all_ended()
    await settled(town.deliverer)
    assert len(town.merchants.calls) == 600
    assert not town.deliverer._left
    assert not town.deliverer._busy


async def test_what_came_while_another_process_had_all_the_room_begins_later(town: Town) -> None:
    await town.endpoint(ordered=False)
    other, gate = await town.another(), asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    await town.tell(*[payment() for _ in range(12)])
    assert await other.port(Deliverer).take_due(other) == 8
    assert not (await town.deliverer.take(town.ctx, MERCHANT, [each["event_id"] for each in await town.deliveries()])).attempts
    await until(lambda: len(town.merchants.calls) == 8)
    gate.set()
    await until(lambda: len(town.merchants.calls) == 12, within_s=5)
    await settled(town.deliverer)


async def test_more_than_is_remembered_begins_when_another_process_gives_room(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room nobody knows whether there is more, so it is asked again."""
    monkeypatch.setattr("kassa.webhooks.delivery.deliverer._MOST_LEFT", 0)
    await town.endpoint(ordered=False)
    other, gate = await town.another(), asyncio.Event()
    town.merchants.will("/hook", Answer(gate=gate))
    await town.tell(*[payment() for _ in range(40)])
    assert await other.port(Deliverer).take_due(other) == 8
    assert not (await town.deliverer.take(town.ctx, MERCHANT, [each["event_id"] for each in await town.deliveries()])).attempts
    await until(lambda: len(town.merchants.calls) == 8)
    await asyncio.wait_for(_asked_again(town, 2), 10)
    gate.set()
    await until(lambda: len(town.merchants.calls) == 40, within_s=10)
    await settled(town.deliverer)
    assert not town.deliverer._overflowed


async def _asked_again(town: Town, times: int) -> None:
    """Wait for so many statements of the deliverer that waits for room."""
    for _ in range(times):
        before = town.db.statements
        while town.db.statements == before:
            await asyncio.sleep(0.005)


async def test_a_delivery_may_be_taken_by_its_own_id(town: Town) -> None:
    await town.endpoint("/a")
    await town.endpoint("/b")
    subject = payment()
    await town.tell(subject)
    one, other = await town.deliveries(subject)
    await asyncio.gather(*(await town.deliverer.take(town.ctx, MERCHANT, delivery_ids=[one["delivery_id"]])).attempts)
    assert {each["delivery_id"]: each["status"] for each in await town.deliveries(subject)} == {
        one["delivery_id"]: "success", other["delivery_id"]: "pending",
    }  # fmt: skip


async def test_one_slow_endpoint_does_not_delay_the_others(town: Town) -> None:
    gate = asyncio.Event()
    await town.endpoint("/slow")
    town.merchants.will("/slow", Answer(gate=gate))
    town.begin()
    await town.tell(*[payment() for _ in range(30)])
    await until(lambda: town.merchants.most["/slow"] == 8)
    await town.endpoint("/quick")
    for _ in range(5):
        subject = payment()
        await town.tell(subject)
        await until(lambda s=subject: any(call.path == "/quick" for call in town.merchants.of(s)), within_s=1)
    assert town.merchants.most["/slow"] == 8
    gate.set()


async def test_a_hundred_slow_endpoints_do_not_delay_another(town: Town) -> None:
    gate = asyncio.Event()
    merchants = [f"slow-{n}" for n in range(100)]
    await town.db.execute("INSERT INTO merchants (merchant_id, name) SELECT m, m FROM unnest($1::text[]) m", merchants)
    town.merchants.will("/slow", Answer(gate=gate))
    for merchant_id in merchants:
        await town.endpoint("/slow", merchant_id)
        await town.tell(*[payment() for _ in range(10)], merchant_id=merchant_id)
    town.begin()
    await until(lambda: town.deliverer.running == 800, within_s=20)
    await town.endpoint("/quick")
    subject = payment()
    await town.tell(subject)
    await until(lambda: town.merchants.of(subject), within_s=1)
    gate.set()
    await town.all_ended(within_s=40)


async def test_a_backlog_goes_on_as_fast_as_its_endpoint_answers(town: Town) -> None:
    """Two hundred events need no two hundred looks into the database."""
    await town.endpoint()
    await town.tell(*[payment() for _ in range(200)])
    town.begin()
    await town.all_ended(within_s=5)


async def test_a_deliverer_that_stops_finishes_what_it_began_and_begins_no_more(town: Town) -> None:
    await town.endpoint(ordered=False)
    town.merchants.will("/hook", Answer(after_s=0.2))
    await town.tell(*[payment() for _ in range(20)])
    assert await town.deliverer.take_due(town.ctx) == 8
    await town.deliverer.drain(5)
    assert sorted(each["status"] for each in await town.deliveries()) == ["pending"] * 12 + ["success"] * 8
    assert await town.deliverer.take_due(town.ctx) == 0
