"""One key, one effect, one answer; read from a real database, by many at once."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.factories import SECRET, at_once

from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys

KEYS = Keys(SECRET)


def a_key(**changes: object) -> once.Key:
    """A key that nobody has used."""
    first = once.Key("1", "user:7", "POST /api/orders", f"key-{new_id()}", b"what was asked", timedelta(days=1))
    return replace(first, **changes)


async def claimed(db: Database, key: once.Key, subject: str | None = "order-1", keys: Keys = KEYS) -> once.Found | None:
    async with db.transaction("claim") as tx:
        return await once.claim(tx, keys, key, subject)


async def answered(db: Database, key: once.Key, status: int, body: bytes, keys: Keys = KEYS) -> None:
    async with db.transaction("answer") as tx:
        await once.answer(tx, keys, key, status, body)


async def test_the_first_claim_is_ours(db: Database) -> None:
    assert await claimed(db, a_key()) is None


async def test_a_key_that_nobody_used_is_not_found(db: Database) -> None:
    assert await once.find(db, KEYS, a_key()) is None


async def test_a_repeat_before_the_answer_is_told_that_it_runs_and_for_what(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    again = await claimed(db, key, subject="another")
    assert again is not None
    assert (again.state, again.subject, again.status, again.body) == ("running", "order-1", None, None)
    assert again.age_s >= 0


async def test_a_repeat_after_the_answer_gets_it_byte_for_byte(db: Database) -> None:
    key, body = a_key(), bytes(range(256))
    await claimed(db, key)
    await answered(db, key, 201, body)
    again = await claimed(db, key)
    assert again is not None
    assert (again.state, again.subject, again.status, again.body) == ("done", "order-1", 201, body)


async def test_the_first_answer_stays(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    await answered(db, key, 201, b"first")
    await answered(db, key, 500, b"second")
    found = await once.find(db, KEYS, key)
    assert found is not None
    assert (found.status, found.body) == (201, b"first")


async def test_a_promise_is_told_until_the_answer_is_there(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    async with db.transaction("accept") as tx:
        await once.accept(tx, key)
    found = await once.find(db, KEYS, key)
    assert found is not None
    assert found.state == "accepted"
    await answered(db, key, 200, b"done")
    found = await once.find(db, KEYS, key)
    assert found is not None
    assert found.state == "done"
    async with db.transaction("accept") as tx:
        await once.accept(tx, key)
    found = await once.find(db, KEYS, key)
    assert found is not None
    assert found.state == "done", "a late promise takes no answer away"


async def test_the_same_key_with_another_payload_is_refused_and_nothing_is_done(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    with pytest.raises(once.KeyReused):
        await claimed(db, replace(key, payload=b"something else"))
    with pytest.raises(once.KeyReused):
        await once.find(db, KEYS, replace(key, payload=b"something else"))
    assert (await once.find(db, KEYS, key)) is not None


@pytest.mark.parametrize("other", [{"merchant_id": "2"}, {"caller": "user:8"}, {"operation": "POST /api/cart/items"}])
async def test_another_merchant_caller_or_operation_has_keys_of_its_own(db: Database, other: dict[str, str]) -> None:
    key = a_key()
    await claimed(db, key)
    assert await claimed(db, replace(key, **other, payload=b"something else")) is None


async def test_what_rolls_back_has_claimed_nothing(db: Database) -> None:
    key = a_key()
    with pytest.raises(ZeroDivisionError):
        async with db.transaction("claim") as tx:
            assert await once.claim(tx, KEYS, key) is None
            raise ZeroDivisionError
    assert await claimed(db, key) is None


async def test_fifty_at_once_one_wins_and_all_others_are_told_of_it(db: Database) -> None:
    key = a_key()

    async def patiently(subject: str) -> once.Found | None:
        """As a caller: whoever is told that the first one is still running asks again. A second may be short on a busy machine."""
        while True:
            with contextlib.suppress(once.InProgress):
                return await claimed(db, key, subject=subject)

    found = await at_once(*(patiently(str(n)) for n in range(50)))
    assert found.count(None) == 1
    winner = str(found.index(None))
    assert {each.subject for each in found if each is not None} == {winner}


async def test_fifty_at_once_with_different_payloads_one_wins_and_all_others_are_refused(db: Database) -> None:
    key = a_key()
    found = await at_once(*(claimed(db, replace(key, payload=b"%d" % n)) for n in range(50)))
    assert found.count(None) == 1
    assert sum(isinstance(each, once.KeyReused) for each in found) == 49


async def test_whoever_meets_an_uncommitted_claim_waits_for_it(db: Database) -> None:
    key, told = a_key(), asyncio.Event()

    async def first() -> None:
        async with db.transaction("first") as tx:
            await once.claim(tx, KEYS, key, "first")
            told.set()
            await asyncio.sleep(0.2)
            await once.answer(tx, KEYS, key, 200, b"first")

    async def second() -> once.Found | None:
        await told.wait()
        return await claimed(db, key, "second")

    _, found = await asyncio.gather(first(), second())
    assert found is not None
    assert (found.state, found.body) == ("done", b"first")


async def test_if_the_first_one_rolls_back_the_one_who_waited_has_it(db: Database) -> None:
    key, told = a_key(), asyncio.Event()

    async def first() -> None:
        async with db.transaction("first") as tx:
            await once.claim(tx, KEYS, key, "first")
            told.set()
            await asyncio.sleep(0.1)
            raise ZeroDivisionError

    async def second() -> once.Found | None:
        await told.wait()
        return await claimed(db, key, "second")

    results = await asyncio.gather(first(), second(), return_exceptions=True)
    assert results[1] is None


async def test_whoever_waited_a_second_is_sent_away_and_leaves_nothing_open(db: Database) -> None:
    key, told, enough = a_key(), asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with db.transaction("first") as tx:
            await once.claim(tx, KEYS, key, "first")
            told.set()
            await enough.wait()

    leading = asyncio.create_task(first())
    await told.wait()
    began = asyncio.get_running_loop().time()
    with pytest.raises(once.InProgress):
        await claimed(db, key, "second")
    assert 0.9 <= asyncio.get_running_loop().time() - began < 5
    enough.set()
    await leading
    found = await once.find(db, KEYS, key)
    assert found is not None
    assert found.subject == "first"
    assert await db.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'") == 0


async def test_an_expired_key_is_as_if_it_had_never_been(db: Database) -> None:
    key = a_key(keep=timedelta(seconds=-1))
    await claimed(db, key)
    await answered(db, key, 200, b"old")
    assert await once.find(db, KEYS, key) is None
    fresh = replace(key, keep=timedelta(days=1), payload=b"new")
    assert await claimed(db, fresh, "order-2") is None
    found = await once.find(db, KEYS, fresh)
    assert found is not None
    assert (found.state, found.subject, found.body) == ("running", "order-2", None)


async def test_an_expired_key_is_claimed_by_one_of_fifty(db: Database) -> None:
    key = a_key(keep=timedelta(seconds=-1))
    await claimed(db, key)
    found = await at_once(*(claimed(db, replace(key, keep=timedelta(days=1)), str(n)) for n in range(50)))
    assert found.count(None) == 1


async def test_the_sweep_forgets_what_is_expired_and_nothing_else(db: Database) -> None:
    old, live = a_key(keep=timedelta(seconds=-1)), a_key()
    await claimed(db, old)
    await claimed(db, live)
    assert await once.sweep(db) >= 1
    left = await db.rows("SELECT key FROM idempotency_keys WHERE key = ANY ($1)", [old.key, live.key])
    assert [row["key"] for row in left] == [live.key]


async def test_the_sweep_takes_no_more_than_it_is_told(db: Database) -> None:
    for _ in range(3):
        await claimed(db, a_key(keep=timedelta(seconds=-1)))
    assert await once.sweep(db, limit=2) == 2
    await once.sweep(db)


async def test_an_answer_is_encrypted_at_rest(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    await answered(db, key, 200, b'{"email": "ann@example.com"}')
    row = await db.row("SELECT * FROM idempotency_keys WHERE key = $1", key.key)
    assert row is not None
    assert b"ann@example.com" not in bytes(row["answer"])
    assert "ann@example.com" not in str(dict(row))


async def test_an_answer_opens_for_its_own_key_only(db: Database) -> None:
    one, other = a_key(), a_key()
    for key in (one, other):
        await claimed(db, key)
        await answered(db, key, 200, key.key.encode())
    await db.execute(
        "UPDATE idempotency_keys SET answer = (SELECT answer FROM idempotency_keys WHERE key = $1) WHERE key = $2",
        one.key,
        other.key,
    )
    with pytest.raises(once.InProgress):
        await once.find(db, KEYS, other)


async def test_while_the_secret_is_rotated_the_first_answer_is_still_given(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    await answered(db, key, 200, b"first")
    found = await once.find(db, Keys(b"n" * 32, old=SECRET), key)
    assert found is not None
    assert found.body == b"first"


def rotated(key: once.Key) -> once.Key:
    """The same request, hashed with a new secret, that still knows how the old one hashed it."""
    return replace(key, payload=b"hashed anew: " + key.payload, before=key)


async def test_while_the_secret_is_rotated_a_repeat_is_recognised_though_it_is_hashed_anew(db: Database) -> None:
    key, keys = a_key(), Keys(b"n" * 32, old=SECRET)
    await claimed(db, key)
    await answered(db, key, 200, b"first")
    found = await claimed(db, rotated(key), "another", keys)
    assert found is not None
    assert (found.state, found.subject, found.body) == ("done", "order-1", b"first")
    with pytest.raises(once.KeyReused):
        await claimed(db, replace(rotated(key), payload=b"other", before=replace(key, payload=b"another")), keys=keys)


async def test_while_the_secret_is_rotated_a_new_key_is_kept_as_the_new_secret_hashes_it(db: Database) -> None:
    key, keys = a_key(), Keys(b"n" * 32, old=SECRET)
    assert await claimed(db, rotated(key), keys=keys) is None
    await answered(db, rotated(key), 200, b"first", keys)
    after_the_rotation = replace(rotated(key), before=None)
    found = await once.find(db, Keys(b"n" * 32), after_the_rotation)
    assert found is not None
    assert found.body == b"first"


async def test_while_the_secret_is_rotated_one_of_fifty_wins(db: Database) -> None:
    key = a_key()
    found = await at_once(*(claimed(db, rotated(key), str(n)) for n in range(50)))
    assert found.count(None) == 1


async def test_without_the_old_secret_the_effect_stands_and_is_not_repeated(db: Database) -> None:
    key = a_key()
    await claimed(db, key)
    await answered(db, key, 200, b"first")
    with pytest.raises(once.InProgress):
        await claimed(db, key, keys=Keys(b"n" * 32))


async def test_the_age_of_a_claim_tells_that_its_owner_died(ctx: Context) -> None:
    key = a_key()
    await claimed(ctx.db, key)
    await ctx.db.execute("UPDATE idempotency_keys SET created_at = created_at - interval '16 s' WHERE key = $1", key.key)
    found = await once.find(ctx.db, KEYS, key)
    assert found is not None
    assert once.DEAD_AFTER_S < found.age_s < 60
