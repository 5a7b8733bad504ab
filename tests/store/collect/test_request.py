"""A merchant asks for a payment: one for each reference, with its token, or nothing at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.factories import Died, Till, at_once, open_payment, open_till, render_payment, settle, subscribe

from kassa import collect, merchants
from kassa.collect import (
    PaymentExists,
    ProviderLinkFailed,
    ProviderMissing,
    ProviderUnreachable,
    Replayed,
    Requested,
    request_payment,
)
from kassa.collect.link import get_link
from kassa.kit import database, once
from kassa.kit.database import CommitUnknown, in_transaction
from kassa.merchants.model import QuotaExceeded, SubscriptionMissing
from kassa.payments import Payment, Verdict, requests
from kassa.payments.model import HOLDS

WITHOUT_LINK = {
    "silent": (ProviderUnreachable, "provider_unreachable"),
    "away": (ProviderUnreachable, "provider_unreachable"),
    "busy": (ProviderLinkFailed, "provider_link_failed"),
    "refused": (ProviderLinkFailed, "provider_link_failed"),
}
"""What the provider does, what the caller gets, and the reason that the payment keeps."""


async def make_dead(till: Till, **how: Any) -> Payment:
    """A payment whose request died after its first commit, before the provider was asked."""

    async def dies(_: Payment) -> None:
        raise Died

    till.links.meanwhile = dies
    with pytest.raises(Died):
        await till.request(**how)
    till.links.meanwhile = None
    till.links.asked.clear()
    return (await till.payments())[-1]


# ── one holder ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_payment_waits_for_its_buyer_and_has_spent_a_token(till: Till) -> None:
    made = await till.request("A-7", 34_970, quantity="2", event_ref="evt-7")
    assert isinstance(made, Requested)
    found, details = await till.payment(made.payment), await till.details(made.payment)
    assert (found.status, found.pay_url) == ("waiting", made.url)
    assert made.url == f"https://pay.example/stripe/{found.payment_id}"
    assert (found.ref_kind, found.ref, found.quantity, found.amount_minor, found.captured_minor) == (
        "outside",
        "A-7",
        "2",
        34_970,
        0,
    )
    assert (details.event_ref, details.token_plan) == ("evt-7", till.plan)
    assert await till.used() == 1
    assert await till.told(found) == ["payment.created", "payment.waiting"]
    assert found.expires_at == found.created_at + collect.CollectRules().link_ttl


async def test_fifty_at_once_for_one_order_are_one_payment_one_call_and_one_token(till: Till) -> None:
    answers = await at_once(*(till.request(price=100 + n) for n in range(50)))
    (made,) = [each for each in answers if isinstance(each, Requested)]
    refused = [each for each in answers if isinstance(each, PaymentExists)]
    assert len(refused) == 49
    assert {each.payment.payment_id for each in refused} == {made.payment.payment_id}
    assert till.links.asked == [(made.payment.payment_id, "stripe")]
    assert (await till.statuses(), await till.used()) == (["waiting"], 1)


async def test_twenty_orders_asked_for_five_times_each_at_once_are_twenty_payments(till: Till) -> None:
    answers = await at_once(*(till.request(f"A-{n % 20}") for n in range(100)))
    assert Counter(type(each).__name__ for each in answers) == {"Requested": 20, "PaymentExists": 80}
    assert (len(await till.payments()), await till.used()) == (20, 20)


async def test_a_number_and_its_text_are_one_order_and_the_first_one_says_which_it_is(till: Till) -> None:
    first = await till.requested("1001", order_is_number=True)
    with pytest.raises(PaymentExists) as refused:
        await till.request("1001", order_is_number=False)
    assert (refused.value.payment.payment_id, refused.value.payment.order_id) == (first.payment_id, 1001)


async def test_references_of_others_never_meet(till: Till) -> None:
    """Another merchant's, a shop's own order, and what was asked for by key."""
    other = await open_till(till.ctx)
    await till.requested("A-1")
    await other.requested("A-1")
    await open_payment(till.shop, ref_kind="order", ref="A-2")
    await open_payment(till.shop, ref_kind="grpc", ref="A-2", provider="external")
    await till.requested("A-2")
    assert await other.breaches() == []
    # An order's payment needs its order: this one was only here to stand in the way.
    await till.db.execute(
        "UPDATE payments SET ref_kind = 'outside', ref = payment_id::text WHERE merchant_id = $1 AND ref_kind = 'order'",
        till.merchant_id,
    )


@pytest.mark.parametrize(
    "way",
    [
        (), ("waiting",), ("unknown",), ("unknown", "parked"), ("paid",), ("declined",), ("closed",), ("cancelled",),
        ("paid", "part"), ("paid", "whole"), ("paid", "whole", "given back"),
    ],
)  # fmt: skip
async def test_a_new_payment_is_allowed_exactly_when_the_old_one_is_over(till: Till, way: tuple[str, ...]) -> None:
    old = await open_payment(till.shop, ref="A-1", provider="card")
    for step in way:
        if step in {"part", "whole"}:
            till.cards.refunds[:] = ["silent"]
            await till.given_back(old, 1 if step == "part" else None)
        elif step == "given back":
            (refund,) = await till.refunds(old)
            await collect.mark_refund_done(till.ctx, refund, "seen on the statement")
        else:
            await settle(till.shop, await till.payment(old), Verdict(step, ask_in_s=0))
    old = await till.payment(old)
    if old.status in HOLDS:
        with pytest.raises(PaymentExists) as refused:
            await till.request("A-1")
        assert refused.value.payment.payment_id == old.payment_id
        assert await till.used() == 0
    else:
        assert (await till.requested("A-1")).payment_id != old.payment_id


# ── refusals leave nothing ───────────────────────────────────────────────────────────────────────────────────────────


async def nothing_of(till: Till) -> None:
    assert (await till.payments(), await till.keys(), till.links.asked) == ([], [], [])


async def test_an_unknown_alias_leaves_nothing_and_the_key_free(till: Till) -> None:
    with pytest.raises(ProviderMissing):
        await till.request(alias="bank", key="key-00001")
    await nothing_of(till)
    await till.route("bank", requests.Rule(1, "bank"))
    assert isinstance(await till.request(alias="bank", key="key-00001"), Requested)


async def test_a_rule_that_does_not_fit_is_an_unknown_alias(till: Till) -> None:
    await till.route("large", requests.Rule(1, "p", min_minor=10_001))
    with pytest.raises(ProviderMissing):
        await till.request(alias="large", price=10_000)
    await nothing_of(till)


async def test_a_disabled_alias_is_an_unknown_one(till: Till) -> None:
    await till.db.execute("UPDATE routes SET enabled = false WHERE merchant_id = $1", till.merchant_id)
    with pytest.raises(ProviderMissing):
        await till.request()
    await nothing_of(till)


async def test_without_a_subscription_nothing_is_left_and_the_key_is_free(till: Till) -> None:
    async with till.db.transaction("suspend") as tx:
        await merchants.suspend(tx, till.merchant_id, till.plan, active=False)
    for plan in (None, till.plan, "nobody's"):
        with pytest.raises(SubscriptionMissing):
            await till.request(key="key-00001", plan_id=plan)
    await nothing_of(till)
    async with till.db.transaction("suspend") as tx:
        await merchants.suspend(tx, till.merchant_id, till.plan, active=True)
    assert isinstance(await till.request(key="key-00001"), Requested)


async def test_without_a_token_nothing_is_left_and_the_key_is_free(till: Till) -> None:
    poor = await open_till(till.ctx, tokens=1)
    await poor.requested("A-0")
    till.links.asked.clear()
    with pytest.raises(QuotaExceeded):
        await poor.request("A-1", key="key-00001")
    assert (await poor.statuses("A-1"), await poor.keys(), till.links.asked) == ([], [], [])
    await subscribe(till.ctx, poor.merchant_id, 1, poor.plan)
    assert isinstance(await poor.request("A-1", key="key-00001"), Requested)
    assert await poor.breaches() == []


async def test_five_hundred_at_once_on_a_hundred_tokens_are_a_hundred_payments(till: Till) -> None:
    poor = await open_till(till.ctx, tokens=100)
    answers = await at_once(*(poor.request(f"A-{n}") for n in range(500)))
    assert Counter(type(each).__name__ for each in answers) == {"Requested": 100, "QuotaExceeded": 400}
    assert (len(await poor.payments()), await poor.used(), len(poor.links.asked)) == (100, 100, 100)
    assert await poor.breaches() == []


async def test_an_order_that_is_held_costs_nothing_and_leaves_the_key_free(till: Till) -> None:
    first = await till.requested("A-1")
    with pytest.raises(PaymentExists):
        await till.request("A-1", key="key-00001")
    assert (await till.used(), await till.keys()) == (1, [])
    await settle(till.shop, first, "declined")
    assert isinstance(await till.request("A-1", key="key-00001"), Requested)


async def test_a_named_subscription_is_the_one_that_pays(till: Till) -> None:
    second = (await subscribe(till.ctx, till.merchant_id, 5)).plan_id
    made = await till.requested(plan_id=second)
    assert (await till.details(made)).token_plan == second
    assert (await till.used(), await till.used(second)) == (0, 1)


@pytest.mark.parametrize("where", ["spend", "note_token"])
async def test_payment_token_and_key_are_there_together_or_not_at_all(
    till: Till, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    room: Any = {"spend": merchants, "note_token": requests}[where]
    does = getattr(room, where)

    async def does_and_dies(*args: Any) -> None:
        await does(*args)
        raise ZeroDivisionError

    monkeypatch.setattr(room, where, does_and_dies)
    with pytest.raises(ZeroDivisionError):
        await till.request(key="key-00001")
    await nothing_of(till)
    assert await till.used() == 0


# ── no link ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", WITHOUT_LINK)
async def test_without_a_link_the_payment_has_failed_and_the_token_is_back(till: Till, word: str) -> None:
    error, reason = WITHOUT_LINK[word]
    till.links.begins = [word]
    with pytest.raises(error) as refused:
        await till.request()
    (payment,) = await till.payments()
    assert (payment.status, payment.reason, payment.pay_url) == ("declined", reason, None)
    assert refused.value.details["payment_id"] == str(payment.payment_id)
    assert (await till.used(), (await till.details(payment)).token_plan) == (0, None)
    assert await till.told(payment) == ["payment.created", "payment.declined"]


@pytest.mark.parametrize("word", WITHOUT_LINK)
async def test_a_repeat_after_no_link_makes_a_new_payment_under_the_same_key(till: Till, word: str) -> None:
    till.links.begins = [word]
    with pytest.raises(WITHOUT_LINK[word][0]):
        await till.request(key="key-00001")
    assert await till.keys() == []
    made = await till.request(key="key-00001")
    assert isinstance(made, Requested)
    assert (await till.statuses(), await till.used(), await till.keys()) == (["declined", "waiting"], 1, [("key-00001", "done")])


async def test_the_last_token_that_came_back_can_be_spent_again(till: Till) -> None:
    poor = await open_till(till.ctx, tokens=1)
    for n in range(3):
        poor.links.begins = ["silent"]
        with pytest.raises(ProviderUnreachable):
            await poor.request(f"A-{n}")
    await poor.requested("A-3")
    with pytest.raises(QuotaExceeded):
        await poor.request("A-4")
    assert await poor.breaches() == []


async def test_a_buyer_who_declines_does_not_bring_the_token_back(till: Till) -> None:
    payment = await till.requested()
    await till.report(payment, "failed")
    assert ((await till.payment(payment)).status, await till.used()) == ("declined", 1)


async def test_a_payment_without_a_link_that_is_paid_after_all_does_not_take_the_token_again(till: Till) -> None:
    till.links.begins = ["silent"]
    with pytest.raises(ProviderUnreachable):
        await till.request()
    (payment,) = await till.payments()
    assert (await till.report(payment)).message == "payment updated"
    assert ((await till.payment(payment)).status, await till.used()) == ("paid", 0)


async def test_ten_who_note_the_same_failure_give_one_token_back(till: Till) -> None:
    payment = await make_dead(till)
    till.links.begins = ["silent"] * 10
    answers = await at_once(*(get_link(till.ctx, payment, None) for _ in range(10)))
    assert {type(each) for each in answers} == {ProviderUnreachable}
    assert await till.used() == 0
    assert await till.told(payment) == ["payment.created", "payment.declined"]


async def test_ten_who_note_the_same_link_note_it_once(till: Till) -> None:
    payment = await make_dead(till)
    answers = await at_once(*(get_link(till.ctx, payment, None) for _ in range(10)))
    assert {url for _, url in answers} == {f"https://pay.example/stripe/{payment.payment_id}"}
    assert await till.told(payment) == ["payment.created", "payment.waiting"]
    assert await till.used() == 1


@pytest.mark.parametrize("slow_one", ["silent", "refused", "busy"])
async def test_who_comes_late_with_no_link_takes_nothing_from_one_that_has_it(till: Till, slow_one: str) -> None:
    """The request slept beyond its lease, and a worker got the link meanwhile: the buyer may be paying already (F56)."""
    till.links.gate = asyncio.Event()
    till.links.begins = [slow_one]
    slow = asyncio.create_task(till.request(key="key-00001"))
    while not till.links.asked:
        await asyncio.sleep(0.01)
    (payment,) = await till.payments()
    gate, till.links.gate = till.links.gate, None
    worker, url = await get_link(till.ctx, payment, None)
    assert (worker.status, url is None) == ("waiting", False)
    gate.set()
    answer = (await asyncio.gather(slow, return_exceptions=True))[0]
    found = await till.payment(payment)
    assert (found.status, found.pay_url, await till.used()) == ("waiting", url, 1)
    assert isinstance(answer, Requested)
    assert answer.url == url


@pytest.mark.parametrize("slow_one", ["silent", "link"])
async def test_a_request_and_a_worker_at_the_same_time_agree(till: Till, slow_one: str) -> None:
    """Whoever is first, the payment ends in one of two ways: a link and its token, or neither; and if it is paid, the books agree."""
    for n in range(20):
        payment = await make_dead(till, order_id=f"A-{n}")
        till.links.begins = [slow_one, "link"] if n % 2 else ["link", slow_one]
        await at_once(*(get_link(till.ctx, payment, None) for _ in range(2)))
        found, spent = await till.payment(payment), (await till.details(payment)).token_plan
        assert (found.status, found.pay_url is not None, spent is not None) in {
            ("waiting", True, True), ("declined", False, False), ("declined", True, False),
        }  # fmt: skip
        await till.report(payment)
        assert await till.breaches() == [], f"round {n}"


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeat_gets_the_first_answer_byte_for_byte_whatever_has_happened_since(till: Till) -> None:
    first = await till.request(key="key-00001")
    assert isinstance(first, Requested)
    for verdict in ("finished", "failed"):
        assert await till.request(key="key-00001") == Replayed(200, answer_of(first))
        await till.report(first.payment, verdict)
    await till.given_back(first.payment)
    assert await till.request(key="key-00001") == Replayed(200, answer_of(first))
    assert (len(await till.payments()), len(till.links.asked), await till.used()) == (1, 1, 1)


def answer_of(made: Requested) -> bytes:
    return render_payment(made.payment.payment_id, made.url)[1]


async def test_another_payload_under_the_key_executes_nothing(till: Till) -> None:
    await till.request(key="key-00001")
    wish = replace(till.wish("A-2"), key=till.key("key-00001", b"another payload"))
    with pytest.raises(once.KeyReused):
        await request_payment(till.ctx, wish, lambda *_: (200, b""))
    assert (len(await till.payments()), await till.used()) == (1, 1)


async def test_the_same_key_of_another_merchant_is_another_key(till: Till) -> None:
    other = await open_till(till.ctx)
    mine, theirs = await till.request(key="key-00001"), await other.request(key="key-00001")
    assert isinstance(mine, Requested)
    assert isinstance(theirs, Requested)
    assert mine.payment.payment_id != theirs.payment.payment_id
    assert await other.breaches() == []


async def test_fifty_at_once_under_one_key_are_one_payment_and_fifty_equal_answers(till: Till) -> None:
    answers = await at_once(*(till.request(key="key-00001") for _ in range(50)))
    (made,) = [each for each in answers if isinstance(each, Requested)]
    replayed = [each for each in answers if isinstance(each, Replayed)]
    assert len(replayed) == 49, Counter(type(each).__name__ for each in answers)
    assert {(each.status, each.body) for each in replayed} == {(200, answer_of(made))}
    assert (len(await till.payments()), len(till.links.asked), await till.used()) == (1, 1, 1)


async def test_a_repeat_of_a_running_one_waits_a_second_and_is_sent_away(till: Till) -> None:
    till.links.gate = asyncio.Event()
    first = asyncio.create_task(till.request(key="key-00001"))
    while not till.links.asked:
        await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()
    with pytest.raises(once.InProgress):
        await till.request(key="key-00001")
    assert 0.8 < asyncio.get_running_loop().time() - began < 4
    till.links.gate.set()
    made = await first
    assert isinstance(made, Requested)
    assert await till.request(key="key-00001") == Replayed(200, answer_of(made))
    assert len(await till.payments()) == 1


async def test_a_repeat_of_a_running_one_that_ends_in_time_gets_its_answer(till: Till) -> None:
    till.links.gate = asyncio.Event()
    first = asyncio.create_task(till.request(key="key-00001"))
    while not till.links.asked:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(till.request(key="key-00001"))
    await asyncio.sleep(0.2)
    till.links.gate.set()
    made = await first
    assert isinstance(made, Requested)
    assert await second == Replayed(200, answer_of(made))


async def test_one_whose_request_died_before_the_link_is_in_progress_until_a_worker_has_it(till: Till) -> None:
    payment = await make_dead(till, key="key-00001")
    with pytest.raises(once.InProgress):
        await till.request(key="key-00001")
    assert till.links.asked == [], "a repeat does not ask a second time"
    _, url = await get_link(till.ctx, payment, None)
    again = await till.request(key="key-00001")
    assert again == Replayed(200, answer_of(Requested(payment, url)))
    assert await till.request(key="key-00001") == again
    assert (len(await till.payments()), await till.used(), await till.keys()) == (1, 1, [("key-00001", "done")])


async def test_one_whose_request_died_and_whose_link_a_worker_could_not_get_is_made_anew(till: Till) -> None:
    payment = await make_dead(till, key="key-00001")
    till.links.begins = ["refused"]
    with pytest.raises(ProviderLinkFailed):
        await get_link(till.ctx, payment, None)
    made = await till.request(key="key-00001")
    assert isinstance(made, Requested)
    assert made.payment.payment_id != payment.payment_id
    assert (await till.statuses(), await till.used(), await till.keys()) == (["declined", "waiting"], 1, [("key-00001", "done")])


async def test_twenty_repeats_at_once_of_one_that_came_to_nothing_make_one_new_payment(till: Till) -> None:
    payment = await make_dead(till, key="key-00001")
    till.links.begins = ["refused"]
    with pytest.raises(ProviderLinkFailed):
        await get_link(till.ctx, payment, None)
    answers = await at_once(*(till.request(key="key-00001") for _ in range(20)))
    (made,) = [each for each in answers if isinstance(each, Requested)]
    assert {each for each in answers if not isinstance(each, Requested)} == {Replayed(200, answer_of(made))}
    assert (await till.statuses(), await till.used()) == (["declined", "waiting"], 1)


async def test_one_whose_request_died_and_whose_commit_nobody_saw_is_looked_up_and_goes_on(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = database._commit

    async def unseen(connection: Any) -> None:
        name = in_transaction()
        await commit(connection)
        if name == "collect.request":
            raise CommitUnknown

    monkeypatch.setattr(database, "_commit", unseen)
    made = await till.request(key="key-00001")
    assert isinstance(made, Requested)
    assert (await till.statuses(), await till.used(), await till.keys()) == (["waiting"], 1, [("key-00001", "done")])


async def test_a_commit_that_did_not_happen_is_told_as_unknown_and_leaves_nothing(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(connection: Any) -> None:
        await connection.execute("ROLLBACK")
        raise CommitUnknown

    monkeypatch.setattr(database, "_commit", lost)
    with pytest.raises(CommitUnknown):
        await till.request(key="key-00001")
    monkeypatch.undo()
    await nothing_of(till)
    assert isinstance(await till.request(key="key-00001"), Requested)


# ── a report that overtakes the link ─────────────────────────────────────────────────────────────────────────────────


async def test_a_yes_before_the_link_stays_and_the_request_still_has_its_link(till: Till) -> None:
    async def pays(payment: Payment) -> None:
        assert (await till.report(payment)).message == "payment updated"

    till.links.meanwhile = pays
    made = await till.request(key="key-00001")
    assert isinstance(made, Requested)
    found = await till.payment(made.payment)
    assert (found.status, found.pay_url, made.url) == ("paid", made.url, f"https://pay.example/stripe/{found.payment_id}")
    assert await till.told(found) == ["payment.created", "payment.paid"]
    assert await till.request(key="key-00001") == Replayed(200, answer_of(made))
    assert await till.used() == 1


async def test_a_yes_before_a_link_that_never_came_stays(till: Till) -> None:
    async def pays(payment: Payment) -> None:
        await till.report(payment)

    till.links.meanwhile, till.links.begins = pays, ["silent"]
    assert isinstance(await till.request(), Requested)
    assert (await till.statuses(), await till.used()) == (["paid"], 1)


async def test_a_repeat_between_a_yes_and_the_link_gets_the_same_bytes_as_the_first(till: Till) -> None:
    till.links.gate = asyncio.Event()
    first = asyncio.create_task(till.request(key="key-00001"))
    while not till.links.asked:
        await asyncio.sleep(0.01)
    await till.report((await till.payments())[0])
    repeat = asyncio.create_task(till.request(key="key-00001"))
    await asyncio.sleep(0.2)
    till.links.gate.set()
    made = await first
    assert isinstance(made, Requested)
    assert made.url is not None
    assert await repeat == Replayed(200, answer_of(made))
    assert await till.request(key="key-00001") == Replayed(200, answer_of(made))


async def test_superseded_while_the_link_is_asked_for_in_vain_the_token_comes_back(till: Till) -> None:
    """An older payment of the order is paid after all while the provider is silent: no link, no token, and no 200 without a link."""
    old = await till.requested("A-1")
    await settle(till.shop, old, Verdict("closed"))

    async def pays_the_old_one(_: Payment) -> None:
        await till.report(old)

    till.links.meanwhile, till.links.begins = pays_the_old_one, ["silent"]
    with pytest.raises(ProviderUnreachable):
        await till.request("A-1", key="key-00001")
    assert await till.statuses("A-1") == ["paid", "cancelled"]
    assert (await till.used(), await till.keys()) == (1, [])


async def test_superseded_while_its_link_is_made_the_request_still_answers(till: Till) -> None:
    old = await till.requested("A-1")
    await settle(till.shop, old, Verdict("closed"))

    async def pays_the_old_one(_: Payment) -> None:
        await till.report(old)

    till.links.meanwhile = pays_the_old_one
    made = await till.request("A-1")
    assert isinstance(made, Requested)
    assert made.url is not None
    assert await till.statuses("A-1") == ["paid", "cancelled"]


# ── whoever hangs up ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_who_leaves_at_any_moment_leaves_a_whole_payment_or_none(till: Till) -> None:
    """Cancelled after the k-th turn of the loop: payment, token and key are there together, and no transaction stays open (F24)."""
    for turns in range(0, 120, 3):
        asking = asyncio.create_task(till.request(f"A-{turns}", key=f"key-{turns:05d}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(turns / 40_000)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await till.request("A-whole", key="key-whole")
    made = await till.payments()
    keys = dict(await till.keys())
    assert await till.used() == len(made) == len(keys)
    assert {f"key-{payment.ref.removeprefix('A-').zfill(5)}" for payment in made} == set(keys)
    open_ones = await till.db.rows(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    assert open_ones == []
