"""The audit log: a line for each act of a person, in the act's own transaction; whatever is done to a line afterwards is found."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
from tests.factories import Shop, at_once, open_shop, world

from kassa import audit, checkout, events
from kassa.audit import ACTS, By, Chain, Hand, Line, Page
from kassa.audit.model import Head, hash_of
from kassa.checkout.wishes import MoveWish
from kassa.events import Event
from kassa.kit import own_keys
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.own_keys import WrongSecret, own_key
from kassa.kit.secrets import Keys

ANA = By("staff", "ana")


@pytest_asyncio.fixture(loop_scope="session")
async def desk(ctx: Context) -> AsyncIterator[Shop]:
    """A merchant of its own, whose chain the test may break: afterwards it is gone."""
    shop = await open_shop(ctx, mouse=10)
    yield shop
    for table in ("audit_log", "audit_heads"):
        await ctx.db.execute(f"DELETE FROM {table} WHERE merchant_id = $1", shop.merchant_id)


async def act(desk: Shop, number: int = 1, *, why: str | None = "a reason", by: By = ANA) -> None:
    async with desk.db.transaction("an act") as tx:
        audit.note(tx, Hand(desk.ctx.keys, by, why), desk.merchant_id, "case.close", f"case:{number}", number=number)


async def lines(desk: Shop, **asked: Any) -> list[Line]:
    """Oldest first."""
    return (await audit.find_lines(desk.db, Page(desk.merchant_id, **asked)))[::-1]


async def chain(desk: Shop, known: Head | None = None) -> Chain:
    (found,) = await audit.check_chains(desk.ctx, desk.merchant_id, known={desk.merchant_id: known} if known else None)
    return found


# Writing


async def test_a_line_says_who_did_what_to_what_and_why(desk: Shop) -> None:
    await act(desk, 7)
    (line,) = await lines(desk)
    assert (line.place, line.by, line.act, line.subject) == (1, ANA, "case.close", "case:7")
    assert (line.why, dict(line.what), line.previous) == ("a reason", {"number": 7}, bytes(32))
    assert abs(line.at - await desk.db.value("SELECT kassa_now()")) < timedelta(seconds=30)
    assert (await chain(desk)).broken is None


async def test_an_act_that_is_undone_has_no_line(desk: Shop) -> None:
    await act(desk)

    async def fails(tx: Tx) -> None:
        audit.note(tx, Hand(desk.ctx.keys, ANA), desk.merchant_id, "case.close", "case:2")
        await tx.send()
        raise LookupError

    with pytest.raises(LookupError):
        async with desk.db.transaction("an act") as tx:
            await fails(tx)
    await act(desk, 3)
    assert [line.place for line in await lines(desk)] == [1, 2]
    assert [line.subject for line in await lines(desk)] == ["case:1", "case:3"]
    assert (await chain(desk)).broken is None


async def test_an_act_whose_line_cannot_be_written_does_not_happen(desk: Shop) -> None:
    stranger = Keys(os.urandom(32))
    await act(desk)
    with pytest.raises(WrongSecret):
        async with desk.db.transaction("an act") as tx:
            await tx.execute("UPDATE merchants SET name = 'taken over' WHERE merchant_id = $1", desk.merchant_id)
            audit.note(tx, Hand(stranger, ANA), desk.merchant_id, "merchant.add", "merchant:1")
    assert await desk.db.value("SELECT name FROM merchants WHERE merchant_id = $1", desk.merchant_id) != "taken over"
    assert len(await lines(desk)) == 1


async def test_an_act_without_a_name_cannot_be_noted(desk: Shop) -> None:
    with pytest.raises(AssertionError):
        async with desk.db.transaction("an act") as tx:
            audit.note(tx, Hand(desk.ctx.keys, ANA), desk.merchant_id, "something.else", "case:2")


async def test_several_acts_of_one_transaction_follow_each_other_each_in_its_own_chain(desk: Shop, shop: Shop) -> None:
    async with desk.db.transaction("acts") as tx:
        for number, merchant in enumerate((desk, shop, desk)):
            audit.note(tx, Hand(desk.ctx.keys, ANA), merchant.merchant_id, "case.close", f"case:{number}")
    assert [(line.place, line.subject) for line in await lines(desk)] == [(1, "case:0"), (2, "case:2")]
    assert [(line.place, line.subject) for line in await lines(shop)] == [(1, "case:1")]
    assert (await chain(desk)).broken is None


async def test_fifty_at_once_make_a_chain_without_gaps(desk: Shop) -> None:
    await at_once(*(act(desk, number) for number in range(50)))
    found = await lines(desk)
    assert [line.place for line in found] == list(range(1, 51))
    assert {line.what["number"] for line in found} == set(range(50))
    assert [line.previous for line in found[1:]] == [line.hash for line in found[:-1]]
    assert await chain(desk) == Chain(desk.merchant_id, 50, found[-1].hash, 50, None)


async def test_lines_and_events_in_either_order_never_wait_for_each_other_in_a_ring(desk: Shop) -> None:
    """The head's row is the last lock, whichever of the two was told first."""

    async def told(number: int) -> None:
        async with desk.db.transaction("an act with events") as tx:
            steps: list[Callable[[], object]] = [
                lambda: events.record(tx, Event(desk.merchant_id, "order:one", "order.updated", {"number": number})),
                lambda: audit.note(tx, Hand(desk.ctx.keys, ANA), desk.merchant_id, "order.note", "order:one"),
            ]
            for step in steps if number % 2 else reversed(steps):
                step()
            await asyncio.sleep(0)

    await at_once(*(told(number) for number in range(40)))
    assert [line.place for line in await lines(desk)] == list(range(1, 41))
    assert (
        await desk.db.value("SELECT last FROM event_counters WHERE merchant_id = $1 AND subject = 'order:one'", desk.merchant_id)
        == 40
    )


