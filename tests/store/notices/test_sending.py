"""Notices are sent once, order by order, again and again for three days, and never two of one order at the same time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from kassa import cases
from kassa.events import FanOut
from kassa.kit.neighbour import Answer, NoAnswer
from kassa.notices import NOTICE_WRITTEN_AFTER_ASKING, Contact, Notifier, Users, forget, learn, send_due, store, sweep_sent
from kassa.notices.model import later, never
from kassa.notices.ways.notification import NotificationService

from .telling import ASHA, Scripted, Talk

CREATED, PAID = "order.created", "order.paid"


async def test_each_message_is_sent_once_and_in_order(talk: Talk) -> None:
    first, second = await talk.order(), await talk.order()
    assert await talk.send() == 4
    assert talk.way.types(first) == talk.way.types(second) == [CREATED, PAID]
    assert await talk.send() == 0
    assert {status for _, status in await talk.shown(first)} == {"sent"}


async def test_a_message_that_fails_holds_back_its_order_and_no_other(talk: Talk) -> None:
    slow, fine = await talk.order(), await talk.order()
    talk.way.plan_of = lambda notice: later("busy") if notice.order_id == slow.order_id else None
    await talk.send()
    assert await talk.shown(slow) == [(CREATED, "pending"), (PAID, "pending")]
    assert await talk.shown(fine) == [(CREATED, "sent"), (PAID, "sent")]
    assert talk.way.types(slow) == [CREATED]


async def test_it_is_tried_again_under_the_same_key_and_then_the_next_has_its_turn(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plans += [later("busy"), later("busy")]
    for _ in range(3):
        await talk.send()
        await talk.later(seconds=6)
    assert talk.way.types(order) == [CREATED, CREATED, CREATED, PAID]
    lost, again, _, _ = (notice for notice, _ in talk.way.told)
    assert lost.key == again.key == f"{order.order_id}:{lost.event_id}"
    assert lost.created_at == again.created_at


async def test_the_next_one_does_not_wait_for_a_plan_that_is_not_its_own(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plans += [later("busy")] * 6
    for _ in range(6):
        await talk.send()
        await talk.later(hours=1)
    talk.way.told.clear()
    await talk.send()
    assert talk.way.types(order) == [CREATED, PAID], "the second is due as soon as the first is through"


async def test_what_waits_behind_another_is_not_looked_at_again_and_again(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plans += [later("busy")] * 4
    for _ in range(4):
        await talk.send()
        await talk.later(seconds=31)
    due = await talk.db.value("SELECT count(*) FROM notices WHERE status = 'pending' AND next_at <= kassa_now()")
    assert due == 0, "none of its notices is even found to be due"
    assert [status for _, status in await talk.shown(order)] == ["pending", "pending"]


async def test_after_three_days_it_is_dead_and_a_person_finds_it(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plan_of = lambda notice: later("answered 451") if notice.event_type == CREATED else None
    for _ in range(8):
        await talk.send()
        await talk.later(hours=1)
    assert await talk.shown(order) == [(CREATED, "pending"), (PAID, "pending")]
    await talk.later(days=3)
    await talk.send()
    assert await talk.shown(order) == [(CREATED, "dead"), (PAID, "sent")]
    [case] = await cases.find_cases(talk.db, merchant_id=talk.shop.merchant_id)
    assert (case.kind, case.subject) == ("notice_not_sent", f"order:{order.order_id}")
    assert case.last_answer == "order.created: answered 451"
    tried = len(talk.way.told)
    await talk.later(days=30)
    assert await talk.send() == 0
    assert len(talk.way.told) == tried


async def test_a_receiver_that_will_never_take_it_is_not_asked_again(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plans.append(never("recipient refused: 550"))
    await talk.send()
    assert await talk.shown(order) == [(CREATED, "dead"), (PAID, "sent")]
    assert [case.last_answer for case in await cases.find_cases(talk.db)] == ["order.created: recipient refused: 550"]


async def test_any_number_of_senders_send_it_once(talk: Talk) -> None:
    orders = [await talk.order() for _ in range(5)]
    await asyncio.gather(*(send_due(talk.ctx) for _ in range(8)))
    first = [notice.event_id for notice, _ in talk.way.told if notice.event_type == CREATED]
    assert len(first) == len(set(first)) == 5
    await talk.send()
    assert all(talk.way.types(order) == [CREATED, PAID] for order in orders)


async def test_no_two_of_one_order_are_under_way_at_once(talk: Talk) -> None:
    order = await talk.order()
    talk.way.pause = asyncio.Event()
    sending = asyncio.create_task(send_due(talk.ctx))
    while not talk.way.told:
        await asyncio.sleep(0.01)
    assert await send_due(talk.ctx) == 0
    talk.way.pause.set()
    await sending
    await talk.send()
    assert talk.way.busiest == 1
    assert talk.way.types(order) == [CREATED, PAID]


async def test_a_sender_that_sleeps_past_its_lease_is_relieved_and_writes_nothing(talk: Talk) -> None:
    order = await talk.order()
    talk.way.pause = asyncio.Event()
    asleep = asyncio.create_task(send_due(talk.ctx))
    while not talk.way.told:
        await asyncio.sleep(0.01)
    await talk.db.execute("UPDATE notices SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
    relief = Scripted()
    relief.plans.append(later("busy"))
    await send_due(replace(talk.ctx, ports={**talk.ctx.ports, Notifier: Notifier(relief)}))
    talk.way.pause.set()
    await asleep
    first = (await talk.notices(order))[0]
    assert (first["status"], first["attempts"], first["last_answer"]) == ("pending", 2, "busy")
    assert relief.told[0][0].key == talk.way.told[0][0].key


async def test_a_way_that_breaks_is_tried_again_and_nothing_private_is_logged(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    order = await talk.order()
    talk.way.plans.append(ValueError("asha@example.com is broken"))
    with caplog.at_level(logging.DEBUG):
        await talk.send()
    assert "ValueError" in caplog.text
    assert "asha" not in caplog.text.lower()
    assert (await talk.notices(order))[0]["last_answer"] == "ValueError"
    await talk.later(seconds=2)
    await talk.send()
    assert talk.way.types(order) == [CREATED, CREATED, PAID]


async def test_a_way_that_hangs_is_given_up_in_time(talk: Talk) -> None:
    order = await talk.order()
    talk.way.limit_s, talk.way.pause = 0.2, asyncio.Event()
    await talk.send()
    assert (await talk.notices(order))[0]["last_answer"] == "no answer"


async def test_with_nobody_to_tell_nothing_is_tried(talk: Talk) -> None:
    await talk.order()
    assert await send_due(replace(talk.ctx, ports={**talk.ctx.ports, Notifier: Notifier()})) == 0
    assert {row["attempts"] for row in await talk.notices()} == {0}


async def test_what_was_sent_is_forgotten_after_ninety_days_and_the_rest_is_not(talk: Talk) -> None:
    order = await talk.order()
    talk.way.plans.append(never("no"))
    await talk.send()
    waiting = await talk.order()
    await talk.later(days=89)
    assert await sweep_sent(talk.ctx) == 0
    await talk.later(days=2)
    assert await sweep_sent(talk.ctx) == 1
    assert await sweep_sent(talk.ctx) == 0
    assert await talk.shown(order) == [(CREATED, "dead")]
    assert [status for _, status in await talk.shown(waiting)] == ["pending", "pending"]


class Asked:
    """A reader that only notes what it is asked."""

    def __init__(self) -> None:
        self.question: tuple[str, tuple[Any, ...]] = ("", ())

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        self.question = (sql, args)
        return []

    async def execute(self, sql: str, *args: Any) -> int:
        self.question = (sql, args)
        return 0


@pytest.mark.parametrize("index", ["notices_due", "notices_sent"])
async def test_due_and_old_notices_are_found_by_an_index(talk: Talk, index: str) -> None:
    asked = Asked()
    await (store.due(asked, 16) if index == "notices_due" else store.delete_sent(asked, 90, 1000))  # type: ignore[arg-type]
    sql, args = asked.question
    plan = "\n".join(row[0] for row in await talk.db.rows(f"EXPLAIN {sql}", *args))
    assert f"using {index} " in plan
    assert "Seq Scan" not in plan


# Forgetting


async def test_a_forgotten_buyer_gets_nothing_any_more(talk: Talk) -> None:
    gone, other = await talk.order(replace(ASHA, language="ru")), await talk.order(Contact("8", "bob@example.com", "Bob"))
    async with talk.db.transaction("forget") as tx:
        assert await forget(tx, talk.shop.merchant_id, [gone.order_id]) == 1
        assert await forget(tx, talk.shop.merchant_id, [gone.order_id]) == 0
        assert await forget(tx, "somebody else", [other.order_id]) == 0
    await talk.send()
    told = {notice.order_id: contact for notice, contact in talk.way.told}
    assert told == {other.order_id: Contact("8", "bob@example.com", "Bob")}
    await talk.shop.move(gone, "processing")
    await talk.send()
    assert {contact for notice, contact in talk.way.told if notice.order_id == gone.order_id} == {Contact()}


# The user service


class UserService:
    """It answers when it is let, and remembers how it was asked."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.tokens: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    async def call(self, *_: Any, headers: dict[str, str], **_more: Any) -> Answer:
        self.tokens.append(headers["Authorization"])
        await self.let.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def asking(talk: Talk, service: UserService) -> Talk:
    """The same shop with a user service."""
    talk.db.ports[FanOut] = FanOut((NOTICE_WRITTEN_AFTER_ASKING,))
    ctx = replace(talk.ctx, ports={**talk.ctx.ports, Notifier: Notifier(talk.way, Users(service))})  # type: ignore[arg-type]
    return Talk(replace(talk.till, shop=replace(talk.shop, ctx=ctx)), talk.way)


