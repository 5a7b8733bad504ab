"""Twelve hours at Payme, a day of the link, and what is over when (section 4.1; purchases contract, section 5).

The clock of this Kassa stands where a test puts it, and it has no workers: what happens, a call did.
"""

from __future__ import annotations

import pytest

from .booking import Booking
from .conftest import DAY, Still
from .paycom import HALF_A_DAY, Cashbox, Purchase, a_tx, code_of, refused, result, until
from .texts import BUSY, CLOSED, NO_TRANSACTION, NOT_NOW

HOUR = 3_600_000


@pytest.fixture
def slow(still: Still, morning: int) -> Cashbox:
    """Payme, calling the Kassa whose clock stands still."""
    assert still.payme.now() == morning
    return still.payme


@pytest.fixture
def purchase(still: Still, morning: int) -> Purchase:
    return still.booking.buy()


def test_our_times_are_the_databases_to_the_millisecond(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = slow.created(purchase, time=morning - 123)
    still.at(morning + 1_001)
    slow.performed(tx)
    still.at(morning + 2_999)
    slow.cancelled(tx, 5, -2)
    seen = slow.seen(tx)
    assert (seen["create_time"], seen["perform_time"], seen["cancel_time"]) == (morning, morning + 1_001, morning + 2_999)


def test_a_repeat_hours_later_is_the_same_answer(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = a_tx()
    created = result(slow.create(purchase, tx))
    still.at(morning + 11 * HOUR)
    assert result(slow.create(purchase, tx)) == created
    performed = result(slow.perform(tx))
    still.at(morning + 3 * DAY)
    assert result(slow.perform(tx)) == performed
    cancelled = result(slow.cancel(tx, 5))
    still.at(morning + 9 * DAY)
    assert result(slow.cancel(tx, 3)) == cancelled


@pytest.mark.parametrize(("late", "ahead"), [(0, 0), (5_000, 0), (HOUR, 0), (0, 1_000), (0, HOUR), (0, DAY)])
def test_it_lives_for_twelve_hours_of_paymes_time_or_ours(still: Still, slow: Cashbox, morning: int, late: int, ahead: int) -> None:
    """Counted from `time`; from our create_time when Payme's clock runs ahead. At the deadline itself it still lives."""
    deadline = morning - late + HALF_A_DAY
    purchases = [still.booking.buy() for _ in range(3)]
    txs = [slow.created(each, time=morning - late + ahead) for each in purchases]
    still.at(deadline)
    assert result(slow.create(purchases[0], txs[0]))["state"] == 1
    refused(slow.check_perform(purchases[0]), BUSY)
    slow.performed(txs[0])
    still.at(deadline + 1)
    assert [slow.state(tx) for tx in txs] == [(2, None), (1, None), (1, None)], "asking changes nothing"
    refused(slow.create(purchases[1], txs[1]), NOT_NOW)
    refused(slow.perform(txs[2]), NOT_NOW)
    for tx in txs[1:]:
        seen = slow.seen(tx)
        assert (seen["state"], seen["reason"], seen["cancel_time"]) == (-1, 4, deadline + 1)
    assert slow.state(txs[0]) == (2, None)


@pytest.mark.parametrize("microseconds", [1, 499, 500, 999])
def test_a_moment_between_two_milliseconds_is_judged_and_written_alike(
    still: Still, slow: Cashbox, morning: int, purchase: Purchase, microseconds: int
) -> None:
    """One reading of the clock: what is performed at the deadline does not say that it was performed after it."""
    tx, deadline = slow.created(purchase, time=morning), morning + HALF_A_DAY
    still.at(deadline, microseconds)
    answer = slow.perform(tx)
    if code_of(answer) == 0:
        assert result(answer)["perform_time"] <= deadline
    else:
        refused(answer, NOT_NOW)
        assert slow.seen(tx)["cancel_time"] > deadline


def test_what_expired_stays_so_and_releases_the_order(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = slow.created(purchase, time=morning)
    still.at(morning + HALF_A_DAY + 1)
    refused(slow.perform(tx), NOT_NOW)
    seen = slow.seen(tx)
    still.at(morning + HALF_A_DAY + HOUR)
    for answer in (slow.perform(tx), slow.create(purchase, tx)):
        refused(answer, NOT_NOW)
    assert result(slow.cancel(tx, 3)) == {"transaction": seen["transaction"], "cancel_time": seen["cancel_time"], "state": -1}
    assert slow.seen(tx) == seen
    slow.allowed(purchase)
    assert still.booking.books(purchase).order == "pending"
    slow.paid(purchase)
    assert still.booking.books(purchase).truth == ("paid", "paid", 1, purchase.amount, 1)


def test_an_expired_incumbent_makes_room(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    old = slow.created(purchase, time=morning)
    still.at(morning + HALF_A_DAY)
    refused(slow.create(purchase, a_tx()), BUSY)
    still.at(morning + HALF_A_DAY + 1)
    slow.allowed(purchase)
    assert slow.state(old) == (1, None), "CheckPerform ignores it and changes nothing"
    new = slow.created(purchase)
    seen = slow.seen(old)
    assert (seen["state"], seen["reason"], seen["cancel_time"]) == (-1, 4, morning + HALF_A_DAY + 1)
    refused(slow.perform(old), NOT_NOW)
    slow.performed(new)


def test_check_and_statement_never_expire_anything(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = slow.created(purchase, time=morning)
    seen, books = slow.seen(tx), still.booking.books(purchase)
    still.at(morning + HALF_A_DAY + 5)
    for _ in range(2):
        assert slow.seen(tx) == seen
        [row] = slow.statement(morning, morning)
        assert (row["state"], row["cancel_time"]) == (1, 0)
        slow.check_perform(purchase)
    assert still.booking.books(purchase) == books


def test_an_expired_transaction_is_cancelled_for_the_reason_that_payme_gives(
    still: Still, slow: Cashbox, morning: int, purchase: Purchase
) -> None:
    tx = slow.created(purchase, time=morning)
    still.at(morning + HALF_A_DAY + HOUR)
    slow.cancelled(tx, 1)
    seen = slow.seen(tx)
    assert (seen["state"], seen["reason"], seen["cancel_time"]) == (-1, 1, morning + HALF_A_DAY + HOUR)
    slow.allowed(purchase)


def test_a_paid_transaction_never_expires(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = slow.paid(purchase)
    still.at(morning + 9 * DAY)
    assert result(slow.perform(tx))["state"] == 2
    refused(slow.create(purchase, tx), NOT_NOW)
    slow.cancelled(tx, 5, -2)


def test_a_new_transaction_may_be_twelve_hours_old_and_no_more(slow: Cashbox, morning: int, purchase: Purchase) -> None:
    tx = a_tx()
    refused(slow.create(purchase, tx, time=morning - HALF_A_DAY - 1), NOT_NOW)
    refused(slow.check(tx), NO_TRANSACTION)
    assert slow.statement(morning - HALF_A_DAY - 1, morning) == []
    slow.created(purchase, tx, time=morning - HALF_A_DAY)
    slow.performed(tx)


# The link's day


def test_a_link_is_good_for_a_day(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    still.at(morning + DAY - 1_000)
    slow.allowed(purchase)
    still.at(morning + DAY + 1_000)
    refused(slow.check_perform(purchase), CLOSED)
    refused(slow.create(purchase, a_tx()), CLOSED)


def test_a_transaction_begun_in_time_outlives_the_link(still: Still, slow: Cashbox, morning: int, purchase: Purchase) -> None:
    still.at(morning + DAY - 1_000)
    tx = slow.created(purchase)
    still.at(morning + DAY + 11 * HOUR)
    assert still.booking.books(purchase).order == "pending"
    assert result(slow.create(purchase, tx))["state"] == 1
    slow.performed(tx)
    assert still.booking.books(purchase).truth == ("paid", "paid", 1, purchase.amount, 1)


@pytest.mark.parametrize("how", ["cancel", "perform too late", "create too late"])
def test_when_it_ends_after_the_links_day_the_purchase_closes(
    still: Still, slow: Cashbox, morning: int, purchase: Purchase, how: str
) -> None:
    still.at(morning + DAY - 1_000)
    tx = slow.created(purchase)
    still.at(morning + DAY + (HOUR if how == "cancel" else HALF_A_DAY))
    if how == "cancel":
        slow.cancelled(tx, 2)
    else:
        refused(slow.perform(tx) if how == "perform too late" else slow.create(purchase, tx), NOT_NOW)
    assert slow.state(tx) == (-1, 2 if how == "cancel" else 4)
    closed(still.booking, purchase, slow)


def test_an_expired_transaction_of_a_replaced_purchase_closes_it(
    still: Still, slow: Cashbox, morning: int, purchase: Purchase
) -> None:
    tx = slow.created(purchase)
    still.booking.add(purchase.user, 1)
    new = still.booking.checkout(purchase.user)
    still.at(morning + HALF_A_DAY + 1)
    refused(slow.perform(tx), NOT_NOW)
    closed(still.booking, purchase, slow)
    slow.paid(new)


def closed(booking: Booking, purchase: Purchase, payme: Cashbox) -> None:
    """The order is cancelled and said so once; nobody can pay it."""
    books = booking.books(purchase)
    assert books.order == "cancelled"
    assert books.payment in {"expired", "cancelled"}
    assert (books.report["status"], books.entries, books.rows) == ("cancelled", 0, 0)
    assert books.events["order.cancelled"] == 1
    assert books.events["payment.expired"] <= 1
    refused(payme.check_perform(purchase), CLOSED)
    refused(payme.create(purchase, a_tx()), CLOSED)


# Whose address counts


def test_without_a_trusted_proxy_nobody_believes_a_header(still: Still, slow: Cashbox) -> None:
    """This Kassa lets 127.0.0.1 in, which we are, whatever the header says."""
    for address in ("8.8.8.8", "185.234.113.5", "127.0.0.1", "x"):
        refused(slow.with_(headers={"X-Forwarded-For": address}).check(a_tx()), NO_TRANSACTION)


# With workers


def test_nobody_has_to_ask_for_the_order_to_be_free_again(booking: Booking, payme: Cashbox) -> None:
    """The sweep: here the clock runs, and Payme's transaction is twelve hours old in a moment."""
    purchase = booking.buy()
    tx = a_tx()
    result(payme.create(purchase, tx, time=payme.now() - HALF_A_DAY + 1_500))
    until(lambda: payme.state(tx) == (-1, 4), 30, "a sweep ends it")
    payme.allowed(purchase)
    seen = payme.seen(tx)
    refused(payme.perform(tx), NOT_NOW)
    assert payme.seen(tx) == seen
    payme.paid(purchase)
