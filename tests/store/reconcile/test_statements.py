"""A provider's statement against the tables: every break is found, typed and listed once, and ends when it is no more."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.factories import Shop, open_payment, open_shop, paid_payment, settle

from kassa import cases, checkout, payments
from kassa.kit import clock
from kassa.kit.ids import new_id
from kassa.kit.money import Money, fixed_text
from kassa.payments import Payment, Refund, Verdict
from kassa.payments.model import RefundVerdict
from kassa.reconcile import BadStatement, Report, Wish, read_csv, reconcile, run
from kassa.reconcile.record import RECONCILED

HEAD = ("payment_id", "provider_ref", "kind", "refund_id", "amount", "currency", "occurred_at")
Line = dict[str, Any]


class Desk:
    """An operator with a shop that is paid at a provider of its own."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop, self.db, self.ctx = shop, shop.db, shop.ctx
        self.provider = f"acme-{new_id().hex[-8:]}"
        self.file = folder / "statement.csv"

    async def paid(self, amount: int = 10_000, **more: Any) -> Payment:
        """A payment at this provider."""
        return await paid_payment(self.shop, amount, provider="link", method=f"link:{self.provider}", **more)

    async def give_back(self, payment: Payment, amount: int, said: str = "succeeded") -> Refund:
        async with self.db.transaction("refund") as tx:
            paid, refund = await payments.begin_refund(tx, payment, owed=False, reason=None, amount=Money(amount, payment.currency))
            return await checkout.note_refund(tx, paid, refund, RefundVerdict(said))

    async def line(self, payment: Payment, refund: Refund | None = None, **changes: Any) -> Line:
        """What the provider writes about a payment or a refund."""
        minor = payment.amount_minor if refund is None else refund.amount_minor
        row = {
            "payment_id": payment.payment_id,
            "kind": "charge" if refund is None else "refund",
            "refund_id": "" if refund is None else refund.refund_id,
            "amount": fixed_text(minor, payment.currency),
            "currency": payment.currency,
            "occurred_at": (await clock.now(self.db)).isoformat(),
        }
        return row | changes

    async def read(self, lines: Iterable[Line], **wish: Any) -> Report:
        """Reconcile a statement of these lines that covers all of the time."""
        with self.file.open("w", newline="") as file:
            writer = csv.DictWriter(file, HEAD)
            writer.writeheader()
            writer.writerows(lines)
        given = {"since": datetime.fromisoformat("2020-01-01T00:00Z"), "until": datetime.fromisoformat("2100-01-01T00:00Z")} | wish
        return await reconcile(self.ctx, Wish(self.provider, frozenset({self.provider}), **given), read_csv(self.file))

    async def cases(self, *, everything: bool = False) -> list[cases.Case]:
        """What is listed about this shop by reconciliation."""
        found = await cases.find_cases(self.db, merchant_id=self.shop.merchant_id, open_only=not everything, limit=1000)
        return [case for case in found if case.kind.startswith("reconcile_")]

    async def of_the_house(self) -> list[cases.Case]:
        """What the house was told about this provider."""
        found = await cases.find_cases(self.db, merchant_id="1", limit=10_000)
        return [case for case in found if case.act.startswith(self.provider)]


@pytest.fixture
def desk(shop: Shop, tmp_path: Path) -> Desk:
    return Desk(shop, tmp_path)


def told(report: Report) -> dict[str, int]:
    return dict(report.types)


async def test_a_statement_that_agrees_opens_no_case(desk: Desk) -> None:
    payment = await desk.paid()
    refund = await desk.give_back(payment, 2_500)
    report = await desk.read([await desk.line(payment), await desk.line(payment, refund)])
    assert (told(report), report.open_differences, report.rows, report.payments) == ({}, 0, 2, 1)
    assert await desk.cases(everything=True) == []