async def test_two_processes_that_write_the_first_line_at_once_have_one_key(desk: Shop) -> None:
    made = await at_once(*(own_key(desk.db, desk.ctx.keys, "test of a race") for _ in range(8)))
    assert len(set(made)) == 1
    await desk.db.execute("DELETE FROM sealed_keys WHERE name = 'test of a race'")


# Reading


async def test_lines_are_found_by_who_what_and_when(desk: Shop) -> None:
    await act(desk, 1)
    await act(desk, 2, by=By("operator", "root"))
    between = await desk.db.value("SELECT clock_timestamp() + (kassa_now() - now())")
    await act(desk, 3, by=By("staff", "bo"))

    async def subjects(**asked: Any) -> list[str]:
        return [line.subject for line in await lines(desk, **asked)]

    assert await subjects() == ["case:1", "case:2", "case:3"]
    assert await subjects(who="staff") == ["case:1", "case:3"]
    assert await subjects(who="root") == await subjects(who="operator:root") == ["case:2"]
    assert await subjects(act="case") == await subjects(act="case.close") == ["case:1", "case:2", "case:3"]
    assert await subjects(act="cas") == await subjects(act="order.move") == []
    assert await subjects(subject="case:2") == await subjects(subject="2") == ["case:2"]
    assert await subjects(since=between) == ["case:3"]
    assert await subjects(until=between) == ["case:1", "case:2"]
    assert await subjects(limit=2) == ["case:2", "case:3"]
    assert await subjects(before=3, limit=1) == ["case:2"]


# Tampering

Harm = Callable[[Shop], Awaitable[object]]


def change(sets: str, place: int = 2) -> Harm:
    return lambda desk: desk.db.execute(f"UPDATE audit_log SET {sets} WHERE merchant_id = $1 AND place = {place}", desk.merchant_id)


async def delete_one(desk: Shop) -> None:
    await desk.db.execute("DELETE FROM audit_log WHERE merchant_id = $1 AND place = 2", desk.merchant_id)


async def delete_one_and_close_up(desk: Shop) -> None:
    await delete_one(desk)
    await desk.db.execute("UPDATE audit_log SET place = place - 1 WHERE merchant_id = $1 AND place > 2", desk.merchant_id)


async def swap(desk: Shop) -> None:
    for one, other in ((2, 99), (3, 2), (99, 3)):
        await desk.db.execute(f"UPDATE audit_log SET place = {other} WHERE merchant_id = $1 AND place = {one}", desk.merchant_id)


