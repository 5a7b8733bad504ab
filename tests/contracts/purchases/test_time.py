"""What a day changes: deadlines of links and of Payme's transactions (sections 5 and 6; ruling 13).

Time is the database's clock plus an offset, and here it is moved. Each buyer's story goes on while the others' clock runs, too.
"""

from __future__ import annotations

from .journeys import CLOSED, IMPOSSIBLE, Buyer, Json, Shop, eventually, good

MINUTE, HOUR = 60, 3600
SWEEP_S = 10.0


def ready_to_pay(shop: Shop, ambassador: int = 1) -> tuple[Buyer, Json]:
    buyer = shop.buyer()
    return buyer, buyer.buy(ambassador)


def closed(shop: Shop, purchase: Json) -> bool:
    """By itself, without a call of Payme: the sweep does it."""
    return eventually(lambda: shop.status(purchase) == "cancelled", within=SWEEP_S)


def test_a_link_can_be_paid_for_a_day(house: Shop) -> None:
    in_time, first = ready_to_pay(house)
    late, second = ready_to_pay(house, 4)
    house.later(24 * HOUR - 5 * MINUTE)
    assert house.payme.allows(first)
    house.payme.pay(first)
    house.later(6 * MINUTE)
    assert house.payme.why_not(second) == CLOSED
    assert closed(house, second)
    assert in_time.owns() == [1]
    assert late.in_cart() == [4]
    newer = good(late.check_out(), 201)  # the version moved
    assert newer["purchase_id"] != second["purchase_id"]
    house.payme.pay(newer)
    assert late.owns() == [4]


def test_nobody_can_begin_after_the_deadline_even_before_the_sweep(house: Shop) -> None:
    _, purchase = ready_to_pay(house)
    house.later(24 * HOUR + 1)
    said = house.payme.call("CreateTransaction", id="a" * 23 + "1", time=house.payme.clock(), **house.payme.order(purchase))
    assert said["error"]["code"] == CLOSED


def test_a_checkout_after_the_deadline_makes_a_new_purchase(house: Shop) -> None:
    buyer, purchase = ready_to_pay(house)
    house.later(24 * HOUR + 1)
    newer = good(buyer.check_out(), 201)
    assert newer["purchase_id"] != purchase["purchase_id"]
    assert house.payme.allows(newer)


def test_a_held_purchase_lives_by_its_own_twelve_hours(house: Shop) -> None:
    payer, paid_late = ready_to_pay(house)
    quitter, given_up = ready_to_pay(house, 4)
    idler, left_alone = ready_to_pay(house, 4)
    house.later(23 * HOUR)
    pays, quits, idles = (house.payme.create(purchase) for purchase in (paid_late, given_up, left_alone))
    house.later(3 * HOUR)  # past the deadline of all three
    house.payme.perform(pays)
    assert payer.owns() == [1]
    assert house.status(given_up) == house.status(left_alone) == "pending"
    assert house.payme.cancel(quits) == -1
    assert house.is_over(given_up)
    assert good(quitter.check_out(), 201)["purchase_id"] != given_up["purchase_id"]
    house.later(10 * HOUR)  # past the twelve hours of the third
    assert closed(house, left_alone)
    assert house.payme.state(idles) == -1
    assert house.payme.error("PerformTransaction", id=idles) == IMPOSSIBLE
    assert house.is_over(left_alone)
    assert idler.in_cart() == [4]
    assert good(idler.check_out(), 201)["purchase_id"] != left_alone["purchase_id"]


def test_a_transaction_that_timed_out_gives_the_link_back_in_time(house: Shop) -> None:
    buyer, purchase = ready_to_pay(house)
    transaction = house.payme.create(purchase)
    house.later(12 * HOUR + MINUTE)
    assert eventually(lambda: house.payme.state(transaction) == -1, within=SWEEP_S)
    assert house.payme.allows(purchase)
    assert good(buyer.check_out(), 201) == purchase
    house.payme.pay(purchase)
    assert buyer.owns() == [1]


def test_a_timed_out_older_purchase_closes(house: Shop) -> None:
    buyer, older = ready_to_pay(house)
    house.payme.create(older)
    newer = buyer.buy(4)
    house.later(12 * HOUR + MINUTE)
    assert closed(house, older)
    assert house.is_over(older)
    assert house.payme.allows(newer)


def test_money_can_be_given_back_long_after(house: Shop) -> None:
    buyer, purchase = ready_to_pay(house)
    transaction = house.payme.pay(purchase)
    house.later(90 * 24 * HOUR)
    assert buyer.owns() == [1]
    assert house.payme.cancel(transaction, 5) == -2
    assert buyer.owns() == []
