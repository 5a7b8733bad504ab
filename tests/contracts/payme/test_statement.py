"""GetStatement: what Payme compares its book with (section 5.6).

Every test uses a period of its own in the far future: the statement goes by Payme's time, and that is what a test says it is.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterator

import pytest

from .booking import Booking
from .paycom import Cashbox, Json, a_tx, refused
from .texts import BUSY

_periods: Iterator[int] = itertools.count(6_000_000_000_000 + secrets.randbelow(10**12), 10_000_000)
MEMBERS = {
    *(
        "id",
        "time",
        "amount",
        "account",
        "create_time",
        "perform_time",
        "cancel_time",
        "transaction",
        "state",
        "reason",
        "receivers",
    ),
}


@pytest.fixture
def day() -> int:
    """The first moment of a period of 10,000 seconds that no other test uses."""
    return next(_periods)


def ids(rows: list[Json]) -> list[str]:
    return [row["id"] for row in rows]


def test_a_period_without_transactions_is_empty(payme: Cashbox, day: int) -> None:
    assert payme.statement(day, day + 9_999_999) == []


def test_all_four_states_are_told_as_the_methods_told_them(booking: Booking, payme: Cashbox, day: int) -> None:
    purchases = [booking.buy(4), booking.buy(1), booking.buy(1, 2), booking.buy(5)]
    txs = [
        payme.created(purchases[0], time=day),
        payme.paid(purchases[1], time=day + 1),
        payme.cancelled(payme.created(purchases[2], time=day + 2), 4),
        payme.cancelled(payme.paid(purchases[3], time=day + 3), 5, -2),
    ]
    rows = payme.statement(day, day + 3)
    assert ids(rows) == txs
    assert [row["state"] for row in rows] == [1, 2, -1, -2]
    for number, (row, tx, purchase) in enumerate(zip(rows, txs, purchases, strict=True)):
        assert set(row) == MEMBERS
        assert row == {
            "id": tx,
            "time": day + number,
            "amount": purchase.amount,
            "account": purchase.account,
            "receivers": None,
            **payme.seen(tx),
        }
        assert type(row["amount"]) is type(row["time"]) is int
    assert payme.statement(day, day + 3) == rows


def test_both_ends_belong_to_it(booking: Booking, payme: Cashbox, day: int) -> None:
    first, second, third = (payme.created(booking.buy(), time=day + step) for step in (100, 200, 300))
    assert ids(payme.statement(day + 100, day + 300)) == [first, second, third]
    assert ids(payme.statement(day + 101, day + 300)) == [second, third]
    assert ids(payme.statement(day + 100, day + 299)) == [first, second]
    assert ids(payme.statement(day + 101, day + 299)) == [second]
    assert ids(payme.statement(day + 200, day + 200)) == [second]
    assert ids(payme.statement(day + 201, day + 299)) == []
    assert ids(payme.statement(day, day + 10**6)) == [first, second, third]


def test_an_end_before_the_beginning_selects_nothing(booking: Booking, payme: Cashbox, day: int) -> None:
    payme.created(booking.buy(), time=day + 5)
    assert payme.statement(day + 10, day) == []
    assert payme.statement(day + 5, day + 4) == []
    assert payme.statement(10**30, 0) == []


def test_numbers_beyond_any_clock_are_only_far_away(booking: Booking, payme: Cashbox, day: int) -> None:
    tx = payme.created(booking.buy(), time=day)
    assert tx in ids(payme.statement(0, 10**30))
    assert tx in ids(payme.statement(day, 2**63))
    assert payme.statement(2**63, 2**64) == []
    assert payme.statement(0, 0) == []


def test_it_is_sorted_by_paymes_time_and_not_by_ours(booking: Booking, payme: Cashbox, day: int) -> None:
    steps = [5, 1, 3, 2, 4]
    txs = {step: payme.created(booking.buy(), time=day + step) for step in steps}
    assert ids(payme.statement(day, day + 9)) == [txs[step] for step in sorted(steps)]


def test_ties_go_by_our_time_then_by_id(booking: Booking, payme: Cashbox, day: int) -> None:
    txs = [payme.created(booking.buy(), time=day) for _ in range(6)]
    rows = payme.statement(day, day)
    assert sorted(ids(rows)) == sorted(txs)
    assert ids(rows) == [row["id"] for row in sorted(rows, key=lambda row: (row["create_time"], row["id"]))]


def test_what_was_refused_is_not_in_it(booking: Booking, payme: Cashbox, day: int) -> None:
    purchase = booking.buy()
    tx = payme.created(purchase, time=day)
    refused(payme.create(purchase, a_tx(), time=day + 1), BUSY)
    payme.create(purchase, a_tx(), time=day + 2, amount=1)
    payme.create(purchase, a_tx(), time=day + 3, account={})
    payme.perform(a_tx())
    payme.check_perform(purchase)
    assert ids(payme.statement(day, day + 9)) == [tx]


def test_several_attempts_at_one_order_are_all_in_it(booking: Booking, payme: Cashbox, day: int) -> None:
    purchase = booking.buy()
    failed = [payme.cancelled(payme.created(purchase, time=day + n)) for n in range(3)]
    paid = payme.paid(purchase, time=day + 3)
    assert [(row["id"], row["state"]) for row in payme.statement(day, day + 3)] == [*((tx, -1) for tx in failed), (paid, 2)]


def test_a_repeat_with_another_time_does_not_move_it(booking: Booking, payme: Cashbox, day: int) -> None:
    purchase = booking.buy()
    tx = payme.created(purchase, time=day)
    payme.create(purchase, tx, time=day + 50)
    assert ids(payme.statement(day, day)) == [tx]
    assert payme.statement(day + 1, day + 99) == []


def test_the_account_is_as_payme_sent_it(booking: Booking, payme: Cashbox, day: int) -> None:
    purchase = booking.buy()
    account = {"zeta": "  ", "order_id": f" {purchase.purchase_id.upper()} ", "alpha": [1, None, {"b": True}], "ё": "😀"}
    payme.created(purchase, time=day, account=account)
    [row] = payme.statement(day, day)
    assert json.dumps(row["account"]) == json.dumps(account), "the members stand in Payme's order"


def test_asking_changes_nothing(booking: Booking, payme: Cashbox, day: int) -> None:
    purchase = booking.buy()
    payme.created(purchase, time=day)
    before = booking.books(purchase)
    assert payme.statement(day, day + 1) == payme.statement(day, day + 1)
    assert booking.books(purchase) == before


def test_three_thousand_transactions_are_told_at_once(booking: Booking, payme: Cashbox, day: int) -> None:
    """The busiest day of a cashbox, written into the table; everything of it comes, sorted, in well under a second."""
    purchase = booking.buy()
    tx = payme.cancelled(payme.created(purchase, time=day))
    booking.server.sql(
        """
        INSERT INTO payme_transactions SELECT (jsonb_populate_record(t, to_jsonb(t) || jsonb_build_object(
                   'transaction_id', gen_random_uuid(), 'payme_id', left($1, 12) || lpad(n::text, 12, '0'), 'time_ms', $2::bigint + n * 7919 % 3000))).*
          FROM payme_transactions t, generate_series(1, 3000) n WHERE t.payme_id = $1
        """,
        tx,
        day,
    )
    begin = time.monotonic()
    rows = payme.statement(day, day + 2999)
    took = time.monotonic() - begin
    assert len(set(ids(rows))) == len(rows) == 3001
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert all(set(row) == MEMBERS and row["account"] == purchase.account for row in rows)
    assert took < 2, took
    plan = explained(booking, day)
    assert "Index" in plan, plan
    booking.server.sql("DELETE FROM payme_transactions WHERE time_ms BETWEEN $1 AND $2 AND payme_id <> $3", day, day + 2999, tx)


def explained(booking: Booking, day: int) -> str:
    """How the database finds a period: by an index on Payme's time."""
    rows = booking.server.sql(
        f"EXPLAIN SELECT * FROM payme_transactions WHERE merchant_id = '1' AND time_ms BETWEEN {day} AND {day + 9} ORDER BY time_ms"
    )
    return str(rows)
