"""From the question to the money: CheckPerform, Create, Perform, Cancel, Check (sections 5.1 to 5.5, and the matrix of section 7)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from .booking import PRICES, Booking, a_user
from .paycom import UNKNOWN_ORDER, Cashbox, Purchase, a_tx, refused, result
from .texts import AMOUNT, BUSY, CLOSED, FULFILLED, NO_ORDER, NO_TRANSACTION, NOT_NOW, PAID

# CheckPerformTransaction


def test_an_order_that_waits_may_be_paid_and_asking_changes_nothing(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(1, 4)
    assert purchase.amount == PRICES[1] + PRICES[4]
    before = booking.books(purchase)
    for _ in range(3):
        payme.allowed(purchase)
    assert booking.books(purchase) == before
    assert before.truth in {("pending", "waiting", 0, 0, 0), ("pending", "opened", 0, 0, 0)}


def test_an_order_of_the_shop_that_was_never_opened_for_payme_is_unknown(booking: Booking, payme: Cashbox) -> None:
    user = a_user()
    booking.ask(user, "POST", "/api/cart/items", json={"productId": "prod_001", "quantity": 1})
    home = {"street": "1 A", "city": "B", "state": "C", "postalCode": "400001", "country": "India"}
    answer = booking.ask(user, "POST", "/api/orders", json={"shippingAddress": home, "paymentMethod": "link:stripe"})
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["data"]["id"]
    [row] = booking.server.sql("SELECT total_minor FROM orders WHERE order_id = $1::text::uuid", order_id)
    stranger = Purchase(order_id, "", row["total_minor"], "", user, payme)
    refused(payme.check_perform(stranger), NO_ORDER)
    refused(payme.create(stranger, a_tx()), NO_ORDER)


def test_the_amount_is_looked_at_before_the_state(booking: Booking, payme: Cashbox) -> None:
    """The sandbox's wrong-amount test wants -31001 whatever the order's state."""
    busy, paid, refunded, closed = (booking.buy() for _ in range(4))
    payme.created(busy)
    payme.paid(paid)
    payme.refunded(refunded)
    booking.add(closed.user, 1)
    booking.checkout(closed.user)
    for purchase, code in ((busy, BUSY), (paid, PAID), (refunded, CLOSED), (closed, CLOSED)):
        tx = a_tx()
        for amount in (1, 0, -1, purchase.amount + 1, purchase.amount // 100):
            refused(payme.check_perform(purchase, amount=amount), AMOUNT)
            refused(payme.create(purchase, tx, amount=amount), AMOUNT)
        refused(payme.check_perform(purchase), code)
        refused(payme.create(purchase, tx), code)
        refused(payme.check(tx), NO_TRANSACTION)


def test_an_unknown_order_is_said_before_the_amount(payme: Cashbox) -> None:
    for amount in (1, 0, -5, 2_500_000):
        params: dict[str, Any] = {"amount": amount, "account": {"order_id": UNKNOWN_ORDER}}
        refused(payme.ask("CheckPerformTransaction", params), NO_ORDER)
        refused(payme.ask("CreateTransaction", {"id": a_tx(), "time": payme.now(), **params}), NO_ORDER)


# CreateTransaction


def test_create_reserves_the_order(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    before = payme.now()
    tx = payme.created(purchase)
    seen = payme.seen(tx)
    assert before - 50 <= seen["create_time"] <= payme.now() + 50
    assert (seen["state"], seen["perform_time"], seen["cancel_time"], seen["reason"]) == (1, 0, 0, None)
    refused(payme.check_perform(purchase), BUSY)
    refused(payme.create(purchase, a_tx()), BUSY)


def test_a_repeated_create_is_answered_from_what_is_stored(booking: Booking, payme: Cashbox) -> None:
    purchase, tx, time = booking.buy(), a_tx(), payme.now()
    first = result(payme.create(purchase, tx, time=time))
    other_account = {"order_id": f" {purchase.purchase_id.upper()}", "phone": "1"}
    assert result(payme.create(purchase, tx, time=time + 5)) == first
    assert result(payme.create(purchase, tx, time=1_000_000_000_000)) == first
    assert result(payme.create(purchase, tx, account=other_account)) == first
    [row] = payme.statement(time, time)[-1:]
    assert (row["id"], row["time"], row["account"]) == (tx, time, purchase.account)


def test_a_known_transaction_with_another_order_or_amount_is_refused(booking: Booking, payme: Cashbox) -> None:
    purchase, other = booking.buy(), booking.buy(1)
    tx = payme.created(purchase)
    seen = payme.seen(tx)
    for account in (other.account, {"order_id": UNKNOWN_ORDER}, {}, {"order_id": None}, {"order_id": "x"}):
        refused(payme.create(purchase, tx, account=account), NO_ORDER)
        refused(payme.create(other, tx, account=account), NO_ORDER)
    for amount in (1, 0, -1, 10**30, purchase.amount + 1):
        refused(payme.create(purchase, tx, amount=amount), AMOUNT)
    assert payme.seen(tx) == seen
    payme.allowed(other)


def test_a_known_transaction_that_is_over_is_not_possible_whatever_it_names(booking: Booking, payme: Cashbox) -> None:
    other = booking.buy()
    for purchase, act in ((booking.buy(), "pay"), (booking.buy(), "cancel"), (booking.buy(), "refund")):
        tx = payme.created(purchase) if act == "cancel" else payme.paid(purchase)
        if act != "pay":
            payme.cancelled(tx, 3, -1 if act == "cancel" else -2)
        before = payme.seen(tx)
        different: list[dict[str, Any]] = [
            {},
            {"account": other.account},
            {"amount": 1},
            {"account": {}},
            {"time": 1_000_000_000_000},
        ]
        for changes in different:
            refused(payme.create(purchase, tx, **changes), NOT_NOW)
        assert payme.seen(tx) == before
    payme.allowed(other)


def test_a_new_transaction_that_is_12_hours_old_already_is_refused_and_not_stored(booking: Booking, payme: Cashbox) -> None:
    purchase, tx = booking.buy(), a_tx()
    for time in (1_000_000_000_000, payme.now() - 43_201_000):
        refused(payme.create(purchase, tx, time=time), NOT_NOW)
    refused(payme.check(tx), NO_TRANSACTION)
    assert tx not in str(payme.statement(0, 10**13))
    payme.allowed(purchase)
    payme.created(purchase, tx)


def test_an_old_time_is_looked_at_after_the_order_and_before_the_incumbent(booking: Booking, payme: Cashbox) -> None:
    busy, paid, old = booking.buy(), booking.buy(), 1_000_000_000_000
    payme.created(busy)
    payme.paid(paid)
    refused(payme.create(paid, a_tx(), time=old), PAID)
    refused(payme.create(busy, a_tx(), time=old), NOT_NOW)
    refused(payme.create(busy, a_tx(), time=old, amount=1), AMOUNT)


@pytest.mark.parametrize("ahead", [60_000, 86_400_000, 8_000_000_000_000])
def test_a_clock_of_payme_that_runs_ahead_does_no_harm(booking: Booking, payme: Cashbox, ahead: int) -> None:
    tx = payme.paid(booking.buy(), time=min(payme.now() + ahead, 9_999_999_999_999))
    assert payme.seen(tx)["create_time"] <= payme.now() + 1000


@pytest.mark.parametrize(
    "more",
    [
        {"phone": "+998901234567", "note": ""},
        {"z": 1, "a": [1, {"b": None}], "order_id2": True},
        {"text": 'quote " back \\ slash / ж \u2028 😀'},
        {"NUL": "a\0b"},
        {"\0": 1},
        {"half a letter": "\ud800"},
        {"half": 2.5, "tenth": -0.1, "inside": [[0.25]]},
        {"whole": 10**40, "below": -1},
        {"": ""},
    ],
    ids=str,
)
def test_other_members_of_the_account_are_kept_and_given_back(booking: Booking, payme: Cashbox, more: dict[str, Any]) -> None:
    purchase, time = booking.buy(), payme.now() + 10**12
    account = {**more, **purchase.account}
    result(payme.check_perform(purchase, account=account))
    tx = payme.paid(purchase, account=account, time=time)
    [row] = [row for row in payme.statement(time, time) if row["id"] == tx]
    assert row["account"] == json.loads(json.dumps(account), parse_float=Decimal)


def test_a_number_too_big_for_a_float_does_not_poison_the_statement(booking: Booking, payme: Cashbox) -> None:
    purchase, tx, time = booking.buy(), a_tx(), payme.now() + 2 * 10**12
    raw = (
        f'{{"id": 1, "method": "CreateTransaction", "params": {{"id": "{tx}", "time": {time}, "amount": {purchase.amount},'
        f' "account": {{"order_id": "{purchase.purchase_id}", "big": 1e400, "exact": 0.10000000000000000555}}}}}}'
    ).encode()
    answer = payme.post(raw)
    body = answer.json()
    assert answer.status_code == 200
    if "result" in body:
        payme.statement(time, time)
        payme.seen(tx)
    else:
        refused(payme.check(tx), NO_TRANSACTION)


# PerformTransaction


def test_perform_pays_the_order_once(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy(1, 5)
    tx = payme.created(purchase)
    before = payme.now()
    first = result(payme.perform(tx))
    assert before - 50 <= first["perform_time"] <= payme.now() + 50
    for _ in range(3):
        assert result(payme.perform(tx)) == first
    seen = payme.seen(tx)
    assert (seen["state"], seen["perform_time"], seen["transaction"]) == (2, first["perform_time"], first["transaction"])
    refused(payme.check_perform(purchase), PAID)
    refused(payme.create(purchase, a_tx()), PAID)
    assert booking.bought(purchase.user) == {1: PRICES[1], 5: PRICES[5]}


@pytest.mark.parametrize("act", ["perform", "cancel", "check"])
def test_an_unknown_transaction_is_said_to_be_unknown(payme: Cashbox, act: str) -> None:
    refused(getattr(payme, act)(a_tx()), NO_TRANSACTION)


def test_a_cancelled_transaction_is_never_performed(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    early = payme.cancelled(payme.created(purchase))
    refused(payme.perform(early), NOT_NOW)
    late = payme.refunded(purchase)
    refused(payme.perform(late), NOT_NOW)
    refused(payme.perform(early), NOT_NOW)
    assert booking.books(purchase).truth == ("cancelled", "refunded", 2, 0, 0)


# CancelTransaction


@pytest.mark.parametrize("reason", [1, 2, 3, 4, 5, 6, 9, 10, 0, -1, 777, 2**31, 2**63, 10**30, -(10**30)])
def test_any_reason_is_kept_and_none_decides(booking: Booking, payme: Cashbox, reason: int) -> None:
    early = payme.cancelled(payme.created(booking.buy()), reason, -1)
    late = payme.cancelled(payme.paid(booking.buy()), reason, -2)
    assert payme.state(early) == (-1, reason)
    assert payme.state(late) == (-2, reason)


@pytest.mark.parametrize("state", [-1, -2])
def test_a_second_cancel_changes_neither_reason_nor_time(booking: Booking, payme: Cashbox, state: int) -> None:
    purchase = booking.buy()
    tx = payme.created(purchase) if state == -1 else payme.paid(purchase)
    first = result(payme.cancel(tx, 3))
    seen = payme.seen(tx)
    for reason in (5, 10, 3):
        assert result(payme.cancel(tx, reason)) == first
    assert payme.seen(tx) == seen
    assert (seen["state"], seen["reason"], seen["cancel_time"]) == (state, 3, first["cancel_time"])


def test_a_cancelled_attempt_never_blocks_the_next(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    attempts = []
    for _ in range(4):
        payme.allowed(purchase)
        attempts.append(payme.cancelled(payme.created(purchase)))
    last = payme.paid(purchase)
    assert [payme.state(tx) for tx in attempts] == [(-1, 3)] * 4
    assert len({payme.seen(tx)["transaction"] for tx in [*attempts, last]}) == 5, "each attempt has a row of its own"
    assert booking.books(purchase).truth == ("paid", "paid", 1, purchase.amount, 1)


def test_after_a_refund_the_order_stays_closed(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    tx = payme.refunded(purchase)
    refused(payme.check_perform(purchase), CLOSED)
    refused(payme.create(purchase, a_tx()), CLOSED)
    assert payme.state(tx) == (-2, 5)


@pytest.mark.parametrize("status", ["delivered", "shipped"])
def test_what_was_delivered_is_not_refunded(booking: Booking, payme: Cashbox, status: str) -> None:
    """Ambassadors' orders end at `paid`: the table is told what a shop would say (see `test_shop.py`), and told back."""
    purchase = booking.buy()
    tx = payme.paid(purchase)
    seen, books = payme.seen(tx), booking.books(purchase)
    set_order = "UPDATE orders SET status = $2 WHERE order_id = $1::text::uuid"
    booking.server.sql(set_order, purchase.purchase_id, status)
    try:
        for _ in range(2):
            refused(payme.cancel(tx, 5), FULFILLED)
        assert payme.seen(tx) == seen
        refused(payme.create(purchase, a_tx()), PAID)
    finally:
        booking.server.sql(set_order, purchase.purchase_id, "paid")
    assert booking.books(purchase) == books
    payme.cancelled(tx, 5, -2)


