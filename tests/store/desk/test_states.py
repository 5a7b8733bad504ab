"""What is in doubt, owed or overdue, over all merchants: told by how a figure changes, because other tests leave payments here, too."""

from __future__ import annotations

from tests.factories import Till, open_payment, settle

from kassa import cases, desk
from kassa.desk.model import STATES
from kassa.kit.ids import new_id


async def figures(till: Till) -> dict[tuple[str, str], tuple[int, float]]:
    return {(each.subject, each.status): (each.count, each.age_s) for each in await desk.read_states(till.db)}


async def more_of(till: Till, before: dict[tuple[str, str], tuple[int, float]]) -> dict[tuple[str, str], int]:
    """What there is more of than before."""
    now = await figures(till)
    found = {name: count - before.get(name, (0, 0))[0] for name, (count, _) in now.items()}
    return {name: more for name, more in found.items() if more}


async def test_each_state_is_there_though_there_is_nothing_of_it(till: Till) -> None:
    found = await figures(till)
    assert {(subject, status) for subject, statuses in STATES.items() for status in statuses} <= set(found)
    assert all(age_s == 0 for count, age_s in found.values() if not count)


async def test_a_payment_in_doubt_counts_until_somebody_knows(till: Till) -> None:
    before = await figures(till)
    payment = (await settle(till.shop, await open_payment(till.shop), "unknown")).payment
    assert await more_of(till, before) == {("payment", "unknown"): 1}
    ages = await till.db.execute(
        "UPDATE payments SET unknown_since = kassa_now() - interval '2 days' WHERE payment_id = $1", payment.payment_id
    )
    assert ages == 1
    assert 172_000 < (await figures(till))[("payment", "unknown")][1] < 174_000
    payment = (await settle(till.shop, await till.payment(payment.payment_id), "parked")).payment
    assert await more_of(till, before) == {("payment", "parked"): 1}
    await settle(till.shop, payment, "paid")
    assert await more_of(till, before) == {}


async def test_a_refund_counts_until_it_is_given_back(till: Till) -> None:
    payment = await till.paid("A-1")
    before = await figures(till)
    till.links.refunds.append("pending")
    refund = await till.given_back(payment, 4_000)
    assert await more_of(till, before) == {("refund", "pending"): 1}
    await till.db.execute("UPDATE refunds SET status = 'parked', next_at = NULL WHERE refund_id = $1", refund.refund_id)
    assert await more_of(till, before) == {("refund", "parked"): 1}


async def test_a_hold_is_overdue_when_nobody_takes_its_checkout_up(till: Till) -> None:
    before = await figures(till)
    held = await till.shop.begin({"mouse": 2, "lamp": 1})
    assert await more_of(till, before) == {}
    merchant_id, checkout_id = held.checkout.merchant_id, held.checkout.checkout_id
    late = "kassa_now() - interval '10 minutes'"
    await till.db.execute(
        f"UPDATE reservations SET held_until = {late} WHERE merchant_id = $1 AND checkout_id = $2", merchant_id, checkout_id
    )
    await till.db.execute("UPDATE checkouts SET next_at = kassa_now() + interval '1 hour' WHERE checkout_id = $1", checkout_id)
    assert await more_of(till, before) == {}, "its buyer is paying at this moment, and the hold waits for that"
    await till.db.execute(f"UPDATE checkouts SET next_at = {late} WHERE checkout_id = $1", checkout_id)
    assert await more_of(till, before) == {("reservation", "overdue"): 2}
    assert 595 < (await figures(till))[("reservation", "overdue")][1] < 700


async def test_an_open_case_counts_under_its_kind(till: Till) -> None:
    before = await figures(till)
    subject = f"payment:{new_id()}"
    await cases.open_case(till.db, till.merchant_id, "amount_mismatch", subject)
    await cases.open_case(till.db, till.merchant_id, "amount_mismatch", f"payment:{new_id()}")
    assert await more_of(till, before) == {("case", "amount_mismatch"): 2}
    await cases.close_cases(till.db, till.merchant_id, subject, "settled")
    assert await more_of(till, before) == {("case", "amount_mismatch"): 1}