async def test_every_edit_of_a_statement_is_found_and_typed(desk: Desk) -> None:
    """F20: rows that are missing, extra and different."""
    right, missing, amount, currency, declined, twice, refunded, other_sum, unknown_refund = [await desk.paid() for _ in range(9)]
    unpaid = await open_payment(desk.shop, provider="link", method=f"link:{desk.provider}")
    await settle(desk.shop, unpaid, "declined")
    absent, wrong = await desk.give_back(refunded, 1_000), await desk.give_back(other_sum, 1_000)
    extra = new_id()
    lines = [
        await desk.line(right),
        await desk.line(amount, amount="99.99"),
        await desk.line(currency, currency="USD"),
        await desk.line(unpaid),
        *([await desk.line(twice)] * 2),
        await desk.line(refunded),
        await desk.line(other_sum),
        await desk.line(other_sum, wrong, amount="9.99"),
        await desk.line(unknown_refund),
        await desk.line(unknown_refund, kind="refund", amount="1.00"),
        await desk.line(right, payment_id=extra),
        await desk.line(declined),
    ]
    report = await desk.read(lines)
    assert told(report) == {
        "amount_differs": 1,
        "currency_differs": 1,
        "status_differs": 1,
        "duplicate_row": 1,
        "refund_missing_there": 1,
        "refund_amount_differs": 1,
        "refund_missing_here": 1,
        "missing_here": 1,
        "missing_there": 1,
    }
    about = {(case.kind.removeprefix("reconcile_"), case.subject) for case in await desk.cases()}
    assert about == {
        ("amount_differs", f"payment:{amount.payment_id}"),
        ("currency_differs", f"payment:{currency.payment_id}"),
        ("status_differs", f"payment:{unpaid.payment_id}"),
        ("duplicate_row", f"payment:{twice.payment_id}"),
        ("refund_missing_there", f"payment:{refunded.payment_id}"),
        ("refund_amount_differs", f"payment:{other_sum.payment_id}"),
        ("refund_missing_here", f"payment:{unknown_refund.payment_id}"),
        ("missing_there", f"payment:{missing.payment_id}"),
    }
    (stranger,) = await desk.of_the_house()
    assert (stranger.kind, stranger.subject, stranger.amount_minor) == ("reconcile_missing_here", f"payment:{extra}", 10_000)
    assert absent.status == "succeeded"


async def test_a_charge_that_a_restored_database_has_lost_is_listed(desk: Desk) -> None:
    """F15: the provider has money that we do not know of."""
    payments_ = [await desk.paid() for _ in range(3)]
    lines = [await desk.line(payment) for payment in payments_]
    lost = payments_[1]
    await desk.db.execute("DELETE FROM payments WHERE payment_id = $1", lost.payment_id)
    report = await desk.read(lines)
    assert told(report) == {"missing_here": 1}
    assert [case.subject for case in await desk.of_the_house()] == [f"payment:{lost.payment_id}"]


async def test_the_merchant_whose_statement_it_is_is_told(desk: Desk) -> None:
    line = await desk.line(await desk.paid(), payment_id=new_id())
    await desk.read([line], merchant_id=desk.shop.merchant_id)
    assert {case.kind for case in await desk.cases()} == {"reconcile_missing_here", "reconcile_missing_there"}


async def test_running_it_twice_adds_nothing(desk: Desk) -> None:
    payment = await desk.paid()
    lines = [await desk.line(payment, amount="1.00")]
    first, second = await desk.read(lines), await desk.read(lines)
    assert (first.opened, second.opened, second.open_differences) == (1, 0, 1)
    assert len(await desk.cases(everything=True)) == 1
    assert [state for _, state in second.differences] == ["known"]


async def test_a_later_statement_that_agrees_closes_the_case(desk: Desk) -> None:
    payment, other = await desk.paid(), await desk.paid()
    await desk.read([await desk.line(payment, amount="1.00")])
    assert len(await desk.cases()) == 2
    report = await desk.read([await desk.line(payment)])
    assert (report.closed, told(report)) == (1, {"missing_there": 1})
    assert {case.decision for case in await desk.cases(everything=True)} == {RECONCILED, None}
    report = await desk.read([await desk.line(payment), await desk.line(other)])
    assert (report.closed, report.open_differences) == (1, 0)
    assert await desk.cases() == []


async def test_a_statement_that_is_about_others_closes_nothing(desk: Desk) -> None:
    payment = await desk.paid()
    await desk.read([await desk.line(payment, amount="1.00")])
    other = await desk.paid()
    start = (await clock.now(desk.db)) - timedelta(microseconds=1)
    report = await desk.read([await desk.line(other)], since=start)
    assert report.closed == 0
    assert len(await desk.cases()) == 1