# CheckTransaction, and what never changes


def test_what_was_answered_once_is_true_for_ever(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    created = result(payme.create(purchase, tx := a_tx()))
    one = payme.seen(tx)
    performed = result(payme.perform(tx))
    two = payme.seen(tx)
    cancelled = result(payme.cancel(tx, 5))
    three = payme.seen(tx)
    assert one == {**created, "perform_time": 0, "cancel_time": 0, "reason": None}
    assert two == {**one, **performed}
    assert three == {**two, **cancelled, "reason": 5}
    assert three["create_time"] <= three["perform_time"] <= three["cancel_time"]


# The whole matrix


def test_the_decision_matrix(booking: Booking, payme: Cashbox) -> None:
    """Section 7, row by row: CheckPerform, Create with a new id, Create with the same id, Perform."""
    waiting, live, paid, refunded, attempted = (booking.buy() for _ in range(5))
    txs = {
        "state 1": payme.created(live),
        "state 2": payme.paid(paid),
        "state -2": payme.refunded(refunded),
        "state -1": payme.cancelled(payme.created(attempted)),
    }
    rows: list[tuple[Purchase, str, int, int, int | None, int | None]] = [
        (live, txs["state 1"], BUSY, BUSY, None, None),
        (paid, txs["state 2"], PAID, PAID, NOT_NOW, None),
        (refunded, txs["state -2"], CLOSED, CLOSED, NOT_NOW, NOT_NOW),
    ]
    for purchase, tx, checks, new, again, performs in rows:
        refused(payme.check_perform(purchase), checks)
        refused(payme.create(purchase, a_tx()), new)
        before = payme.seen(tx)
        if again is None:
            assert result(payme.create(purchase, tx))["transaction"] == before["transaction"]
        else:
            refused(payme.create(purchase, tx), again)
        if performs is not None:
            refused(payme.perform(tx), performs)
        assert payme.seen(tx) == before
    payme.allowed(attempted)
    refused(payme.create(attempted, txs["state -1"]), NOT_NOW)
    refused(payme.perform(txs["state -1"]), NOT_NOW)
    assert result(payme.cancel(txs["state -1"], 9))["state"] == -1
    assert result(payme.perform(txs["state 2"])) == result(payme.perform(txs["state 2"]))
    assert result(payme.cancel(txs["state -2"], 9))["state"] == -2
    payme.paid(waiting)
    payme.performed(txs["state 1"])