PROFILE = Answer(200, {"id": 7, "email": "asha@home.example", "name": "Asha R."}, {})


async def test_the_user_service_knows_better_than_the_token(talk: Talk) -> None:
    service = UserService(PROFILE)
    talk = asking(talk, service)
    await talk.order(token="a.b.c")
    await talk.send()
    assert talk.way.types() == [CREATED, PAID], "it answered, so there is nothing to wait for"
    assert {contact for _, contact in talk.way.told} == {Contact("7", "asha@home.example", "Asha R.")}
    assert service.tokens == ["Bearer a.b.c"]


@pytest.mark.parametrize("answer", [NoAnswer(), Answer(500, None, {}), Answer(200, {"id": 8, "email": "bob@example.com"}, {})])
async def test_without_a_good_answer_the_token_counts(talk: Talk, answer: Answer | Exception) -> None:
    talk = asking(talk, UserService(answer))
    await talk.order(token="a.b.c")
    await talk.send()
    assert {contact for _, contact in talk.way.told} == {ASHA}
    assert talk.way.types() == [CREATED, PAID]


async def test_a_user_service_that_is_silent_holds_a_message_for_a_moment_and_no_order(talk: Talk) -> None:
    service = UserService(PROFILE)
    service.let.clear()
    talk = asking(talk, service)
    contact = ASHA
    await talk.shop.add("7", "mouse")
    began = asyncio.get_running_loop().time()
    ordering = asyncio.create_task(talk.order(contact, token="a.b.c"))
    while not await talk.notices():
        await asyncio.sleep(0.01)
    assert await talk.send() == 0, "it waits for an address"
    assert asyncio.get_running_loop().time() - began < 1.4
    await talk.later(seconds=1.6)
    assert await talk.send() >= 1
    assert {contact for _, contact in talk.way.told} == {ASHA}
    service.let.set()
    await ordering
    await talk.send()