async def test_another_providers_statement_closes_nothing(desk: Desk) -> None:
    payment = await desk.paid()
    await desk.read([await desk.line(payment, amount="1.00")])
    theirs = Wish("link", frozenset({"link"}), desk.shop.merchant_id)
    desk.file.write_text(desk.file.read_text().replace(",1.00,", ",100.00,"))
    report = await reconcile(desk.ctx, theirs, read_csv(desk.file))
    assert (report.closed, told(report)) == (0, {})
    assert len(await desk.cases()) == 1


async def test_what_a_person_closed_stays_closed_while_it_is_the_same(desk: Desk) -> None:
    payment = await desk.paid()
    lines = [await desk.line(payment, amount="1.00")]
    await desk.read(lines)
    (case,) = await desk.cases()
    await cases.close_case(desk.db, case.merchant_id, case.case_id, "agreed with the provider")
    report = await desk.read(lines)
    assert (report.opened, report.decided, report.open_differences) == (0, 1, 0)
    assert await desk.cases() == []
    report = await desk.read([lines[0] | {"amount": "2.00"}])
    assert (report.opened, report.open_differences) == (1, 1)


async def test_a_verdict_about_the_payment_decides_no_difference(desk: Desk) -> None:
    payment = await desk.paid()
    lines = [await desk.line(payment, amount="1.00")]
    await desk.read(lines)
    await cases.close_cases(desk.db, payment.merchant_id, f"payment:{payment.payment_id}", "by hand: it was paid")
    assert (await desk.read(lines)).opened == 1


async def test_a_case_about_the_providers_words_is_over_when_the_payment_is_found(desk: Desk) -> None:
    payment = await desk.paid()
    lines = [await desk.line(payment, payment_id="", provider_ref="ch_77")]
    assert told(await desk.read(lines, since=None, until=None)) == {"missing_here": 1, "missing_there": 1}
    (case,) = await desk.of_the_house()
    assert case.subject == "reference:ch_77"
    await desk.db.execute("UPDATE payments SET provider_ref = 'ch_77' WHERE payment_id = $1", payment.payment_id)
    report = await desk.read(lines)
    assert (told(report), report.closed) == ({}, 2)
    assert await desk.of_the_house() == []


async def test_a_refund_that_was_not_booked_is_over_when_it_is(desk: Desk) -> None:
    payment = await desk.paid()
    refund = await desk.give_back(payment, 1_000, said="impossible")
    lines = [await desk.line(payment), await desk.line(payment, refund)]
    assert told(await desk.read(lines)) == {"refund_missing_here": 1}
    async with desk.db.transaction("refund") as tx:
        now = await payments.find(tx, payment.merchant_id, payment.payment_id)
        assert now is not None
        await checkout.note_refund(tx, now, refund, RefundVerdict("succeeded"))
    report = await desk.read(lines)
    assert (told(report), report.closed) == ({}, 1)


async def test_a_refund_of_an_old_payment_is_missed_too(desk: Desk) -> None:
    payment = await desk.paid()
    await desk.db.execute(
        "UPDATE payments SET created_at = created_at - interval '40 days' WHERE payment_id = $1", payment.payment_id
    )
    await desk.give_back(payment, 1_000)
    since = await clock.now(desk.db) - timedelta(hours=1)
    report = await desk.read([], since=since)
    assert told(report) == {"refund_missing_there": 1}


async def test_payments_that_still_move_are_counted_and_not_judged(desk: Desk) -> None:
    waiting = await open_payment(desk.shop, provider="link", method=f"link:{desk.provider}")
    await settle(desk.shop, waiting, "waiting")
    unknown = await open_payment(desk.shop, provider="link", method=f"link:{desk.provider}")
    await settle(desk.shop, unknown, "unknown")
    giving = await desk.paid()
    await desk.give_back(giving, 10_000, said="pending")
    lines = [await desk.line(payment, amount="1.00") for payment in (waiting, unknown, giving)]
    report = await desk.read(lines)
    assert (told(report), report.moving) == ({}, 3)


async def test_a_parked_payment_is_what_a_statement_decides(desk: Desk) -> None:
    payment = await open_payment(desk.shop, provider="link", method=f"link:{desk.provider}")
    unknown = (await settle(desk.shop, payment, "unknown")).payment
    await settle(desk.shop, unknown, Verdict("parked"))
    assert told(await desk.read([await desk.line(payment)])) == {"status_differs": 1}


