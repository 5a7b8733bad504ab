"""The operator's default endpoint: one hidden row for each merchant without an endpoint, and one secret for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from tests.factories import at_once, world
from tests.rig import DatabaseServer
from tests.store.webhooks.conftest import Desk, add_merchant, open_database, with_rules

from kassa import webhooks
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.secrets import Keys
from kassa.webhooks import Endpoint
from kassa.webhooks.model import EndpointMissing, SecretLost
from kassa.webhooks.sign import new_secret, open_secret

CALLBACK = "http://operator:8000/api/v1/payments/update"


@pytest.fixture
def dsn(database_server: DatabaseServer) -> str:
    return database_server.fresh()


@pytest_asyncio.fixture(loop_scope="session")
async def db(dsn: str) -> AsyncIterator[Database]:
    """A database alone, with three merchants."""
    db = await open_database(dsn, size=12)
    for merchant_id in ("1", "2", "7"):
        await add_merchant(db, merchant_id)
    yield db
    await db.close()


def house(db: Database, **rules: Any) -> Context:
    return with_rules(world(db), **{"callback_url": CALLBACK, **rules})


async def hidden(db: Database, merchant_id: str) -> Endpoint:
    (found,) = [each for each in await webhooks.all_endpoints(db, merchant_id, 100) if each.hidden]
    return found


async def secrets_of(ctx: Context) -> set[str]:
    found = [each for each in await webhooks.all_endpoints(ctx.db, None, 1000) if each.hidden]
    return {open_secret(ctx.keys, each.endpoint_id, each.secret) for each in found}


async def test_every_merchant_has_one_and_a_merchant_that_comes_later_too(db: Database) -> None:
    ctx = house(db, callback_events=("payment.paid",))
    assert await webhooks.ensure_callbacks(ctx) == 3
    assert await webhooks.ensure_callbacks(ctx) == 0
    await add_merchant(db, "42")
    assert await webhooks.ensure_callbacks(ctx) == 1
    found = await webhooks.all_endpoints(db, None, 100)
    assert [each.merchant_id for each in found] == ["1", "2", "7", "42"]
    for each in found:
        assert (each.url, each.events, each.format, each.ordered, each.hidden) == (
            CALLBACK,
            ("payment.paid",),
            "payment",
            True,
            True,
        )
    assert len(await secrets_of(ctx)) == 1
    assert {await webhooks.callback_secret(ctx)} == await secrets_of(ctx)


async def test_merchants_do_not_see_it_and_cannot_touch_it(db: Database) -> None:
    ctx = house(db)
    await webhooks.ensure_callbacks(ctx)
    desk, there = Desk(ctx, "1"), await hidden(db, "1")
    assert await webhooks.endpoints_of(db, "1") == []
    for act in (desk.look, desk.delete, desk.enable, desk.disable):
        with pytest.raises(EndpointMissing):
            await act(there)
    assert len([await desk.make() for _ in range(10)]) == 10, "it is not counted among the ten"
    assert await hidden(db, "1") == there


async def test_it_is_told_only_while_the_merchant_has_no_endpoint_of_its_own(db: Database) -> None:
    ctx = house(db, callback_events=("*",))
    await webhooks.ensure_callbacks(ctx)
    desk, there = Desk(ctx, "1"), await hidden(db, "1")
    await desk.tell("payment.created")
    own = await desk.make(events=("order.*",))
    await desk.tell("payment.created")
    await desk.disable(own)
    await desk.tell("payment.created")
    assert len(await desk.deliveries(there)) == 1, "an endpoint that is disabled, or wants other things, counts"
    await desk.delete(own)
    await desk.tell("payment.created", "order.paid")
    assert [row["event_type"] for row in await desk.deliveries(there)] == ["payment.created", "payment.created", "order.paid"]


async def test_two_processes_at_once_agree_on_one_secret(db: Database, dsn: str) -> None:
    for number in range(20, 40):
        await add_merchant(db, str(number))
    others = [await Database.connect(dsn, size=4) for _ in range(4)]
    try:
        made = await at_once(*(webhooks.ensure_callbacks(house(each)) for each in (db, *others)))
        assert sum(made) == 23
        assert len(await secrets_of(house(db))) == 1
    finally:
        for each in others:
            await each.close()


async def test_a_merchant_that_is_added_while_the_first_secret_is_made_gets_the_same(db: Database, dsn: str) -> None:
    other = await Database.connect(dsn, size=4)

    async def join(number: int) -> None:
        await add_merchant(other, str(number))
        await webhooks.ensure_callbacks(house(other))

    try:
        await at_once(webhooks.ensure_callbacks(house(db)), *(join(number) for number in (0, 3, 4)))
        await webhooks.ensure_callbacks(house(db))
        assert len(await webhooks.all_endpoints(db, None, 100)) == 6
        assert len(await secrets_of(house(db))) == 1
    finally:
        await other.close()


async def test_the_secret_that_was_made_is_kept_over_restarts_and_over_a_time_without(db: Database) -> None:
    await webhooks.ensure_callbacks(house(db))
    secrets = await secrets_of(house(db))
    assert await webhooks.ensure_callbacks(house(db, callback_url=None)) == 3
    assert await webhooks.all_endpoints(db, None, 100) == []
    assert {await webhooks.callback_secret(house(db, callback_url=None))} == secrets
    assert await webhooks.ensure_callbacks(house(db)) == 3
    assert await secrets_of(house(db)) == secrets


async def test_without_the_setting_there_is_none_and_no_secret(db: Database) -> None:
    ctx = house(db, callback_url=None)
    assert await webhooks.ensure_callbacks(ctx) == 0
    assert await webhooks.callback_secret(ctx) is None


async def test_a_secret_that_is_given_is_used_and_the_one_before_signs_on_for_a_day(db: Database) -> None:
    await webhooks.ensure_callbacks(house(db))
    (made,) = await secrets_of(house(db))
    given = new_secret()
    ctx = house(db, callback_secret=given)
    assert await webhooks.ensure_callbacks(ctx) == 3
    assert await webhooks.ensure_callbacks(ctx) == 0
    assert await secrets_of(ctx) == {given}
    there = await hidden(db, "2")
    assert there.old_secret is not None
    assert open_secret(ctx.keys, there.endpoint_id, there.old_secret) == made
    assert given not in repr(ctx.ports)


async def test_a_secret_that_is_no_longer_given_is_replaced_by_one_that_is_made(db: Database) -> None:
    given = new_secret()
    await webhooks.ensure_callbacks(house(db, callback_secret=given))
    assert await webhooks.ensure_callbacks(house(db)) == 3
    (made,) = await secrets_of(house(db))
    assert made != given
    assert await webhooks.ensure_callbacks(house(db)) == 0


async def test_it_follows_the_settings_and_stays_disabled(db: Database) -> None:
    await webhooks.ensure_callbacks(house(db))
    there = await hidden(db, "2")
    async with db.transaction("switch") as tx:
        await webhooks.disable_endpoint(tx, "2", there.endpoint_id, hidden=True)
    ctx = house(db, callback_url=CALLBACK + "/2", callback_events=("*",))
    assert await webhooks.ensure_callbacks(ctx) == 3
    now = await hidden(db, "2")
    assert (now.endpoint_id, now.url, now.events, now.status) == (there.endpoint_id, CALLBACK + "/2", ("*",), "disabled")
    assert await secrets_of(ctx) == {open_secret(ctx.keys, there.endpoint_id, there.secret)}


async def test_what_was_on_its_way_there_fails_when_the_setting_goes(db: Database) -> None:
    ctx = house(db, callback_events=("*",))
    await webhooks.ensure_callbacks(ctx)
    desk, there = Desk(ctx, "1"), await hidden(db, "1")
    await desk.tell("payment.created")
    await webhooks.ensure_callbacks(house(db, callback_url=None))
    assert [(row["status"], row["last_error"]) for row in await desk.deliveries(there)] == [("failed", "endpoint_deleted")]


async def test_a_secret_that_cannot_be_opened_stops_the_start_and_another_may_be_given(db: Database) -> None:
    await webhooks.ensure_callbacks(house(db))
    lost = replace(house(db), keys=Keys(b"another secret of thirty-two b.."))
    with pytest.raises(SecretLost):
        await webhooks.ensure_callbacks(lost)
    given = new_secret()
    helped = replace(house(db, callback_secret=given), keys=lost.keys)
    assert await webhooks.ensure_callbacks(helped) == 3
    assert await secrets_of(helped) == {given}
    assert await webhooks.ensure_callbacks(replace(house(db), keys=lost.keys)) == 3, "and then be made anew"


async def test_an_installation_without_merchants_has_none(database_server: DatabaseServer) -> None:
    db = await open_database(database_server.fresh(), size=4)
    try:
        assert await webhooks.ensure_callbacks(house(db)) == 0
    finally:
        await db.close()