async def test_a_guest_whom_no_user_service_knows_is_not_kept_waiting(talk: Talk) -> None:
    talk = asking(talk, UserService(PROFILE))
    await talk.buy("guest@example.com")
    await talk.send()
    assert talk.way.types() == [CREATED, PAID]


async def test_a_better_address_counts_for_what_is_sent_afterwards(talk: Talk) -> None:
    order = await talk.order()
    await talk.send()
    learning = asking(talk, UserService(PROFILE))
    learn(learning.ctx, order.merchant_id, order.order_id, ASHA, "a.b.c")
    await talk.ctx.background.drain(5)
    await talk.shop.move(order, "processing")
    await talk.send()
    assert [contact.email for _, contact in talk.way.told] == ["asha@example.com", "asha@example.com", "asha@home.example"]


async def test_who_was_forgotten_is_not_learned_again(talk: Talk) -> None:
    order = await talk.order()
    async with talk.db.transaction("forget") as tx:
        await forget(tx, talk.shop.merchant_id, [order.order_id])
    learn(asking(talk, UserService(PROFILE)).ctx, order.merchant_id, order.order_id, ASHA, "a.b.c")
    await talk.ctx.background.drain(5)
    await talk.shop.move(order, "processing")
    await talk.send()
    assert {contact for _, contact in talk.way.told} == {Contact()}


async def test_no_token_is_kept_or_logged(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    talk = asking(talk, UserService(RuntimeError("broken")))
    with caplog.at_level(logging.DEBUG):
        await talk.order(token="header.claims.signature")
    assert "claims" not in caplog.text
    tables = await talk.db.rows("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    for row in tables:
        found = await talk.db.rows(f'SELECT t::text AS row FROM "{row["relname"]}" t')
        assert not any("claims" in each["row"] for each in found)


# The notification service


class Notifications:
    """It remembers what it was told to send."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def call(self, _method: str, _path: str, *, body: dict[str, Any], key: str, **_: Any) -> Answer:
        self.asked.append({**body, "key": key})
        return Answer(202, None, {})


async def test_the_notification_service_hears_of_buyers_and_never_of_guests_or_parts(talk: Talk) -> None:
    service = Notifications()
    ctx = replace(talk.ctx, ports={**talk.ctx.ports, Notifier: Notifier(NotificationService(service))})  # type: ignore[arg-type]
    order = await talk.order()
    odd = await talk.order(Contact("u-8"))
    await talk.buy("guest@example.com")
    await talk.till.given_back(await talk.shop.payment_of(order.payment_id), 4000)
    while await send_due(ctx):
        pass
    assert sorted((str(each["user_id"]), each["type"]) for each in service.asked) == [
        ("7", "order_confirmation"),
        ("7", "payment_confirmation"),
        ("u-8", "order_confirmation"),
        ("u-8", "payment_confirmation"),
    ]
    assert {each["user_id"] for each in service.asked} == {7, "u-8"}
    assert all(each["key"].startswith(f"{each['order_id']}:") for each in service.asked)
    assert {each["order_id"] for each in service.asked} == {str(order.order_id), str(odd.order_id)}
    assert {status for _, status in await talk.shown(order)} == {"sent"}
