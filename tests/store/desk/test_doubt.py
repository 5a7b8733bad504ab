"""The one list of what waits for a person: everything that waits, once, oldest or largest first, and of this merchant alone."""

from __future__ import annotations

import uuid

from tests.factories import PRICE, Till, open_payment, settle

from kassa import cases, desk, webhooks
from kassa.checkout.wishes import Bought
from kassa.desk.model import SORTS, Waiting
from kassa.kit.ids import new_id
from kassa.webhooks import Wish

LONG_AGO = "kassa_now() - interval '2 hours'"


async def waiting(till: Till, **more: object) -> list[Waiting]:
    return await desk.list_waiting(till.db, till.merchant_id, **more)  # type: ignore[arg-type]


async def listed(till: Till) -> list[tuple[str, str, str]]:
    return sorted((each.sort, each.kind, each.subject) for each in await waiting(till))


async def unknown(till: Till, amount: int = 10_000) -> uuid.UUID:
    payment = await open_payment(till.shop, amount)
    await settle(till.shop, payment, "unknown")
    return payment.payment_id


async def bought(till: Till) -> Bought:
    made = await till.shop.buy({"mouse": 1})
    assert isinstance(made, Bought)
    return made


async def test_where_all_is_well_nothing_waits(till: Till) -> None:
    await bought(till)
    await till.paid("A-1")
    assert await waiting(till) == []
    assert await desk.count_waiting(till.db, till.merchant_id) == []


async def test_a_payment_that_may_be_paid_waits_until_somebody_knows(till: Till) -> None:
    payment_id = await unknown(till)
    [found] = await waiting(till)
    assert (found.sort, found.kind, found.subject) == ("payment", "unknown", f"payment:{payment_id}")
    assert (found.amount_minor, found.currency) == (10_000, "INR")
    assert found.age_s < 60
    payment = await till.payment(payment_id)
    await settle(till.shop, payment, "parked")
    [found] = await waiting(till)
    assert found.kind == "parked"
    await settle(till.shop, await till.payment(payment_id), "paid")
    assert await waiting(till) == []


async def test_a_parked_refund_is_one_line_though_it_has_a_case(till: Till) -> None:
    payment = await till.paid("A-1")
    till.links.refunds.append("pending")
    refund = await till.given_back(payment, 4_000)
    assert await waiting(till) == [], "a refund that was just sent does not wait for anybody"
    await till.db.execute("UPDATE refunds SET created_at = created_at - interval '2 hours' WHERE refund_id = $1", refund.refund_id)
    assert await listed(till) == [("refund", "pending", f"refund:{refund.refund_id}")]
    await till.db.execute("UPDATE refunds SET status = 'parked', next_at = NULL WHERE refund_id = $1", refund.refund_id)
    await cases.open_case(
        till.db, till.merchant_id, "refund_parked", f"refund:{refund.refund_id}", amount_minor=4_000, currency="INR"
    )
    [found] = await waiting(till)
    assert (found.sort, found.kind, found.amount_minor, found.about) == ("refund", "parked", 4_000, f"payment:{payment.payment_id}")


async def test_a_purchase_in_doubt_is_one_line_though_it_has_a_case(till: Till) -> None:
    held = await till.shop.begin({"mouse": 1})
    await settle(till.shop, await till.payment(held.payment.payment_id), "unknown")
    await cases.open_case(till.db, till.merchant_id, "payment_unknown", f"checkout:{held.checkout.checkout_id}")
    [found] = await waiting(till)
    assert (found.sort, found.about) == ("payment", f"order:{held.checkout.order_id}")


async def test_money_without_an_order_waits_while_it_is_here(till: Till) -> None:
    made = await bought(till)
    await till.db.execute(
        f"UPDATE checkouts SET status = 'returning', next_at = kassa_now(), updated_at = {LONG_AGO} WHERE checkout_id = $1",
        made.view.checkout_id,
    )
    [found] = await waiting(till)
    assert (found.sort, found.kind, found.amount_minor) == ("held", "returning", PRICE)
    await till.db.execute("UPDATE payments SET refunded_minor = captured_minor WHERE merchant_id = $1", till.merchant_id)
    assert [each.sort for each in await waiting(till)] == ["checkout"], "the money is back; the purchase still does not move"


async def test_a_purchase_stands_still_when_it_is_long_past_its_time(till: Till) -> None:
    held = await till.shop.begin({"mouse": 1})
    await till.db.execute(
        f"UPDATE checkouts SET deadline = {LONG_AGO} + interval '1 hour', updated_at = {LONG_AGO} WHERE checkout_id = $1",
        held.checkout.checkout_id,
    )
    [found] = await waiting(till)
    assert (found.sort, found.subject) == ("checkout", f"checkout:{held.checkout.checkout_id}")
    assert 3_500 < found.age_s < 3_700
    await till.db.execute("UPDATE payments SET held_by = $2 WHERE merchant_id = $1", till.merchant_id, new_id())
    assert await waiting(till) == [], "whoever holds the payment may take his time"


