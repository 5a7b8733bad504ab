"""Writes that travel together: one statement in the order in which they were left, all of it or nothing."""

from __future__ import annotations

import asyncio
import contextvars
import time
from datetime import timedelta

import pytest
from tests.factories import SECRET, Shop

from kassa import catalog
from kassa.catalog import StockMoved
from kassa.events import Event, record
from kassa.kit import once
from kassa.kit.database import Tx
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.kit.writes import Write, compose

KEYS = Keys(SECRET)


def a_key(shop: Shop) -> once.Key:
    return once.Key(shop.merchant_id, "user:7", "POST /checkout/process", f"key-{new_id()}", b"asked", timedelta(days=1))


async def hold(tx: Tx, shop: Shop, **wanted: int) -> None:
    assert await catalog.reserve_later(tx, shop.channel, new_id(), await shop.holds(**wanted), None) == []


async def test_a_transaction_of_writes_alone_is_one_statement(shop: Shop) -> None:
    holds, key, subject = await shop.holds(mouse=3), a_key(shop), f"thing:{new_id()}"
    before = shop.db.statements
    async with shop.db.transaction("together") as tx:
        await once.claim_later(tx, KEYS, key, "it")
        await catalog.reserve_later(tx, shop.channel, new_id(), holds, None)
        record(tx, Event(shop.merchant_id, subject, "thing.held", {}))
    assert shop.db.statements - before == 1
    assert await shop.level("mouse") == (100, 3)
    assert await shop.events(subject) == [(1, "thing.held")]


async def test_what_is_not_met_undoes_all_of_it_in_memory_too(shop: Shop) -> None:
    key, memory = a_key(shop), ["as it was"]
    with pytest.raises(StockMoved):
        async with shop.db.transaction("together") as tx:
            tx.if_undone("memory", lambda: memory.append("as it was"))
            memory.append("changed")
            await once.claim_later(tx, KEYS, key, "it")
            await hold(tx, shop, mouse=101)
    assert await once.find(shop.db, KEYS, key) is None
    assert memory == ["as it was", "changed", "as it was"]


async def test_a_question_sees_what_was_left_before_it(shop: Shop) -> None:
    holds = await shop.holds(mouse=2)
    async with shop.db.transaction("together") as tx:
        await catalog.reserve_later(tx, shop.channel, new_id(), holds, None)
        held = await tx.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", shop.merchant_id)
    assert held == 1


async def test_two_writes_of_one_table_do_not_share_a_statement(shop: Shop) -> None:
    key = a_key(shop)
    async with shop.db.transaction("together") as tx:
        await once.claim_later(tx, KEYS, key, "it")
        await once.answer(tx, KEYS, key, 200, b"bought")
    found = await once.find(shop.db, KEYS, key)
    assert found is not None
    assert (found.state, found.body) == ("done", b"bought")


async def test_a_claim_that_is_not_committed_yet_is_waited_for_one_second(shop: Shop) -> None:
    key = a_key(shop)
    async with shop.db.transaction("first") as tx:
        assert await once.claim(tx, KEYS, key, "first") is None
        began = time.monotonic()
        with pytest.raises(once.InProgress):
            await asyncio.create_task(_claimed_later(shop, key), context=contextvars.Context())  # no transaction is open there
        assert 0.9 < time.monotonic() - began < 5


async def _claimed_later(shop: Shop, key: once.Key) -> None:
    async with shop.db.transaction("second") as tx:
        await once.claim_later(tx, KEYS, key, "second")


def test_parameters_are_numbered_anew() -> None:
    one = Write("a_done", "a_done AS (INSERT INTO a VALUES ($1, $2) RETURNING 1)")
    two = Write("b_done", "b_done AS (UPDATE b SET c = $2 WHERE d = $1 RETURNING 1)", expects="$3", unmet=ValueError)
    sql = compose((one, two))
    assert "UPDATE b SET c = $4 WHERE d = $3" in sql
    assert "= $5 THEN true ELSE kassa_unmet('b_done')" in sql
    assert (two.written, two.width) == ({"b"}, 3)
