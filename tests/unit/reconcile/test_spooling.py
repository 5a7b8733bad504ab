"""A statement on disk: equal rows are counted, and rows are found by payment."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.factories import NOON
from tests.unit.reconcile.statements import row

from kassa.reconcile import Row
from kassa.reconcile.spool import Spool


def filled(spool: Spool, *rows: Row) -> int:
    return ([0, *spool.fill(rows)])[-1]


def test_what_goes_in_comes_out_and_equal_rows_are_counted() -> None:
    first, refund = row(line=2, provider_ref="ch_1"), row("refund", "5.00", line=4, refund_id="re_1", currency=None)
    declined = row("declined", None, line=5)
    with Spool() as spool:
        assert filled(spool, first, replace(first, line=3), refund, declined) == 4
        assert spool.resolve([(first.name, uuid.UUID(int=1))]) == 1
        assert spool.rows_of(uuid.UUID(int=1)) == [replace(first, times=2), refund, declined]


def test_rows_under_different_names_meet_in_their_payment() -> None:
    payment = uuid.uuid4()
    by_key, by_ref = row(payment_id=None, provider_key="k"), row("refund", payment_id=None, provider_ref="ch_1", line=3)
    with Spool() as spool:
        filled(spool, by_key, by_ref)
        assert spool.names("") == ["key:k", "ref:ch_1"]
        assert spool.unknown() == 2
        assert spool.resolve([("key:k", payment), ("ref:ch_1", payment), ("ref:nobody", payment)]) == 2
        assert spool.rows_of(payment) == [by_key, by_ref]
        assert (spool.unknown(), spool.names(""), spool.payments("", 9), spool.seen([payment, uuid.uuid4()])) == (
            0,
            [],
            [payment],
            {payment},
        )


def test_a_statement_knows_its_first_and_last_moment() -> None:
    with Spool() as spool:
        assert spool.times() is None
        filled(spool, row(occurred_at=NOON + timedelta(microseconds=1)), row(occurred_at=NOON))
        assert spool.times() == (NOON, NOON + timedelta(microseconds=1))


def test_nothing_is_left_on_the_disk() -> None:
    with Spool() as spool:
        folder = Path(spool._folder)
        assert folder.exists()
    assert not folder.exists()


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 7))
def test_pages_give_every_payment_once(numbers: list[int], size: int) -> None:
    rows = [row(payment_id=uuid.UUID(int=number), line=place) for place, number in enumerate(numbers, 2)]
    with Spool() as spool:
        filled(spool, *rows)
        spool.resolve([(each.name, each.payment_id) for each in rows if each.payment_id])
        found, after = [], ""
        while page := spool.payments(after, size):
            found += page
            after = str(page[-1])
        assert found == sorted({each.payment_id for each in rows if each.payment_id})