async def test_charges_are_found_by_the_providers_id_and_by_our_key(desk: Desk, shop: Shop) -> None:
    held = await shop.begin({"mouse": 1}, provider="card")
    await settle(shop, held.payment, Verdict("paid", ref="t-by-ref"))
    by_key = await shop.begin({"mouse": 1}, provider="card")
    await settle(shop, by_key.payment, Verdict("paid", ref="t-by-key"))
    first = await desk.line(held.payment, payment_id="", provider_ref="t-by-ref")
    second = await desk.line(by_key.payment, payment_id="")
    rows = [
        replace(row, provider_key=by_key.payment.provider_key) if row.line == 3 else row
        for row in await parsed(desk, first, second)
    ]
    report = await reconcile(desk.ctx, Wish("card", frozenset({"card"}), shop.merchant_id), rows)
    assert (told(report), report.payments) == ({}, 2)


async def parsed(desk: Desk, *lines: Line) -> list[Any]:
    """The rows of a file; one that would name no payment is given a name first."""
    with desk.file.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEAD)
        writer.writeheader()
        writer.writerows([line | {"provider_ref": line.get("provider_ref") or "somebody"} for line in lines])
    return list(read_csv(desk.file))


async def test_one_merchants_statement_leaves_the_others_alone(desk: Desk, tmp_path: Path) -> None:
    other = Desk(await open_shop(desk.ctx, mouse=1), tmp_path)
    other.provider = desk.provider
    mine, theirs = await desk.paid(), await other.paid()
    await other.paid()
    lines = [await desk.line(mine), await desk.line(theirs, amount="1.00")]
    report = await desk.read(lines, merchant_id=desk.shop.merchant_id)
    assert (told(report), report.elsewhere) == ({}, 1)
    assert await other.cases() == []
    assert told(await desk.read(lines)) == {"amount_differs": 1, "missing_there": 1}
    assert len(await other.cases()) == 2


async def test_a_row_that_cannot_be_read_stops_before_anything_is_listed(desk: Desk) -> None:
    payment = await desk.paid()
    with pytest.raises(BadStatement, match="line 3"):
        await desk.read([await desk.line(payment, amount="1.00"), await desk.line(payment, kind="payout")])
    assert await desk.cases() == []


async def test_without_a_time_a_statement_speaks_of_its_days_and_not_of_what_is_to_come(desk: Desk) -> None:
    first, missed = await desk.paid(), await desk.paid()
    last = await desk.paid()
    lines = [await desk.line(first), await desk.line(last)]
    after = await desk.paid()
    report = await desk.read(lines, since=None, until=None)
    assert report.period.since is not None
    assert report.period.since.hour == 0
    assert [each.subject for each, _ in report.differences] == [f"payment:{missed.payment_id}"]
    assert after.payment_id not in {uuid.UUID(each.subject.partition(":")[2]) for each, _ in report.differences}


async def test_an_empty_statement_of_no_time_says_nothing(desk: Desk) -> None:
    await desk.paid()
    assert told(await desk.read([], since=None, until=None)) == {}
    assert told(await desk.read([])) == {"missing_there": 1}


async def test_nothing_is_lost_between_two_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PAGE", 3)
    found = [await desk.paid() for _ in range(10)]
    lines = [
        await desk.line(payment, payment_id=payment.payment_id if number % 2 else new_id()) for number, payment in enumerate(found)
    ]
    report = await desk.read(lines)
    assert told(report) == {"missing_here": 5, "missing_there": 5}
    assert (len(await desk.cases()), len(await desk.of_the_house())) == (5, 5)


async def test_reconciling_writes_nothing_but_cases(desk: Desk) -> None:
    payment = await desk.paid()
    before = await desk.db.row("SELECT p::text FROM payments p WHERE payment_id = $1", payment.payment_id)
    events = await desk.shop.events(f"payment:{payment.payment_id}")
    await desk.read([await desk.line(payment, amount="1.00")])
    assert await desk.db.row("SELECT p::text FROM payments p WHERE payment_id = $1", payment.payment_id) == before
    assert await desk.shop.events(f"payment:{payment.payment_id}") == events
