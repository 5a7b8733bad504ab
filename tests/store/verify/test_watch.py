"""The watch: it looks a little at a time, one process of many, and what is broken becomes a figure, a line and a case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from tests.rig import DatabaseServer
from tests.store.verify.street import Street

from kassa import cases, verify
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.verify import WatchRules, watch
from kassa.verify.model import WALKS, next_bound

CASE = "invariant_broken"


class World:
    """A street, and two processes that could watch it."""

    def __init__(self, street: Street, other: Database, every_s: float) -> None:
        rules = {WatchRules: WatchRules(every_s)}
        self.street = street
        self.one = Context(street.db, None, ports=rules)  # type: ignore[arg-type]
        self.other = Context(other, None, ports=rules)  # type: ignore[arg-type]

    async def look(self, *, most: int = 500) -> int:
        """Turn after turn until a look has ended; how many turns that took."""
        await self.street.db.execute("UPDATE verify_look SET next_at = '-infinity'")
        for turns in range(1, most):
            if await verify.turn(self.one):
                return turns
        raise AssertionError("no look came to its end")

    async def found(self) -> dict[int, int]:
        """Breaches by invariant, those that have some."""
        return {seen.invariant: seen.breaches for seen in await verify.read_seen(self.street.db) if seen.breaches}

    async def cases(self) -> list[cases.Case]:
        return await cases.find_cases(self.street.db, kinds=(CASE,))

    async def spoil(self, more: int) -> None:
        story = self.street.stories["bought"]
        sql = "UPDATE ledger_postings SET amount_minor = amount_minor + $2 WHERE entry_id IN (SELECT entry_id FROM ledger_entries WHERE payment_id::text = $1)"
        assert await self.street.db.execute(sql, story.payment, more) == 1


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def played(database_server: DatabaseServer) -> AsyncIterator[tuple[Street, Database]]:
    dsn = database_server.fresh()
    db, other = await Database.connect(dsn, size=6), await Database.connect(dsn, size=4)
    street = Street(db)
    await street.guests()
    await street.buyers()
    await street.by_hand()
    yield street, other
    await other.close()
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(played: tuple[Street, Database]) -> World:
    street, other = played
    await street.db.execute(
        "UPDATE verify_look SET lease_until = '-infinity', place = NULL, began_at = NULL, fresh_at = '-infinity'"
    )
    await street.db.execute("DELETE FROM verify_found")
    await street.db.execute("DELETE FROM cases WHERE kind = $1", CASE)
    return World(street, other, 60)


async def test_a_clean_shop_is_looked_at_and_nothing_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kassa.verify"):
        await world.look()
    seen = await verify.read_seen(world.street.db)
    assert [each.invariant for each in seen] == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    assert all(each.breaches == 0 and each.age_s is not None and each.age_s < 60 and each.took_s > 0 for each in seen)
    assert caplog.messages == []
    assert await world.cases() == []


async def test_what_breaks_is_a_figure_a_line_and_a_case_and_what_is_mended_is_a_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.look()
    await world.spoil(1)
    with caplog.at_level(logging.INFO, "kassa.verify"):
        await world.look()
        assert await world.found() == {1: 1, 2: 1}
        await world.look()
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "invariant 1 is broken: 1 found",
        "invariant 2 is broken: 1 found",
    ]
    listed = await world.cases()
    assert [(case.merchant_id, case.subject) for case in listed] == [
        (world.street.stories["bought"].merchant, "invariant:1"),
        (world.street.stories["bought"].merchant, "invariant:2"),
    ]
    assert str(world.street.stories["bought"].payment) in str(listed[0].last_answer)
    await world.spoil(-1)
    caplog.clear()
    with caplog.at_level(logging.INFO, "kassa.verify"):
        await world.look()
    assert caplog.messages == [f"invariant {n}: what was broken is not found any more" for n in (1, 2)]
    assert await world.found() == {}
    assert len(await world.cases()) == 2, "a person closes them"


async def test_a_look_goes_on_where_another_process_left_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_TURN_S", 0.0)  # one step a turn
    await world.street.db.execute("UPDATE verify_look SET next_at = '-infinity'")
    places = []
    for turn in range(200):
        ended = await verify.turn((world.one, world.other)[turn % 2])
        place = await world.street.db.value("SELECT place FROM verify_look")
        if ended:
            break
        places.append((place["step"], str(place["after"])))
    assert ended
    assert len(places) > 10
    assert places == sorted(places, key=lambda each: each[0])
    assert len(await verify.read_seen(world.street.db)) == 10


async def test_one_process_of_two_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, steps = 0, []
    inside = watch._go_on

    async def slowly(ctx: Context, place: watch.Place) -> bool:
        nonlocal looking
        looking += 1
        steps.append(looking)
        await asyncio.sleep(0.3)
        looking -= 1
        return await inside(ctx, place)

    monkeypatch.setattr(watch, "_go_on", slowly)
    await world.street.db.execute("UPDATE verify_look SET next_at = '-infinity'")
    await asyncio.gather(*(verify.turn(ctx) for ctx in (world.one, world.other) for _ in range(3)))
    assert steps == [1]


async def test_a_process_that_was_overtaken_saves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = watch._go_on

    async def overtaken(ctx: Context, place: watch.Place) -> bool:
        await ctx.db.execute("UPDATE verify_look SET lease_version = lease_version + 1")
        return await inside(ctx, place)

    monkeypatch.setattr(watch, "_go_on", overtaken)
    await world.street.db.execute("UPDATE verify_look SET next_at = '-infinity'")
    assert await verify.turn(world.one) == 0
    assert await verify.read_seen(world.street.db) == []
    assert await world.street.db.value("SELECT lease_until > now() FROM verify_look"), "the lease is the other's"


async def test_what_has_just_changed_is_looked_at_while_a_long_look_is_under_way(world: World) -> None:
    """The look is behind the place where it broke; events tell where that is."""
    place = watch.Place(step=10_000).as_json() | {"step": 40}
    await world.street.db.execute("UPDATE verify_look SET began_at = now(), place = $1, next_at = '-infinity'", place)
    await world.spoil(1)
    try:
        await verify.turn(world.one)
        assert await world.found() == {1: 1, 2: 1}
        assert {case.subject for case in await world.cases()} == {"invariant:1", "invariant:2"}
    finally:
        await world.spoil(-1)


async def test_a_look_that_another_version_began_is_begun_anew(world: World) -> None:
    """Its steps had other numbers, and its places other members."""
    for kept in ({"step": 12, "after": ["1", "2", "3", "4", "5", "6"]}, {"step": 3, "after": None, "unheard": "of"}):
        await world.street.db.execute("UPDATE verify_look SET began_at = now(), place = $1, next_at = '-infinity'", kept)
        await world.look()
        assert len(await verify.read_seen(world.street.db)) == 10


async def test_a_look_goes_on_from_any_key_of_any_walk(world: World) -> None:
    """A key is kept as text, and is again what the database compares with."""
    one = {"text": "a", "uuid": new_id(), "bigint": 7}
    for walk in WALKS:
        key = tuple(one[kind] for kind in walk.types)
        kept = orjson.loads(orjson.dumps(watch.Place(after=key).as_json()))["after"]
        assert watch._key(walk, kept) == key, walk.name
        await next_bound(world.street.db, walk, watch._key(walk, kept), 1000)


async def test_it_is_off_unless_it_is_asked_for(played: tuple[Street, Database]) -> None:
    off = World(*played, every_s=0)
    await off.street.db.execute("UPDATE verify_look SET next_at = '-infinity', lease_until = '-infinity'")
    version = await off.street.db.value("SELECT lease_version FROM verify_look")
    assert await verify.turn(off.one) == 0
    assert await off.street.db.value("SELECT lease_version FROM verify_look") == version


async def test_the_next_look_begins_after_its_time(world: World) -> None:
    await world.look()
    version = await world.street.db.value("SELECT lease_version FROM verify_look")
    assert await verify.turn(world.one) == 0
    assert await world.street.db.value("SELECT lease_version FROM verify_look") == version
    seconds = await world.street.db.value("SELECT extract(epoch FROM next_at - now())::float8 FROM verify_look")
    assert 0 < seconds <= 60