async def test_dead_letters_are_one_line_an_endpoint(till: Till) -> None:
    async with till.db.transaction("endpoint") as tx:
        made, _ = await webhooks.add_endpoint(tx, till.ctx.keys, till.merchant_id, Wish("https://shop.example/hook", ("*",)))
    for number in range(3):
        await till.paid(f"A-{number}")
    assert await waiting(till) == []
    await till.db.execute(
        """
        UPDATE deliveries SET status = 'failed', next_at = NULL, ended_at = kassa_now() - interval '1 hour'
         WHERE merchant_id = $1 AND event_type = 'payment.paid'
        """,
        till.merchant_id,
    )
    [found] = await waiting(till)
    assert (found.sort, found.kind, found.subject) == ("webhook", "dead_letters", f"endpoint:{made.endpoint_id}")
    assert "3 events" in (found.why or "")
    assert 3_500 < found.age_s < 3_700


async def test_cases_are_sorted_by_what_they_are_about(till: Till) -> None:
    payment = await till.paid("A-1")
    for kind, subject in (
        ("amount_mismatch", f"payment:{payment.payment_id}"),
        ("reconcile_missing_here", "row:4711"),
        ("invariant_broken", "invariant:3"),
    ):
        await cases.open_case(till.db, till.merchant_id, kind, subject, last_answer="so it was")
    found = {each.sort: each for each in await waiting(till)}
    assert set(found) == {"case", "reconcile", "breach"}
    assert all(each.case_id is not None and each.why == "so it was" for each in found.values())
    await cases.close_cases(till.db, till.merchant_id, "row:4711", "settled")
    assert {each.sort for each in await waiting(till)} == {"case", "breach"}


async def test_nobody_sees_what_waits_for_another_and_an_operator_sees_all(till: Till, other: Till) -> None:
    payment_id = await unknown(other)
    await cases.open_case(other.db, other.merchant_id, "amount_mismatch", f"payment:{payment_id}")
    await till.report(uuid.uuid4())
    assert await waiting(till) == []
    everything = await desk.list_waiting(till.db, None, limit=1000)
    assert {other.merchant_id, "-"} <= {each.merchant_id for each in everything}
    assert "report" in {each.sort for each in everything}
    assert {each.sort for each in everything} <= set(SORTS)


async def test_a_breach_whose_case_was_closed_is_still_an_operators(till: Till) -> None:
    await till.db.execute(
        "INSERT INTO verify_found (invariant, breaches, since) VALUES (4, 2, now()) ON CONFLICT (invariant) DO NOTHING"
    )

    async def seen() -> list[str]:
        return [each.merchant_id for each in await desk.list_waiting(till.db, None, sort="breach") if each.named == "4"]

    assert await seen() == ["-"]
    await cases.open_case(till.db, till.merchant_id, "invariant_broken", "invariant:4")
    assert await seen() == [till.merchant_id], "once, by its case"
    await cases.close_cases(till.db, till.merchant_id, "invariant:4", "understood")
    assert await seen() == ["-"]
    await till.db.execute("DELETE FROM verify_found WHERE invariant = 4")
    assert await seen() == []


async def test_the_oldest_come_first_page_by_page_and_the_largest_when_asked(till: Till) -> None:
    amounts = [300, 100, 500, 200, 400]
    ids = [await unknown(till, amount) for amount in amounts]
    for place, payment_id in enumerate(ids):
        sql = "UPDATE payments SET unknown_since = kassa_now() - make_interval(hours => $2) WHERE payment_id = $1"
        await till.db.execute(sql, payment_id, 10 - place)
    walked: list[int | None] = []
    after = None
    while page := await waiting(till, after=after, limit=2):
        walked += [each.amount_minor for each in page]
        after = (page[-1].since, page[-1].subject)
    assert walked == amounts
    assert [each.amount_minor for each in await waiting(till, largest=True, limit=3)] == [500, 400, 300]


async def test_counts_agree_with_the_list_and_sum_the_money(till: Till) -> None:
    for amount in (100, 250):
        await unknown(till, amount)
    await cases.open_case(till.db, till.merchant_id, "amount_mismatch", "payment:x", amount_minor=70, currency="USD")
    counts = {
        (each.sort, each.currency): (each.count, each.amount_minor) for each in await desk.count_waiting(till.db, till.merchant_id)
    }
    assert counts == {("payment", "INR"): (2, 350), ("case", "USD"): (1, 70)}