async def insert_with_a_plain_hash(desk: Shop) -> None:
    """What somebody can do who has read the source, and writes to the tables, but has not the secret."""
    last = (await lines(desk))[-1]
    forged = replace(last, place=5, subject="case:forged", previous=last.hash)
    forged = replace(forged, hash=hash_of(b"", forged))
    await desk.db.execute(
        "INSERT INTO audit_log SELECT merchant_id, 5, who_kind, who_name, act, 'case:forged', why, what, request_id, at, $2, $3"
        " FROM audit_log WHERE merchant_id = $1 AND place = 4",
        desk.merchant_id, forged.previous, forged.hash,
    )  # fmt: skip
    await desk.db.execute("UPDATE audit_heads SET last = 5, hash = $2 WHERE merchant_id = $1", desk.merchant_id, forged.hash)


async def cut_the_end_off(desk: Shop) -> None:
    await desk.db.execute("DELETE FROM audit_log WHERE merchant_id = $1 AND place > 2", desk.merchant_id)


async def lose_the_head(desk: Shop) -> None:
    await desk.db.execute("DELETE FROM audit_heads WHERE merchant_id = $1", desk.merchant_id)


async def begin_before_the_beginning(desk: Shop) -> None:
    await desk.db.execute("UPDATE audit_heads SET last = 7 WHERE merchant_id = $1", desk.merchant_id)


async def everything_gone(desk: Shop) -> None:
    await desk.db.execute("DELETE FROM audit_log WHERE merchant_id = $1", desk.merchant_id)


HARMS: tuple[tuple[str, Harm, int], ...] = (
    ("who", change("who_name = 'somebody else'"), 2),
    ("kind", change("who_kind = 'admin'"), 2),
    ("act", change("act = 'case.open'"), 2),
    ("subject", change("subject = 'case:9'"), 2),
    ("why", change("why = NULL"), 2),
    ("what", change("what = what || '{\"number\": 3}'"), 2),
    ("more", change("what = what || '{\"more\": null}'"), 2),
    ("request", change("request_id = 'r-1'"), 2),
    ("time", change("at = at + interval '1 microsecond'"), 2),
    ("hash", change("hash = sha256(hash)"), 2),
    ("previous", change("previous = sha256(previous)"), 2),
    ("last", change("why = 'another'", 4), 4),
    ("deleted", delete_one, 3),
    ("closed up", delete_one_and_close_up, 2),
    ("swapped", swap, 2),
    ("inserted", insert_with_a_plain_hash, 5),
    ("cut off", cut_the_end_off, 2),
    ("head", lose_the_head, 4),
    ("head ahead", begin_before_the_beginning, 4),
    ("gone", everything_gone, 0),
)


@pytest.mark.parametrize(("harm", "place"), [each[1:] for each in HARMS], ids=[each[0] for each in HARMS])
async def test_whatever_is_done_to_a_line_is_found_and_its_place_named(desk: Shop, harm: Harm, place: int) -> None:
    for number in range(1, 5):
        await act(desk, number)
    assert (await chain(desk)).broken is None
    await harm(desk)
    broken = (await chain(desk)).broken
    assert broken is not None
    assert broken.place == place, broken


async def test_an_end_that_was_cut_off_with_its_head_is_found_by_a_head_that_was_noted_elsewhere(desk: Shop) -> None:
    for number in range(1, 4):
        await act(desk, number)
    before = await chain(desk)
    noted = Head(before.place, before.hash)
    two = (await lines(desk))[1]
    await cut_the_end_off(desk)
    await desk.db.execute("UPDATE audit_heads SET last = 2, hash = $2 WHERE merchant_id = $1", desk.merchant_id, two.hash)
    assert (await chain(desk)).broken is None, "the rest is a chain"
    broken = (await chain(desk, noted)).broken
    assert broken is not None
    assert "line 3 was noted elsewhere" in broken.why
    await act(desk, 9)
    broken = (await chain(desk, noted)).broken
    assert broken is not None
    assert (broken.place, broken.why) == (3, "it is not the line that was noted elsewhere")


