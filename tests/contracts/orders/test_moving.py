"""An order moves by one table, by the right people, and each effect happens once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product as pairs
from typing import Any

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    INSTANT,
    Fresh,
    Json,
    SignIn,
    books,
    buy_for_cash,
    buy_paid,
    buy_waiting,
    eventually,
    invalid,
    look,
    move,
    moved,
    people,
    read,
    refusal,
    stock,
    success,
    track,
    wait_for,
)

# What staff may ask for. pending → paid and pending → processing are made by payments alone.
MOVES = {
    "pending": {"cancelled"},
    "paid": {"processing", "cancelled"},
    "processing": {"shipped", "cancelled"},
    "shipped": {"delivered"},
    "delivered": set[str](),
    "cancelled": set[str](),
}
EVERY_PAIR = list(pairs(MOVES, MOVES))
TRACKING_MEMBERS = {
    *("orderId", "status", "trackingNumber", "carrier", "estimatedDelivery", "events"),
}


def standing_at(status: str, buyer: httpx2.Client, staff: httpx2.Client) -> str:
    """A new order that has come as far as this status."""
    if status == "paid":
        return str(buy_paid(buyer)["id"])
    if status in {"pending", "cancelled"}:
        order = buy_waiting(buyer)["id"]
        return str(moved(buyer, order, "cancelled")["id"] if status == "cancelled" else order)
    order = buy_for_cash(buyer)["id"]
    for step in ["shipped", "delivered"][: ["processing", "shipped", "delivered"].index(status)]:
        moved(staff, order, step)
    if status == "delivered":
        wait_for(buyer, order, "delivered", "paid")
    return str(order)


@pytest.fixture(scope="module")
def standing(server: Server) -> Iterator[dict[str, str]]:
    """One order for each status, on which only refused moves are tried."""
    with people(server) as sign_in:
        buyer, staff = sign_in(), sign_in(role="staff")
        yield {status: standing_at(status, buyer, staff) for status in MOVES}


@pytest.mark.parametrize(("start", "goal"), [pair for pair in EVERY_PAIR if pair[1] in MOVES[pair[0]]])
@pytest.mark.parametrize("by", ["staff", "admin"])
def test_an_allowed_move_is_made(sign_in: SignIn, buyer: httpx2.Client, start: str, goal: str, by: str) -> None:
    staff = sign_in(role=by)
    order = standing_at(start, buyer, staff)
    assert moved(staff, order, goal)["status"] == goal
    assert read(buyer, order)["status"] == goal
    assert [event["status"] for event in track(buyer, order)["events"]][-2:] == [start, goal]


@pytest.mark.parametrize(
    ("start", "goal"),
    [pair for pair in EVERY_PAIR if pair[1] != pair[0] and pair[1] not in MOVES[pair[0]]],
)
def test_every_other_move_is_refused(staff: httpx2.Client, standing: dict[str, str], start: str, goal: str) -> None:
    details = refusal(move(staff, standing[start], goal), 409, "illegal_move")
    assert set(details) == {"from", "to", "allowed"}
    assert (details["from"], details["to"]) == (start, goal)
    assert sorted(details["allowed"]) == sorted(MOVES[start])
    assert read(staff, standing[start])["status"] == start


@pytest.mark.parametrize("status", MOVES)
def test_the_status_it_already_has_is_not_a_move(staff: httpx2.Client, standing: dict[str, str], status: str) -> None:
    before, past = read(staff, standing[status]), track(staff, standing[status])
    assert moved(staff, standing[status], status) == before
    assert track(staff, standing[status]) == past


@pytest.mark.parametrize("start", ["pending", "paid", "processing"])
def test_an_owner_may_cancel_until_it_is_shipped(buyer: httpx2.Client, staff: httpx2.Client, start: str) -> None:
    order = standing_at(start, buyer, staff)
    assert moved(buyer, order, "cancelled")["status"] == "cancelled"
    assert moved(buyer, order, "cancelled")["status"] == "cancelled"


@pytest.mark.parametrize("start", ["shipped", "delivered"])
def test_an_owner_may_not_cancel_what_is_on_its_way(buyer: httpx2.Client, staff: httpx2.Client, start: str) -> None:
    order = standing_at(start, buyer, staff)
    details = refusal(move(buyer, order, "cancelled"), 409, "illegal_move")
    assert (details["from"], details["to"]) == (start, "cancelled")


# Cancelling


def test_a_cancelled_paid_order_is_refunded_and_its_stock_returns(fresh_sign_in: SignIn) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_009")
    order = buy_paid(buyer, "prod_009", 4)
    assert stock(buyer, "prod_009") == before - 4
    moved(buyer, order["id"], "cancelled")
    wait_for(buyer, order["id"], "cancelled", "refunded")
    assert eventually(lambda: stock(buyer, "prod_009") == before)


def test_ten_cancels_at_once_return_stock_and_money_once(fresh: Fresh, fresh_sign_in: SignIn) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_009")
    order = buy_paid(buyer, "prod_009", 4)
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda _: move(buyer, order["id"], "cancelled"), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    wait_for(buyer, order["id"], "cancelled", "refunded")
    statuses = [event["status"] for event in track(buyer, order["id"])["events"]]
    assert statuses == ["pending", "paid", "cancelled"]
    moved(buyer, order["id"], "cancelled")
    assert eventually(lambda: stock(buyer, "prod_009") == before)
    total = order["totalAmount"]
    assert eventually(lambda: books(fresh.server, order) == (total, total, 1))


def test_a_cancelled_pending_order_closes_its_payment_and_gives_all_back(
    fresh_sign_in: SignIn,
) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_009")
    order = buy_waiting(buyer, "prod_009", 4)
    cancelled = moved(buyer, order["id"], "cancelled")
    assert (cancelled["status"], cancelled["paymentStatus"]) == ("cancelled", "failed")
    assert stock(buyer, "prod_009") == before
    assert [item["quantity"] for item in look(buyer)["items"]] == [4]


def test_cancelled_goods_for_cash_go_back_to_the_shelf(fresh_sign_in: SignIn) -> None:
    buyer = fresh_sign_in()
    before = stock(buyer, "prod_009")
    order = buy_for_cash(buyer, "prod_009", 4)
    moved(buyer, order["id"], "cancelled")
    assert eventually(lambda: stock(buyer, "prod_009") == before)


def test_when_cancel_and_shipping_meet_one_wins(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    for _ in range(5):
        order = buy_for_cash(buyer)["id"]
        with ThreadPoolExecutor(2) as hands:
            cancel = hands.submit(move, buyer, order, "cancelled")
            ship = hands.submit(move, staff, order, "shipped")
        answers = {"cancelled": cancel.result(), "shipped": ship.result()}
        won = [status for status, answer in answers.items() if answer.status_code == 200]
        lost = [status for status in answers if status not in won]
        assert (len(won), len(lost)) == (1, 1)
        details = refusal(answers[lost[0]], 409, "illegal_move")
        assert (details["from"], details["to"]) == (won[0], lost[0])
        assert read(buyer, order)["status"] == won[0]


# The parcel


def test_staff_send_the_parcel_with_its_number(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    parcel = {"trackingNumber": "1Z999", "carrier": "DHL"}
    shipped = moved(staff, order, "shipped", note="left at the gate", **parcel)
    assert {name: shipped[name] for name in parcel} == parcel
    seen = track(buyer, order)
    assert {name: seen[name] for name in parcel} == parcel
    assert seen["events"][-1]["note"] == "left at the gate"


def test_a_parcel_number_can_be_mended_without_a_move(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    moved(staff, order, "shipped", trackingNumber="1Z999", carrier="DHL")
    mended = moved(staff, order, "shipped", trackingNumber="2Z000")
    assert (mended["trackingNumber"], mended["carrier"]) == ("2Z000", "DHL")
    seen = track(buyer, order)
    assert seen["trackingNumber"] == "2Z000"
    assert [event["status"] for event in seen["events"]] == ["pending", "processing", "shipped"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *pairs(["trackingNumber", "carrier"], ["", "x" * 101, 5, True, ["x"]]),
        *pairs(["note"], ["x" * 501, 5, {}]),
    ],
)
def test_parcel_data_that_cannot_be_is_refused(staff: httpx2.Client, standing: dict[str, str], member: str, value: Any) -> None:
    answer = move(staff, standing["processing"], "shipped", **{member: value})
    invalid(answer, member)
    assert read(staff, standing["processing"])["status"] == "processing"


def test_parcel_data_may_be_as_long_as_allowed_or_absent(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    full = moved(staff, order, "shipped", trackingNumber="x" * 100, carrier="y", note="z" * 500)
    assert (full["trackingNumber"], full["carrier"]) == ("x" * 100, "y")
    absent = moved(staff, order, "delivered", trackingNumber=None, carrier=None, note=None)
    assert (absent["trackingNumber"], absent["carrier"]) == ("x" * 100, "y")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": None},
        {"status": "lost"},
        {"status": ""},
        {"status": "Cancelled"},
        {"status": 1},
        {"status": "cancelled", "paymentStatus": "paid"},
        {"status": "cancelled", "userId": 1},
    ],
)
def test_a_move_that_makes_no_sense_is_refused(staff: httpx2.Client, standing: dict[str, str], body: Json) -> None:
    answer = staff.put(f"/api/orders/{standing['pending']}/status", json=body)
    invalid(answer)
    assert read(staff, standing["pending"])["status"] == "pending"


# Tracking


def test_tracking_tells_the_story_oldest_first(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_paid(buyer)
    moved(staff, order["id"], "processing")
    moved(staff, order["id"], "shipped", trackingNumber="1Z999", carrier="DHL")
    moved(staff, order["id"], "delivered", note="with the neighbour")
    story = track(buyer, order["id"])
    assert set(story) == TRACKING_MEMBERS
    assert (story["orderId"], story["status"]) == (order["id"], "delivered")
    assert story["estimatedDelivery"] == order["estimatedDelivery"]
    events = story["events"]
    assert all(set(event) == {"status", "at", "note"} for event in events)
    assert [event["status"] for event in events] == [
        *("pending", "paid", "processing", "shipped", "delivered"),
    ]
    times = [event["at"] for event in events]
    assert all(INSTANT.fullmatch(at) for at in times)
    assert times == sorted(times)
    assert times[0] == order["createdAt"]
    assert [event["note"] for event in events][1:4] == [None] * 3
    assert events[-1]["note"] == "with the neighbour"


def test_a_new_order_has_one_event(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    story = track(buyer, order["id"])
    assert [event["status"] for event in story["events"]] == ["pending"]
    assert (story["trackingNumber"], story["carrier"]) == (None, None)


def test_the_reason_of_a_cancel_is_kept(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    success(move(buyer, order["id"], "cancelled", note="ordered by mistake"))
    last = track(buyer, order["id"])["events"][-1]
    assert (last["status"], last["note"]) == ("cancelled", "ordered by mistake")
