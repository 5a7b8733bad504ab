"""Many at the same moment: one truth each time, the same in Payme's answers and in our tables (section 8)."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .booking import Booking
from .conftest import TOWN
from .paycom import HALF_A_DAY, Call, Cashbox, a_tx, code_of, create, fiscal, parsed, result, rush
from .texts import BUSY, NOT_NOW, PAID

if TYPE_CHECKING:
    from tests.conftest import StartKassa

MANY = 15


@pytest.fixture(scope="module")
def payme(_town: Booking, start_kassa: StartKassa) -> Cashbox:
    """Payme, which meets one of two processes by turns: what they agree on, the database holds."""
    other = start_kassa(database=_town.server.dsn, **TOWN)
    return _town.cashbox.with_(doors=(_town.server.url, other.url))


def test_fifty_equal_creates_make_one_transaction(booking: Booking, payme: Cashbox) -> None:
    for _ in range(3):
        purchase, tx = booking.buy(), a_tx()
        answers = rush(payme, [create(purchase, tx, time=payme.now())] * 50)
        results = [result(answer) for answer in answers]
        assert results == results[:1] * 50
        assert results[0] == {name: payme.seen(tx)[name] for name in ("create_time", "transaction", "state")}
        payme.performed(tx)


def test_of_two_creates_with_different_ids_one_is_busy(booking: Booking, payme: Cashbox) -> None:
    purchases = [booking.buy() for _ in range(MANY)]
    pairs = [(a_tx(), a_tx()) for _ in purchases]
    answers = rush(payme, [create(p, tx, time=payme.now()) for p, pair in zip(purchases, pairs, strict=True) for tx in pair])
    codes = [code_of(answer) for answer in answers]
    for number, (purchase, pair) in enumerate(zip(purchases, pairs, strict=True)):
        two = dict(zip(pair, codes[2 * number : 2 * number + 2], strict=True))
        assert sorted(two.values()) == [BUSY, 0]
        [winner] = [tx for tx, code in two.items() if code == 0]
        assert booking.books(purchase).report["payme_transaction_id"] == winner
        payme.performed(winner)


def test_of_fifty_creates_with_different_ids_one_wins(booking: Booking, payme: Cashbox) -> None:
    purchase, txs, time = booking.buy(), [a_tx() for _ in range(50)], payme.now() + 10**12
    codes = Counter(code_of(answer) for answer in rush(payme, [create(purchase, tx, time=time) for tx in txs]))
    assert codes == {0: 1, BUSY: 49}
    assert len([row for row in payme.statement(time, time) if row["id"] in txs]) == 1


def test_one_id_for_two_orders_is_one_transaction(booking: Booking, payme: Cashbox) -> None:
    for _ in range(MANY):
        one, other, tx = booking.buy(4), booking.buy(4), a_tx()
        time = payme.now()
        answers = rush(payme, [create(each, tx, time=time) for each in (one, other, one, other)])
        codes = [code_of(answer) for answer in answers]
        assert sorted(codes) == [-31050, -31050, 0, 0], [answer.json() for answer in answers]
        winner, loser = (one, other) if codes[0] == 0 else (other, one)
        assert codes[0] == codes[2]
        payme.performed(tx)
        assert booking.books(winner).truth == ("paid", "paid", 1, winner.amount, 1)
        payme.allowed(loser)


def test_fifty_performs_pay_once(booking: Booking, payme: Cashbox) -> None:
    for _ in range(3):
        purchase = booking.buy(1, 2)
        tx = payme.created(purchase)
        results = [result(answer) for answer in rush(payme, [("PerformTransaction", {"id": tx})] * 50)]
        assert results == results[:1] * 50
        books = booking.books(purchase)
        assert books.truth == ("paid", "paid", 1, purchase.amount, 2)
        assert set(books.events.values()) == {1}, books.events


def test_fifty_cancels_refund_once(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.paid(purchase)
    calls: list[Call] = [("CancelTransaction", {"id": tx, "reason": number}) for number in range(50)]
    results = [result(answer) for answer in rush(payme, calls)]
    assert results == results[:1] * 50
    books = booking.books(purchase)
    assert books.truth == ("cancelled", "refunded", 2, 0, 0)
    assert set(books.events.values()) == {1}, books.events


def test_perform_and_cancel_at_once_agree_on_an_end(booking: Booking, payme: Cashbox) -> None:
    """Either the money came and went back, or it never came."""
    purchases = [booking.buy() for _ in range(MANY)]
    txs = [payme.created(purchase) for purchase in purchases]
    calls: list[Call] = []
    for number, tx in enumerate(txs):
        pair: list[Call] = [("PerformTransaction", {"id": tx}), ("CancelTransaction", {"id": tx, "reason": 5})]
        calls += pair if number % 2 else pair[::-1]
    answers = rush(payme, calls)
    for number, (purchase, tx) in enumerate(zip(purchases, txs, strict=True)):
        perform, cancel = answers[2 * number : 2 * number + 2][:: 1 if number % 2 else -1]
        state = result(cancel)["state"]
        assert payme.state(tx) == (state, 5)
        books = booking.books(purchase)
        if state == -2:
            assert result(perform)["state"] == 2
            assert books.truth == ("cancelled", "refunded", 2, 0, 0)
        else:
            assert code_of(perform) == NOT_NOW
            assert (books.order, books.entries, books.rows, books.events["payment.paid"]) == ("pending", 0, 0, 0)
            payme.allowed(purchase)


def test_perform_at_the_very_deadline_is_paid_or_over(booking: Booking, payme: Cashbox) -> None:
    """Twenty deadlines a moment ahead, and a Perform around each, while the sweep goes about."""
    purchases = [booking.buy() for _ in range(20)]
    txs = [a_tx() for _ in purchases]
    asked = payme.now()
    payme.check(txs[0])
    begin = payme.now() + 2_500 + 5 * len(txs) * (payme.now() - asked)  # a busy machine takes longer to get there
    for number, (purchase, tx) in enumerate(zip(purchases, txs, strict=True)):
        result(payme.create(purchase, tx, time=begin + 20 * number - HALF_A_DAY))
    wait = (begin - payme.now()) / 1000
    assert wait > 0
    calls = [
        (wait + 0.02 * n + late, "PerformTransaction", {"id": tx})
        for n, tx in enumerate(txs)
        for late in (-0.015, -0.003, 0.0, 0.01)
    ]
    answers = rush(payme, calls)
    for number, (purchase, tx) in enumerate(zip(purchases, txs, strict=True)):
        four = answers[4 * number : 4 * number + 4]
        codes = {code_of(answer) for answer in four}
        assert len(codes) == 1, "one answer for all"
        books = booking.books(purchase)
        if codes == {0}:
            assert len({answer.json()["result"]["perform_time"] for answer in four}) == 1
            assert result(four[0])["perform_time"] <= begin + 20 * number
            assert payme.state(tx) == (2, None)
            assert books.truth == ("paid", "paid", 1, purchase.amount, 1)
        else:
            assert codes == {NOT_NOW}
            assert payme.state(tx) == (-1, 4)
            assert payme.seen(tx)["cancel_time"] > begin + 20 * number
            assert (books.order, books.entries, books.rows) == ("pending", 0, 0)
            payme.allowed(purchase)


def test_everything_at_once_for_one_order(booking: Booking, payme: Cashbox) -> None:
    """Two transactions, all methods, in any order: at most one is paid, and the books say the same."""
    for _ in range(8):
        purchase, txs = booking.buy(), [a_tx(), a_tx()]
        calls: list[Call] = []
        for tx in txs:
            calls += [create(purchase, tx, time=payme.now()), ("PerformTransaction", {"id": tx}), ("CheckTransaction", {"id": tx})]
            calls += [("CancelTransaction", {"id": tx, "reason": 3}), create(purchase, tx, time=payme.now()), fiscal(tx)]
        for answer in rush(payme, calls * 2):
            assert parsed(answer).get("error", {}).get("code") != -32400
        states = [payme.state(tx)[0] for tx in txs if code_of(payme.check(tx)) == 0]
        books = booking.books(purchase)
        assert sum(state in {1, 2} for state in states) <= 1
        assert books.entries == sum({2: 1, -2: 2}.get(state, 0) for state in states)
        assert books.held == (purchase.amount if 2 in states else 0)
        assert books.order == ("paid" if 2 in states else "cancelled" if -2 in states else "pending")
        assert {type_: n for type_, n in books.events.items() if n > 1} == {}


def test_create_and_a_newer_checkout_at_once(booking: Booking, payme: Cashbox) -> None:
    """Either Payme holds the old purchase, and it lives beside the new one; or it closed first."""
    for _ in range(MANY):
        old, tx = booking.buy(4), a_tx()
        booking.add(old.user, 1)
        with ThreadPoolExecutor(1) as hands:
            call = create(old, tx, time=payme.now())
            asked = hands.submit(rush, payme, [call])
            new = booking.checkout(old.user)
            code = code_of(asked.result()[0])
        assert code in {0, -31053}
        assert booking.books(old).order == ("pending" if code == 0 else "cancelled")
        assert booking.books(new).order == "pending"
        if code == 0:
            payme.performed(tx)
            assert booking.books(new).order == "cancelled"


def test_two_held_purchases_of_a_cart_are_paid_at_once(booking: Booking, payme: Cashbox) -> None:
    for _ in range(MANY // 2):
        first = booking.buy(4)
        one = payme.created(first)
        booking.add(first.user, 1)
        second = booking.checkout(first.user)
        two = payme.created(second)
        answers = rush(payme, [("PerformTransaction", {"id": tx}) for tx in (one, two)])
        assert [result(answer)["state"] for answer in answers] == [2, 2]
        assert booking.books(first).truth == ("paid", "paid", 1, first.amount, 1)
        assert booking.books(second).truth == ("paid", "paid", 1, second.amount, 2)


def test_a_perform_and_a_create_of_another_purchase_of_the_cart_agree(booking: Booking, payme: Cashbox) -> None:
    """Perform cancels the cart's other purchases, unless Payme holds them just then."""
    for _ in range(MANY):
        first = booking.buy(4)
        one = payme.created(first)
        booking.add(first.user, 1)
        second, two = booking.checkout(first.user), a_tx()
        perform, other = rush(payme, [("PerformTransaction", {"id": one}), create(second, two, time=payme.now())])
        assert result(perform)["state"] == 2
        code = code_of(other)
        assert code in {0, -31053}
        assert booking.books(second).order == ("pending" if code == 0 else "cancelled")
        if code == 0:
            payme.performed(two)


def test_a_paid_order_takes_no_second_transaction_in_a_rush(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.created(purchase)
    calls: list[Call] = [("PerformTransaction", {"id": tx}), *(create(purchase, a_tx(), time=payme.now()) for _ in range(20))]
    codes = Counter(code_of(answer) for answer in rush(payme, calls))
    assert codes[0] == 1
    assert set(codes) <= {0, BUSY, PAID}