async def test_a_line_of_another_merchant_fits_nowhere(desk: Shop, shop: Shop) -> None:
    for number in (1, 2):
        await act(desk, number)
    await act(shop, 1)
    await desk.db.execute("DELETE FROM audit_log WHERE merchant_id = $1 AND place = 1", desk.merchant_id)
    await desk.db.execute(
        "INSERT INTO audit_log SELECT $1, place, who_kind, who_name, act, subject, why, what, request_id, at, previous, hash"
        " FROM audit_log WHERE merchant_id = $2 AND place = 1",
        desk.merchant_id, shop.merchant_id,
    )  # fmt: skip
    broken = (await chain(desk)).broken
    assert broken is not None
    assert broken.place == 1


async def test_the_owner_of_the_table_cannot_change_or_delete_a_line(desk: Shop) -> None:
    """Not even whoever owns it, unless they are above all rules."""
    await act(desk)
    role = f"kassa_test_{uuid.uuid4().hex[:12]}"
    async with desk.db.transaction("roles") as tx:
        await tx.execute(f"CREATE ROLE {role}")
        await tx.execute(f"ALTER TABLE audit_log OWNER TO {role}")
        await tx.execute(f"SET LOCAL ROLE {role}")
        assert await tx.value("SELECT count(*) FROM audit_log") >= 1
        for statement in ("UPDATE audit_log SET why = NULL", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            await tx.execute("SAVEPOINT before")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await tx.execute(statement)
            await tx.execute("ROLLBACK TO before")
        await tx.execute("RESET ROLE")
        await tx.execute("ALTER TABLE audit_log OWNER TO CURRENT_USER")
        await tx.execute(f"DROP ROLE {role}")


# The key


async def test_another_secret_opens_no_key_and_the_old_one_of_a_rotation_does(desk: Shop) -> None:
    await act(desk)
    new = os.urandom(32)
    with pytest.raises(WrongSecret):
        await audit.check_chains(world(desk.db, keys=Keys(new)), desk.merchant_id)
    from tests.factories import SECRET

    rotating = world(desk.db, keys=Keys(new, SECRET))
    (found,) = await audit.check_chains(rotating, desk.merchant_id)
    assert found.broken is None


async def test_the_key_of_the_chain_is_sealed_and_random(desk: Shop) -> None:
    await act(desk)
    key = await own_key(desk.db, desk.ctx.keys)
    assert len(key) == own_keys.BYTES
    assert await desk.db.value("SELECT count(*) FROM sealed_keys WHERE position($1 IN sealed) > 0", key) == 0


# The doors of floor 5 and 6


async def test_staff_who_move_an_order_are_written_down_and_buyers_are_not(desk: Shop) -> None:
    order = await desk.order("ana", {"mouse": 1})

    async def move(to: str, *, by_staff: bool = True, **more: Any) -> None:
        wish = MoveWish(desk.merchant_id, order.order_id, to, by_staff, by=By("admin", "boss"), **more)
        await checkout.move_order(desk.ctx, wish, lambda placed: (200, orjson.dumps({"status": placed.order.status})))
        await desk.ctx.background.drain(5)

    await move("processing", note="a note that names somebody")
    await move("processing")  # nothing new
    await move("processing", tracking_number="T-1", carrier="C")
    await move("cancelled", by_staff=False)
    told = [(line.by, line.act, line.subject, dict(line.what)) for line in await lines(desk)]
    moved = {"from": "paid", "to": "processing", "with_note": True, "with_tracking": False}
    tracked = {"from": "processing", "to": "processing", "with_note": False, "with_tracking": True}
    boss, subject = By("admin", "boss"), f"order:{order.order_id}"
    assert told == [(boss, "order.move", subject, moved), (boss, "order.note", subject, tracked)]


def test_every_act_is_in_use_and_every_name_is_one() -> None:
    """The names in the source are those of the list."""
    import re
    from pathlib import Path

    source = Path(audit.__file__).parents[1]
    texts = [path.read_text() for path in source.rglob("*.py") if path.parent.name != "audit"]
    families = "|".join({act.partition(".")[0] for act in ACTS})
    used = {found for text in texts for found in re.findall(rf'"((?:{families})\.[a-z]+)"', text)}
    assert set(ACTS) <= used, set(ACTS) - used
