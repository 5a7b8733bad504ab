"""Endpoints: at most ten, sealed secrets, what they are told of, and what becomes of deliveries when they are switched or deleted."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from tests.factories import at_once
from tests.store.webhooks.conftest import URL, Desk, add_merchant, open_database, with_rules

from kassa import webhooks
from kassa.events import Event, FanOut, record
from kassa.events.catalogue import STATUS_CHANGES
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks import Change, Endpoint, Wish, store
from kassa.webhooks.model import CallbackUrlRefused, DeliveryMissing, EndpointDisabled, EndpointLimit, EndpointMissing
from kassa.webhooks.sign import open_secret

ALL = ("*",)


# Making


async def test_an_endpoint_is_what_was_asked_for_and_its_secret_is_sealed(desk: Desk) -> None:
    made = await desk.make(events=("payment.*",), format="event", ordered=False, description="the books")
    assert (made.url, made.events, made.format, made.ordered, made.description) == (
        URL,
        ("payment.*",),
        "event",
        False,
        "the books",
    )
    assert (made.status, made.disabled_reason, made.failures, made.hidden, made.deleted_at) == ("enabled", None, 0, False, None)
    assert made.good_at == made.created_at == made.updated_at
    assert await desk.look(made) == made
    secret = desk.secrets[made.endpoint_id]
    assert open_secret(desk.ctx.keys, made.endpoint_id, made.secret) == secret
    row = await desk.db.value("SELECT to_jsonb(e)::text FROM endpoints e WHERE endpoint_id = $1", made.endpoint_id)
    assert secret.removeprefix("whsec_") not in row
    assert "hooks.example.com" not in repr(made)
    assert made.secret.hex()[:20] not in repr(made).encode().hex()


async def test_nothing_said_of_events_means_status_changes(desk: Desk) -> None:
    assert (await desk.make()).events == STATUS_CHANGES


async def test_of_twenty_at_once_ten_are_made(desk: Desk) -> None:
    results = await asyncio.gather(*(desk.make() for _ in range(20)), return_exceptions=True)
    assert sorted(isinstance(each, EndpointLimit) for each in results) == [False] * 10 + [True] * 10
    assert len(await webhooks.endpoints_of(desk.db, desk.merchant_id)) == 10


async def test_a_deleted_one_makes_room_for_another(desk: Desk) -> None:
    made = [await desk.make() for _ in range(10)]
    with pytest.raises(EndpointLimit):
        await desk.make()
    await desk.delete(made[4])
    last = await desk.make()
    assert await webhooks.endpoints_of(desk.db, desk.merchant_id) == [*made[:4], *made[5:], last]


async def test_the_limit_is_each_merchants_own(desk: Desk) -> None:
    other = Desk(desk.ctx, await add_merchant(desk.db, f"{desk.merchant_id}-b"))
    for _ in range(10):
        await desk.make()
    assert (await other.make()).merchant_id == other.merchant_id


async def test_an_address_is_judged_before_anything_is_written(desk: Desk) -> None:
    async def inner(_host: str, _port: int) -> list[str]:
        return ["10.0.0.1"]

    strict = with_rules(desk.ctx, private=False)
    for url, reason in (
        ("http://example.com/", "scheme"),
        ("https://127.1/", "private address"),
        ("https://a.b/", "private address"),
    ):
        with pytest.raises(CallbackUrlRefused) as refused:
            await webhooks.check_url(strict, url, resolve=inner)
        assert (refused.value.reason, refused.value.message) == (reason, f"Callback URL refused: {reason}")
        assert refused.value.details == {}
    await webhooks.check_url(desk.ctx, "http://127.0.0.1:9/", resolve=inner)


# What they are told of


async def test_patterns_choose_the_events(desk: Desk) -> None:
    one, family, everything, none = [
        await desk.make(events=events) for events in (("payment.paid",), ("payment.*",), ALL, ("order.*", "payment.declined"))
    ]
    subject = await desk.tell("payment.created", "payment.paid", "refund.created")
    assert [row["event_type"] for row in await desk.deliveries(one)] == ["payment.paid"]
    assert [row["event_type"] for row in await desk.deliveries(family)] == ["payment.created", "payment.paid"]
    assert [row["sequence"] for row in await desk.deliveries(everything)] == [1, 2, 3]
    assert {row["subject"] for row in await desk.deliveries(everything)} == {subject}
    assert await desk.deliveries(none) == []


async def test_a_delivery_is_due_at_once_and_its_id_follows_from_its_event(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.paid")
    (row,) = await desk.deliveries(endpoint)
    assert (row["status"], row["attempts"], row["replayed"]) == ("pending", 0, False)
    assert row["next_at"] == row["created_at"]
    assert row["delivery_id"].version == 7
    assert str(row["delivery_id"])[:18] == str(row["event_id"])[:18]


async def test_an_endpoint_gets_only_what_comes_after_it(desk: Desk) -> None:
    subject = await desk.tell("payment.created")
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.paid", subject=subject)
    assert [row["sequence"] for row in await desk.deliveries(endpoint)] == [2]


async def test_a_strangers_events_are_not_told(desk: Desk) -> None:
    other = Desk(desk.ctx, await add_merchant(desk.db, f"{desk.merchant_id}-b"))
    mine, theirs = await desk.make(events=ALL), await other.make(events=ALL)
    await desk.tell("payment.paid")
    assert (await desk.states(mine), await other.states(theirs)) == (["pending"], [])


# Changing


async def test_a_change_changes_what_it_names(desk: Desk) -> None:
    made = await desk.make(description="old")

    async def change(**what: object) -> Endpoint:
        found: Endpoint = await desk.do(webhooks.change_endpoint, desk.merchant_id, made.endpoint_id, Change(**what))  # type: ignore[arg-type]
        return found

    assert (await change(url=URL + "/2")).url == URL + "/2"
    assert (await change(events=("order.*",))).events == ("order.*",)
    assert (await change(ordered=False)).ordered is False
    assert (await change(description="new", describe=True)).description == "new"
    last = await change(describe=True)
    assert (last.url, last.events, last.ordered, last.description) == (URL + "/2", ("order.*",), False, None)
    assert last.updated_at > made.updated_at


async def test_another_address_begins_with_good_health_and_the_same_one_does_not(desk: Desk) -> None:
    made = await desk.make()
    await desk.db.execute(
        "UPDATE endpoints SET failures = 12, throttled = true, pause_s = 60, paused_until = now(), attempts_since_success = 12,"
        " good_at = good_at - interval '4 days' WHERE endpoint_id = $1",
        made.endpoint_id,
    )
    for url, failures in ((URL, 12), (URL + "/2", 0)):
        found = await desk.do(webhooks.change_endpoint, desk.merchant_id, made.endpoint_id, Change(url=url))
        assert (found.failures, found.throttled, found.attempts_since_success) == (failures, failures > 0, failures)
    assert found.paused_until is None
    assert found.good_at > made.good_at


# Secrets


async def test_a_rotated_secret_signs_beside_the_old_one_for_a_while(desk: Desk) -> None:
    made = await desk.make()
    rotated, secret = await desk.do(webhooks.rotate_secret, desk.ctx.keys, desk.merchant_id, made.endpoint_id, 60)
    assert open_secret(desk.ctx.keys, made.endpoint_id, rotated.secret) == secret != desk.secrets[made.endpoint_id]
    assert open_secret(desk.ctx.keys, made.endpoint_id, rotated.old_secret) == desk.secrets[made.endpoint_id]
    assert rotated.old_secret_until - rotated.updated_at == timedelta(seconds=60)
    at_once_, _ = await desk.do(webhooks.rotate_secret, desk.ctx.keys, desk.merchant_id, made.endpoint_id, 0)
    assert (at_once_.old_secret, at_once_.old_secret_until) == (None, None)


async def test_of_two_rotations_at_once_the_second_keeps_the_first_ones_secret_as_the_old_one(desk: Desk) -> None:
    made = await desk.make()
    results = await at_once(
        *(desk.do(webhooks.rotate_secret, desk.ctx.keys, desk.merchant_id, made.endpoint_id, 60) for _ in range(2))
    )
    now = await desk.look(made)
    secrets = {secret for _, secret in results}
    assert now.old_secret is not None
    kept = {open_secret(desk.ctx.keys, made.endpoint_id, sealed) for sealed in (now.secret, now.old_secret)}
    assert kept == secrets, "the one that was there before both is forgotten"


# Disabling, enabling


async def test_while_disabled_events_are_kept_blocked_and_enabled_they_are_due(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    disabled = await desk.disable(endpoint)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "manual")
    await desk.tell("payment.created")
    assert await desk.states(endpoint) == ["blocked", "blocked"]
    assert await desk.disable(endpoint) == disabled
    enabled = await desk.enable(endpoint)
    assert (enabled.status, enabled.disabled_reason) == ("enabled", None)
    rows = await desk.deliveries(endpoint)
    assert [row["status"] for row in rows] == ["pending", "pending"]
    assert all(row["next_at"] is not None for row in rows)
    assert await desk.enable(endpoint) == enabled


async def test_one_that_was_gone_keeps_its_reason_and_gets_its_health_back(desk: Desk) -> None:
    endpoint = await desk.make()
    await desk.db.execute(
        "UPDATE endpoints SET status = 'disabled', disabled_reason = 'gone', failures = 3, attempts_since_success = 3"
        " WHERE endpoint_id = $1",
        endpoint.endpoint_id,
    )
    assert (await desk.disable(endpoint)).disabled_reason == "gone"
    enabled = await desk.enable(endpoint)
    assert (enabled.failures, enabled.attempts_since_success) == (0, 0)
    assert enabled.good_at > endpoint.good_at


async def test_what_is_being_sent_is_left_to_whoever_sends_it(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    await desk.put(endpoint, "processing")
    await desk.disable(endpoint)
    assert await desk.states(endpoint) == ["processing"]


async def test_a_long_backlog_is_moved_in_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STEP", 3)
    endpoint = await desk.make(events=ALL)
    for _ in range(10):
        await desk.tell("payment.created")
    for act, first, end in (
        (desk.disable, "blocked", "blocked"),
        (desk.enable, "pending", "pending"),
        (desk.delete, "failed", "failed"),
    ):
        await act(endpoint)
        assert (await desk.states(endpoint)).count(first) == 3
        assert await webhooks.follow_up(desk.ctx, desk.merchant_id, endpoint.endpoint_id) == 7
        assert await desk.states(endpoint) == [end] * 10
        if act != desk.enable:
            assert await webhooks.follow_up(desk.ctx, desk.merchant_id, endpoint.endpoint_id) == 0


# Deleting


async def test_a_deleted_endpoint_is_gone_and_so_is_what_it_waited_for(desk: Desk) -> None:
    endpoint = await desk.make(events=ALL)
    for status in ("pending", "retrying", "processing", "blocked", "success", "failed"):
        await desk.tell("payment.created")
        row = (await desk.deliveries(endpoint))[-1]
        if status in {"success", "failed"}:
            await desk.ends(endpoint, status, [row["delivery_id"]])
        else:
            await desk.put(endpoint, status, delivery_id=row["delivery_id"])
    await desk.delete(endpoint)
    rows = await desk.deliveries(endpoint)
    assert [row["status"] for row in rows] == ["failed"] * 4 + ["success", "failed"]
    assert [row["last_error"] for row in rows] == ["endpoint_deleted"] * 4 + [None, "status"]
    assert [row["lease_version"] for row in rows] == [1] * 4 + [0, 0], "whoever has one of them writes nothing"
    for act in (desk.delete, desk.enable, desk.disable, desk.look):
        with pytest.raises(EndpointMissing):
            await act(endpoint)
    await desk.tell("payment.created")
    assert len(await desk.deliveries(endpoint)) == 6


async def test_deleted_while_events_come_nothing_stays_open(desk: Desk) -> None:
    """An event whose statement had begun before may come through; whoever follows up ends it."""
    endpoint = await desk.make(events=ALL)
    await at_once(*(desk.tell("payment.created", "payment.paid") for _ in range(12)), desk.delete(endpoint))
    await webhooks.follow_up(desk.ctx, desk.merchant_id, endpoint.endpoint_id)
    assert set(await desk.states(endpoint)) <= {"failed"}


async def test_of_two_who_delete_one_is_late(desk: Desk) -> None:
    endpoint = await desk.make()
    results = await asyncio.gather(*(desk.delete(endpoint) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(each, EndpointMissing) for each in results) == [False, True]


# Strangers


async def test_a_strangers_endpoint_is_not_there(desk: Desk) -> None:
    other = Desk(desk.ctx, await add_merchant(desk.db, f"{desk.merchant_id}-b"))
    endpoint = await desk.make(events=ALL)
    await desk.tell("payment.created")
    (row,) = await desk.deliveries(endpoint)
    for act in (other.look, other.delete, other.enable, other.disable):
        with pytest.raises(EndpointMissing):
            await act(endpoint)
    with pytest.raises(EndpointMissing):
        await other.do(webhooks.change_endpoint, other.merchant_id, endpoint.endpoint_id, Change(url=URL))
    with pytest.raises(EndpointMissing):
        await other.do(webhooks.rotate_secret, desk.ctx.keys, other.merchant_id, endpoint.endpoint_id, 0)
    with pytest.raises(EndpointMissing):
        await other.do(webhooks.replay_delivery, other.merchant_id, endpoint.endpoint_id, row["delivery_id"])
    with pytest.raises(EndpointMissing):
        await webhooks.send_test(other.ctx, other.merchant_id, endpoint.endpoint_id)
    with pytest.raises(EndpointMissing):
        await webhooks.read_delivery(desk.db, other.merchant_id, endpoint.endpoint_id, row["delivery_id"])
    assert await desk.look(endpoint) == endpoint


# Reading


async def test_deliveries_are_read_newest_first_in_pages(desk: Desk) -> None:
    endpoint, sibling = await desk.make(events=ALL), await desk.make(events=ALL)
    for _ in range(7):
        await desk.tell("payment.created")
    newest = sorted((row["delivery_id"] for row in await desk.deliveries(endpoint)), reverse=True)
    await desk.ends(endpoint, "failed", newest[2:5])
    seen, before = [], None
    while page := await webhooks.list_deliveries(desk.db, desk.merchant_id, endpoint.endpoint_id, (), before, 3):
        seen += [each.delivery_id for each in page]
        before = seen[-1]
    assert seen == newest
    failed = await webhooks.list_deliveries(desk.db, desk.merchant_id, endpoint.endpoint_id, ("failed",), None, 10)
    assert [each.delivery_id for each in failed] == newest[2:5]
    both = await webhooks.list_deliveries(desk.db, desk.merchant_id, endpoint.endpoint_id, ("failed", "pending"), None, 10)
    assert len(both) == 7
    of_events = await webhooks.deliveries_of(desk.db, desk.merchant_id, [each.event_id for each in both])
    assert {each.endpoint_id for each in of_events} == {endpoint.endpoint_id, sibling.endpoint_id}
    assert len(of_events) == 14


async def test_one_delivery_is_read_with_its_attempts(desk: Desk) -> None:
    endpoint, sibling = await desk.make(events=ALL), await desk.make(events=("order.*",))
    await desk.tell("payment.created")
    (row,) = await desk.deliveries(endpoint)
    for number in (1, 2):
        await desk.db.execute(
            "INSERT INTO delivery_attempts (merchant_id, endpoint_id, delivery_id, number, began_at, duration_ms, status_code, error)"
            " VALUES ($1, $2, $3, $4, kassa_now(), 12, 500, 'status')",
            desk.merchant_id,
            endpoint.endpoint_id,
            row["delivery_id"],
            number,
        )
    found, attempts = await webhooks.read_delivery(desk.db, desk.merchant_id, endpoint.endpoint_id, row["delivery_id"])
    assert (found.event_id, [each.number for each in attempts]) == (row["event_id"], [1, 2])
    for which, wanted in ((sibling, row["delivery_id"]), (endpoint, new_id())):
        with pytest.raises(DeliveryMissing):
            await webhooks.read_delivery(desk.db, desk.merchant_id, which.endpoint_id, wanted)


# test.ping


async def test_a_ping_is_for_the_endpoint_that_asked_alone(desk: Desk) -> None:
    endpoint, other = await desk.make(events=("order.*",)), await desk.make(events=ALL)
    event_id, delivery_id = await webhooks.send_test(desk.ctx, desk.merchant_id, endpoint.endpoint_id)
    (row,) = await desk.deliveries(endpoint)
    assert (row["event_id"], row["delivery_id"], row["event_type"], row["status"]) == (
        event_id,
        delivery_id,
        "test.ping",
        "pending",
    )
    assert await desk.deliveries(other) == []
    data = await desk.db.value("SELECT data::text FROM events WHERE merchant_id = $1 AND event_id = $2", desk.merchant_id, event_id)
    assert data == f'{{"endpoint_id":"{endpoint.endpoint_id}","message":"ping"}}'


async def test_each_of_many_pings_at_once_is_told_its_own_ids(desk: Desk) -> None:
    endpoint = await desk.make()
    told = await at_once(*(webhooks.send_test(desk.ctx, desk.merchant_id, endpoint.endpoint_id) for _ in range(12)))
    rows = await desk.deliveries(endpoint)
    assert {(row["event_id"], row["delivery_id"]) for row in rows} == set(told)
    assert sorted(row["sequence"] for row in rows) == list(range(1, 13))


async def test_a_disabled_endpoint_is_not_tested(desk: Desk) -> None:
    endpoint = await desk.make()
    await desk.disable(endpoint)
    with pytest.raises(EndpointDisabled):
        await webhooks.send_test(desk.ctx, desk.merchant_id, endpoint.endpoint_id)
    assert await desk.deliveries(endpoint) == []


async def test_an_endpoint_that_never_was_is_missing(desk: Desk) -> None:
    for act in (desk.look, desk.delete):
        with pytest.raises(EndpointMissing):
            await act(_nobody(await desk.make()))
    assert await webhooks.follow_up(desk.ctx, desk.merchant_id, uuid.uuid4()) == 0


def _nobody(endpoint: Endpoint) -> Endpoint:
    from dataclasses import replace

    return replace(endpoint, endpoint_id=new_id())


async def test_a_wish_says_nothing_of_its_address_in_a_log() -> None:
    assert "secret-path" not in repr(Wish("https://example.com/secret-path"))
    assert "secret-path" not in repr(Change(url="https://example.com/secret-path"))


async def test_a_plan_that_begins_with_a_wait_makes_deliveries_that_are_due_later(kassa_dsn: str) -> None:
    db = await open_database(kassa_dsn, size=2)
    try:
        db.ports[FanOut] = FanOut((webhooks.delivery_made(100),))
        merchant_id = await add_merchant(db, f"later-{new_id()}")
        async with db.transaction("webhooks.create") as tx:
            await webhooks.add_endpoint(tx, Keys(b"k" * 32), merchant_id, Wish(URL, events=("*",)))
        async with db.transaction("tell") as tx:
            for n in range(40):
                record(tx, Event(merchant_id, f"payment:{n}", "payment.paid", {}))
        waits = [
            row["wait_s"]
            for row in await db.rows(
                "SELECT extract(epoch FROM next_at - created_at)::float8 AS wait_s FROM deliveries WHERE merchant_id = $1",
                merchant_id,
            )
        ]
    finally:
        await db.close()
    assert len(waits) == 40
    assert all(80 <= wait <= 120 for wait in waits)
    assert len({round(wait, 3) for wait in waits}) > 20, "spread at random"
