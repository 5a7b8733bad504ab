"""A payment under the caller's own key: one for ever, whatever is asked at once, and whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.factories import ScriptedExternal, ScriptedLinks, Till, at_once, open_till, world
from tests.rig import DatabaseServer, with_database

from kassa import collect
from kassa.collect import CollectRules, Keyed, KeyedWish, PaymentMissing, by_key, sweep_payments
from kassa.events import FanOut
from kassa.kit import clock, once
from kassa.kit.database import CommitUnknown, Database, DatabaseAway
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.payments import requests


def wish(till: Till, key: str = "key-00001", amount: int = 1_250, order_id: str = "order-1", **metadata: str) -> KeyedWish:
    return KeyedWish(till.merchant_id, Money(amount, "USD"), order_id, key, metadata)


async def ask(till: Till, *args: Any, **metadata: Any) -> Keyed:
    return await collect.request_by_key(till.ctx, wish(till, *args, **metadata))


async def test_a_payment_is_made_with_what_was_said(till: Till) -> None:
    made = await ask(till, colour="blue", shape="round")
    payment, key = await collect.read_keyed(till.ctx, till.merchant_id, made.payment_id, keyed_only=True)
    assert (payment.status, payment.amount_minor, payment.currency, payment.ref, payment.ref_kind) == (
        "opened", 1_250, "USD", "order-1", "grpc",
    )  # fmt: skip
    assert (key, payment.created_at, made.replayed) == ("key-00001", made.created_at, False)
    assert await till.told(payment) == ["payment.created"]
    assert await till.used() == 0, "tokens are not spent here"


async def test_fifty_at_once_are_one_payment_and_fifty_equal_answers(till: Till) -> None:
    answers = await at_once(*(ask(till) for _ in range(50)))
    assert Counter((each.payment_id, each.created_at) for each in answers).most_common()[0][1] == 50
    assert Counter(each.replayed for each in answers) == {False: 1, True: 49}
    assert len(await till.payments()) == 1


@pytest.mark.parametrize(
    "other",
    [{"amount": 1_251}, {"order_id": "order-2"}, {"colour": "red"}, {"colour": "blue", "shape": "round"}, {"currency": "EUR"}, {"nothing": ""}],
    ids=str,
)  # fmt: skip
async def test_anything_else_under_the_key_is_another_payload_and_executes_nothing(till: Till, other: dict[str, Any]) -> None:
    first = await ask(till, colour="blue")
    asked = wish(
        till, **{"colour": "blue", **{name: value for name, value in other.items() if name not in {"currency", "nothing"}}}
    )
    if "currency" in other:
        asked = KeyedWish(till.merchant_id, Money(1_250, "EUR"), "order-1", "key-00001", {"colour": "blue"})
    if "nothing" in other:
        asked = wish(till)
    with pytest.raises(once.KeyReused):
        await collect.request_by_key(till.ctx, asked)
    assert [payment.payment_id for payment in await till.payments()] == [first.payment_id]


@pytest.mark.parametrize("metadata", [{"a": "1", "b": "2"}, {"é": "ü\x00", "": ""}, {str(n): "x" * 512 for n in range(50)}])
async def test_the_order_of_metadata_does_not_matter_and_every_character_is_kept(till: Till, metadata: Mapping[str, str]) -> None:
    first = await collect.request_by_key(till.ctx, KeyedWish(till.merchant_id, Money(1, "USD"), "o", "key-00001", metadata))
    turned = dict(sorted(metadata.items(), reverse=True))
    again = await collect.request_by_key(till.ctx, KeyedWish(till.merchant_id, Money(1, "USD"), "o", "key-00001", turned))
    assert (again.payment_id, again.created_at, again.replayed) == (first.payment_id, first.created_at, True)


async def test_fifty_at_once_with_two_payloads_are_one_payment(till: Till) -> None:
    answers = await at_once(*(ask(till, "key-00001", 100 + n % 2) for n in range(50)))
    made = [each for each in answers if isinstance(each, Keyed)]
    assert len({each.payment_id for each in made}) == 1
    assert (len(made), sum(isinstance(each, once.KeyReused) for each in answers)) == (25, 25)
    assert len(await till.payments()) == 1


async def test_one_order_has_as_many_payments_as_keys(till: Till) -> None:
    answers = await at_once(*(ask(till, f"key-{n:05d}") for n in range(20)))
    assert len({each.payment_id for each in answers}) == 20
    assert await till.requested("order-1"), "and one that holds the reference of the payments contract"


async def test_keys_of_other_merchants_and_of_http_never_meet(till: Till) -> None:
    other = await open_till(till.ctx)
    mine, theirs = await ask(till), await ask(other)
    over_http = await till.requested("order-1", key="key-00001")
    assert len({mine.payment_id, theirs.payment_id, over_http.payment_id}) == 3
    assert await other.breaches() == []


async def test_the_first_answer_is_given_whatever_has_happened_since_and_for_ever(alone: Till) -> None:
    first = await ask(alone)
    assert await sweep_payments(alone.ctx) == 1
    assert (await alone.payment(first.payment_id)).status == "paid"
    await alone.given_back(await alone.payment(first.payment_id))
    await clock.move(alone.db, timedelta(days=4000))
    await once.sweep(alone.db)
    again = await ask(alone)
    assert (again.payment_id, again.created_at, again.replayed) == (first.payment_id, first.created_at, True)
    with pytest.raises(once.KeyReused):
        await ask(alone, "key-00001", 7)


@contextlib.asynccontextmanager
async def not_committed(till: Till, asked: KeyedWish) -> AsyncIterator[None]:
    """Somebody else is in the middle of making the payment of this key, until the block ends."""
    opened, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with till.db.transaction("collect.keyed") as tx:
            await requests.open_requested(tx, by_key._opening(till.ctx, asked, new_id()), by_key._asked(till.ctx, asked))
            opened.set()
            await go_on.wait()

    running = asyncio.create_task(slow())
    await opened.wait()
    try:
        yield
    finally:
        go_on.set()
        await running


async def test_a_repeat_of_one_that_is_not_committed_waits_a_second_and_is_sent_away(till: Till) -> None:
    async with not_committed(till, wish(till)):
        began = asyncio.get_running_loop().time()
        with pytest.raises(once.InProgress):
            await ask(till)
        assert 0.8 < asyncio.get_running_loop().time() - began < 4
    assert (await ask(till)).replayed


async def test_repeats_that_take_every_connection_are_sent_away_all_the_same(alone: Till, database_server: DatabaseServer) -> None:
    """Whoever looks whether they wait for somebody finds no connection left; they must not keep everybody else out for long."""
    name = await alone.db.value("SELECT current_database()")
    narrow = await Database.connect(with_database(database_server.dsn, name), size=2)
    there = alone.at(world(narrow, providers=[ScriptedLinks()]))
    try:
        async with not_committed(alone, wish(alone)):
            began = asyncio.get_running_loop().time()
            answers = await at_once(*(ask(there) for _ in range(2)))
            took = asyncio.get_running_loop().time() - began
        assert [type(each) for each in answers] == [once.InProgress] * 2
        assert took < 4, f"{took:.1f} s"
    finally:
        await narrow.close()


def breaks(monkeypatch: pytest.MonkeyPatch, *, written: bool) -> None:
    """The connection breaks while the one statement is under way: it was carried out, or it was not, and nobody can say."""
    does = Database.at_once

    async def breaks_off(*args: Any, **more: Any) -> Any:
        if written:
            await does(*args, **more)
        raise CommitUnknown

    monkeypatch.setattr(Database, "at_once", breaks_off)


async def test_one_that_was_not_written_leaves_the_key_free(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch, written=False)
    with pytest.raises(DatabaseAway):  # it did not happen: the same request may be sent again
        await ask(till)
    monkeypatch.undo()
    assert await till.payments() == []
    assert not (await ask(till, "key-00001", 77)).replayed


async def test_one_that_was_written_and_that_nobody_saw_is_looked_up(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch, written=True)
    made = await ask(till)
    monkeypatch.undo()
    assert not made.replayed
    assert [payment.payment_id for payment in await till.payments()] == [made.payment_id]


async def test_what_follows_from_its_event_is_written_by_the_same_statement(till: Till) -> None:
    heard = """
        heard AS (INSERT INTO event_counters (merchant_id, subject, last)
                  SELECT merchant_id, 'heard ' || type || ' ' || event_id, sequence FROM event_recorded)
    """
    before = till.db.statements
    await ask(till)
    statements = till.db.statements - before
    till.db.ports[FanOut] = FanOut((heard,))
    try:
        before = till.db.statements
        first = await ask(till, "key-00002")
        assert till.db.statements - before == statements
        answers = await at_once(*(ask(till, "key-00002") for _ in range(20)))
    finally:
        del till.db.ports[FanOut]
    assert not first.replayed
    assert all(each.replayed for each in answers)
    rows = await till.db.rows(
        "SELECT type, sequence, data::jsonb - 'payment_id' AS data FROM events WHERE merchant_id = $1 AND type = 'payment.created'",
        till.merchant_id,
    )
    assert len(rows) == 2
    assert dict(rows[0].items()) == dict(rows[1].items())
    told = await till.db.rows(
        "DELETE FROM event_counters WHERE merchant_id = $1 AND starts_with(subject, 'heard payment.created ') RETURNING last",
        till.merchant_id,
    )
    assert [row["last"] for row in told] == [1]


async def test_a_caller_who_leaves_at_any_moment_leaves_one_payment_or_none(till: Till) -> None:
    for turns in range(0, 60, 2):
        asking = asyncio.create_task(ask(till, f"key-{turns:05d}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    again = [await ask(till, f"key-{turns:05d}") for turns in range(0, 60, 2)]
    assert len({each.payment_id for each in again}) == len(await till.payments()) == 30


@pytest.mark.parametrize(
    ("amount", "metadata", "status", "reason"),
    [
        (1_250, {}, "paid", None),
        (2, {}, "declined", "payment_declined"),
        (10_002, {}, "declined", "payment_declined"),
        (20, {}, "paid", None),
        (1_202, {"simulate": "something"}, "declined", "payment_declined"),
        (1_250, {"simulate": "decline"}, "declined", "payment_declined"),
        (1_202, {"simulate": "wait"}, "opened", None),
        (1_250, {"Simulate": "decline"}, "paid", None),
    ],
    ids=str,
)
async def test_the_stand_in_follows_the_script_of_its_contract(
    alone: Till, amount: int, metadata: dict[str, str], status: str, reason: str | None
) -> None:
    made = await collect.request_by_key(alone.ctx, wish(alone, "key-00001", amount, "order-1", **metadata))
    await sweep_payments(alone.ctx)
    payment = await alone.payment(made.payment_id)
    assert (payment.status, payment.reason) == (status, reason)
    assert await alone.shop.entries(made.payment_id) == ([("capture", amount)] if status == "paid" else [])
    assert await alone.told(payment) == [
        "payment.created",
        *({"paid": ["payment.paid"], "declined": ["payment.declined"]}.get(status, [])),
    ]


@pytest.mark.parametrize("external", [True, False])
async def test_one_that_waits_is_closed_at_its_end_and_a_late_yes_still_wins(alone: Till, external: bool) -> None:
    rules = CollectRules(link_ttl=timedelta(hours=2), keyed_provider="external" if external else "simulated")
    till = alone.at(world(alone.db, providers=[ScriptedExternal(), ScriptedLinks()], collecting=rules))
    made = await ask(till, simulate="wait")
    await clock.move(alone.db, timedelta(hours=1, minutes=59))
    await sweep_payments(till.ctx)
    assert (await till.payment(made.payment_id)).status == "opened"
    await clock.move(alone.db, timedelta(minutes=2))
    assert await sweep_payments(till.ctx) == 1
    payment = await till.payment(made.payment_id)
    assert (payment.status, payment.reason) == ("expired", "expired")
    assert await till.told(payment) == ["payment.created", "payment.expired"]
    late = (await till.report(made.payment_id)) if external else None
    if late is None:
        await collect.decide(till.ctx, made.payment_id, "paid", "seen on the statement")
    assert (await till.payment(made.payment_id)).status == "paid"


async def test_a_payment_is_read_by_its_merchant_alone(till: Till) -> None:
    other = await open_till(till.ctx)
    made, over_http = await ask(till), await till.requested("A-1")
    for stranger, payment_id, keyed_only in (
        (other.merchant_id, made.payment_id, True), (other.merchant_id, over_http.payment_id, False),
        (till.merchant_id, over_http.payment_id, True), (till.merchant_id, new_id(), False),
    ):  # fmt: skip
        with pytest.raises(PaymentMissing):
            await collect.read_keyed(till.ctx, stranger, payment_id, keyed_only=keyed_only)
    found, key = await collect.read_keyed(till.ctx, till.merchant_id, over_http.payment_id, keyed_only=False)
    assert (found.payment_id, key) == (over_http.payment_id, "")
