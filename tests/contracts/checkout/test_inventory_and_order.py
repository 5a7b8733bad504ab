"""When the warehouse or the order service says no, or nothing: money goes back once, or the act is repeated (4, 5)."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx2
import pytest

from .journeys import (
    ADDRESS,
    DECLINED_CARD,
    buy,
    id_of,
    line,
    look,
    order_form,
    refusal,
    somebody,
    someone_signed_in,
    steps,
    the_end,
    until,
    visitor,
)
from .neighbours import HONEST, Act, Reaction, cuts, does_but_says, says, thinks
from .town import Story, Town

OUT_OF_STOCK: Final = {"success": False, "message": "Only one mouse is left", "timestamp": "2026-01-01 00:00:00"}


# What is asked


def test_payment_then_inventory_then_order_each_once_with_a_key_of_its_own(town: Town) -> None:
    story = town.play()
    assert story.acts == ["process", "deduct", "create"]
    assert [call.key for call in story.calls()] == [f"{story.checkout_id}:{step}" for step in ("payment", "inventory", "order")]
    assert list(steps(story.end).items()) == [("payment", "done"), ("inventory", "done"), ("order", "done")]


def test_the_inventory_is_told_the_items_and_nothing_else(town: Town) -> None:
    story = town.play(order_form(line("prod_002"), line("prod_001", 1, 99.90), line("prod_001", 1)))
    (call,) = story.calls("deduct")
    assert (call.method, call.raw_path) == ("POST", "/inventory/deduct")
    assert set(call.body) == {"items"}
    assert sorted(call.body["items"], key=lambda item: str(item["product_id"])) == [
        {"product_id": "prod_001", "quantity": 2},
        {"product_id": "prod_002", "quantity": 1},
    ]


def test_the_order_service_is_told_who_where_and_what(town: Town) -> None:
    address = {**ADDRESS, "complement": "3º andar", "reference": "opposite the bakery"}
    form = order_form(address=address)
    story = town.play(form)
    (call,) = story.calls("create")
    assert (call.method, call.raw_path) == ("POST", "/orders")
    assert {**call.body, "items": sorted(call.body["items"], key=lambda item: str(item["product_id"]))} == {
        "checkout_id": story.checkout_id,
        "customer_email": form["customer_email"],
        "shipping_address": address,
        "items": [{"product_id": "prod_001", "quantity": 2}, {"product_id": "prod_002", "quantity": 1}],
    }


def test_the_card_goes_to_the_payment_service_alone(town: Town) -> None:
    form = order_form(card="5309271846035512", cvv="0847")
    story = town.play(form, create=says(422, {"message": "no"}))
    for call in story.calls():
        if call.act != "process":
            assert b"5309271846035512" not in call.raw
            assert b'"0847"' not in call.raw
            assert "5309271846035512" not in call.raw_path + str(call.headers)


def test_the_order_services_id_is_the_buyers_order_id(town: Town) -> None:
    story = town.play(create=does_but_says(201, {"orderId": "order_7731", "status": "created"}))
    assert story.answer.status_code == 200, story.answer.text
    assert story.answer.json()["order_id"] == story.end["order_id"] == "order_7731"


def test_the_neighbours_stock_is_the_only_one_counted(town: Town) -> None:
    story = town.play(order_form(line("prod_soldout", 1, 4999)))
    assert story.answer.status_code == 200, story.answer.text


def test_what_kassa_knows_to_be_wrong_bothers_nobody(town: Town) -> None:
    unknown = town.play(order_form(line("prod_nobody")))
    dearer = town.play(order_form(line("prod_001", 1, 99.89)))
    refusal(unknown.answer, "Unknown product", "unknown_product")
    refusal(dearer.answer, "Price changed", "price_changed")
    assert unknown.acts == dearer.acts == []


def test_the_payment_service_judges_and_not_the_stand_in(town: Town) -> None:
    story = town.play(order_form(line("prod_001", 999), card=DECLINED_CARD))
    assert story.answer.status_code == 200, story.answer.text


# A no


NO: Final[dict[str, Reaction]] = {
    **{f"status {status}": says(status, OUT_OF_STOCK) for status in (400, 401, 403, 404, 405, 409, 410, 422, 451)},
    "422 of HTML": says(422, b"<html>"),
    "400 of nothing": says(400),
}


def is_undone_backwards(story: Story, acts: list[str], undone: dict[str, str]) -> None:
    assert story.acts == acts
    assert story.outcome == ("failed", 1, 1)
    assert steps(story.end) == undone
    (refund,) = story.calls("refund")
    assert refund.key == f"{story.checkout_id}:refund"
    assert refund.raw_path == f"/payments/{story.end['payment_id']}/refund"
    assert refund.body == {"amount": 349.7, "idempotency_key": f"{story.checkout_id}:refund"}
    assert b"349.7" in refund.raw
    assert b"349.70" not in refund.raw


@pytest.mark.parametrize("kind", [*NO, "success false"])
def test_an_inventory_that_says_no_gives_the_money_back_once(town: Town, kind: str) -> None:
    story = town.play(deduct={**NO, "success false": says(200, OUT_OF_STOCK)}[kind])
    refusal(story.answer, "Inventory failed", "inventory_refused")
    is_undone_backwards(story, ["process", "deduct", "refund"], {"payment": "undone", "inventory": "refused"})
    assert story.end["error"] == "Inventory failed"


@pytest.mark.parametrize("kind", NO)
def test_an_order_service_that_says_no_gives_stock_and_money_back_once(town: Town, kind: str) -> None:
    story = town.play(create=NO[kind])
    refusal(story.answer, "Order failed", "order_refused")
    is_undone_backwards(
        story,
        ["process", "deduct", "create", "restock", "refund"],
        {"payment": "undone", "inventory": "undone", "order": "refused"},
    )
    (restock,) = story.calls("restock")
    (deduct,) = story.calls("deduct")
    assert (restock.key, restock.raw_path) == (f"{story.checkout_id}:restock", "/inventory/restock")
    assert restock.body == deduct.body


def test_the_neighbours_own_words_are_told(town: Town) -> None:
    story = town.play(deduct=says(200, OUT_OF_STOCK))
    assert story.answer.json()["detail"]["message"] == story.end["message"] == "Only one mouse is left"


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud800"])
@pytest.mark.parametrize(("act", "error"), [("deduct", "Inventory failed"), ("create", "Order failed")])
def test_odd_characters_in_a_no_break_nothing(town: Town, odd: str, act: str, error: str) -> None:
    raw = f'{{"success": false, "message": "no {odd} no", "{odd}": 1}}'.encode()
    plan: dict[str, Any] = {act: says(422, raw)}
    story = town.play(within=10, **plan)
    refusal(story.answer, error)
    assert story.outcome == ("failed", 1, 1)


# Nothing said: the same request, the same key


UNKNOWN: Final[dict[str, Reaction]] = {
    "408": says(408),
    "425": says(425),
    "429": says(429, {"message": "slow down"}),
    "409 with Retry-After": says(409, {"message": "running"}, Retry_After="1"),
    "500": says(500),
    "502 but done": does_but_says(502, b"<html>"),
    "503": says(503, None, Retry_After="1"),
    "a reset": cuts(books=False),
    "a reset, but done": cuts(books=True),
    "HTML, but done": does_but_says(200, b"<html>"),
    "half an answer, but done": does_but_says(200, b'{"success": tr'),
    "nothing, but done": does_but_says(200),
    "an empty object, but done": does_but_says(200, {}),
    "odd characters, but done": does_but_says(200, b'{"success": "\\u0000", "orderId": "o\\u0000"}'),
    "half a character, but done": does_but_says(200, b'{"success": "\\ud800", "orderId": "o\\ud800"}'),
    "a redirect": says(307, None, Location="/inventory/elsewhere"),
    "two megabytes, but done": does_but_says(200, {"success": True, "orderId": "order_1", "padding": "x" * 2_000_000}),
}
SLOW: Final[dict[str, dict[str, Any]]] = {
    "a slow deduct": {"deduct": thinks(12)},
    "a slow order": {"create": thinks(12)},
    "a slow refund": {"deduct": says(200, OUT_OF_STOCK), "refund": [thinks(12), HONEST]},
    "a refund that fails twice": {"deduct": says(200, OUT_OF_STOCK), "refund": [says(500), cuts(books=True), HONEST]},
    "a restock that fails twice": {"create": says(422), "restock": [says(503), does_but_says(500), HONEST]},
    "a deduct that fails twice": {"deduct": [says(500), says(503), HONEST]},
}


@pytest.fixture(scope="module")
def told(town: Town) -> dict[str, Story]:
    """Every story in which an act is repeated or slow, at the same time."""
    plans = {
        **SLOW,
        **{f"deduct: {name}": {"deduct": [answer, HONEST]} for name, answer in UNKNOWN.items()},
        **{f"create: {name}": {"create": [answer, HONEST]} for name, answer in UNKNOWN.items()},
    }
    with town.kept_busy() as others:
        stories = town.play_all(plans, apart=0.15)
    assert set(others) == {200}, "nobody else notices"
    return stories


@pytest.mark.parametrize("act", ["deduct", "create"])
@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_act_is_sent_again_under_the_same_key(told: dict[str, Story], act: Act, kind: str) -> None:
    story = told[f"{act}: {kind}"]
    assert story.answer.status_code == 200, story.answer.text
    first, second = story.calls(act)
    assert (first.key, first.raw, first.raw_path) == (second.key, second.raw, second.raw_path)
    assert 0.8 <= second.at - first.at <= 2.5, "after 1 s"
    assert story.outcome == ("completed", 1, 0)
    assert (story.done("deduct"), story.done("create")) == (1, 1)
    assert not story.calls("restock", "cancel", "stray")


def test_the_third_time_is_two_seconds_later(told: dict[str, Story]) -> None:
    story = told["a deduct that fails twice"]
    sent = [call.at for call in story.calls("deduct")]
    assert len(sent) == 3
    assert 1.5 <= sent[2] - sent[1] <= 4
    assert story.outcome == ("completed", 1, 0)


@pytest.mark.parametrize(("name", "act"), [("a slow deduct", "deduct"), ("a slow order", "create")])
def test_a_slow_neighbour_is_waited_for_in_the_background(told: dict[str, Story], name: str, act: Act) -> None:
    story = told[name]
    assert story.answer.status_code == 202, story.answer.text
    assert story.answer.headers["Location"] == f"/checkout/{story.checkout_id}"
    assert 9 <= story.took <= 12
    assert story.outcome == ("completed", 1, 0)
    assert len(story.calls(act)) == 1, "within its own limit it is not sent again"


def test_when_the_undo_takes_too_long_the_refusal_is_told_before_it_is_done(told: dict[str, Story]) -> None:
    story = told["a slow refund"]
    refusal(story.answer, "Inventory failed", "inventory_refused")
    assert 9 <= story.took <= 12
    assert story.outcome == ("failed", 1, 1)
    assert {call.key for call in story.calls("refund")} == {f"{story.checkout_id}:refund"}


@pytest.mark.parametrize(
    ("name", "act", "step", "error"),
    [
        ("a refund that fails twice", "refund", "refund", "Inventory failed"),
        ("a restock that fails twice", "restock", "restock", "Order failed"),
    ],
)
def test_an_undo_is_tried_again_with_the_same_key_until_it_is_done(
    told: dict[str, Story], name: str, act: Act, step: str, error: str
) -> None:
    story = told[name]
    refusal(story.answer, error)
    assert story.outcome == ("failed", 1, 1)
    assert story.done(act) == 1
    calls = story.calls(act)
    assert [call.key for call in calls] == [f"{story.checkout_id}:{step}"] * 3
    assert len({call.raw for call in calls}) == 1


def test_while_it_is_being_undone_it_reads_so(town: Town) -> None:
    email = town.neighbours.for_buyer(somebody(), deduct=says(422, OUT_OF_STOCK), refund=[says(500), says(500), HONEST])
    with visitor(town.shop) as guest:
        guest.timeout = 0.8
        with pytest.raises(httpx2.TimeoutException):
            buy(guest, order_form(email=email))
        (checkout_id,) = town.neighbours.checkouts_of(email)
        meanwhile = look(guest, checkout_id)
        guest.timeout = 30
        end = the_end(guest, checkout_id)
    assert (meanwhile["status"], meanwhile["error"]) == ("undoing", "Inventory failed")
    assert meanwhile["message"] == "Only one mouse is left"
    assert steps(meanwhile) == {"payment": "undoing", "inventory": "refused"}
    assert (end["status"], town.neighbours.net(checkout_id)) == ("failed", 0)


# An undo that cannot be done


def test_a_refund_that_was_made_already_is_made(town: Town) -> None:
    story = town.play(deduct=says(422), refund=says(409, {"message": "already refunded"}))
    assert story.end["status"] == "failed"
    assert len(story.calls("refund")) == 1
    assert steps(story.end)["payment"] == "undone"


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"status": "refunded", "refundId": "R\\u0000\\ud800"}', b"[[["])
def test_any_2xx_means_that_the_refund_is_made(town: Town, answer: bytes) -> None:
    story = town.play(deduct=says(422), refund=does_but_says(200, answer), within=10)
    assert story.outcome == ("failed", 1, 1)
    assert len(story.calls("refund")) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_service_that_cannot_refund_parks_the_checkout(town: Town, status: int) -> None:
    story = town.play(deduct=says(422, OUT_OF_STOCK), refund=says(status))
    refusal(story.answer, "Inventory failed", "inventory_refused")
    assert story.end["status"] == "parked"
    assert steps(story.end) == {"payment": "stuck", "inventory": "refused"}
    assert len(story.calls("refund")) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_when_one_undo_is_stuck_the_others_still_run(town: Town, status: int) -> None:
    story = town.play(create=says(422), restock=says(status))
    refusal(story.answer, "Order failed", "order_refused")
    assert story.end["status"] == "parked"
    assert steps(story.end) == {"payment": "undone", "inventory": "stuck", "order": "refused"}
    assert (story.done("refund"), len(story.calls("restock"))) == (1, 1)


# Nobody at home


def test_a_warehouse_that_is_not_there_gives_the_money_back(town: Town) -> None:
    town.neighbours.close("inventory")
    try:
        story = town.play()
    finally:
        town.neighbours.open("inventory")
    refusal(story.answer, "Inventory failed", "inventory_unavailable")
    assert story.outcome == ("failed", 1, 1)
    assert story.acts == ["process", "refund"]


def test_an_order_service_that_is_not_there_gives_stock_and_money_back(town: Town) -> None:
    town.neighbours.close("order")
    try:
        story = town.play()
    finally:
        town.neighbours.open("order")
    refusal(story.answer, "Order failed", "order_unavailable")
    assert story.outcome == ("failed", 1, 1)
    assert story.acts == ["process", "deduct", "restock", "refund"]


# Afterwards


def test_a_buyer_who_cancels_gets_money_stock_and_order_undone_once(town: Town) -> None:
    """Ruling 26: the keys of a whole undo are the checkout's."""
    made = does_but_says(200, {"orderId": "order_7732", "status": "created"})
    email = town.neighbours.for_buyer(somebody(), create=made)
    with visitor(town.shop, town.shop.token(someone_signed_in())) as client:
        answer = buy(client, order_form(email=email))
        assert answer.status_code == 200, answer.text
        (order,) = client.get("/api/orders").json()["data"]["orders"]
        for _ in range(2):
            moved = client.put(f"/api/orders/{order['id']}/status", json={"status": "cancelled"})
            assert moved.status_code == 200, moved.text
        checkout_id = id_of(answer)
        undos: tuple[Act, ...] = ("refund", "restock", "cancel")
        until(
            lambda: all(town.neighbours.done(checkout_id, act) for act in undos),
            15,
            "refund, restock and cancel are done",
        )
        until(
            lambda: client.get(f"/api/orders/{order['id']}").json()["data"]["paymentStatus"] == "refunded",
            10,
            "the order reads refunded",
        )
    time.sleep(1.5)  # a second undo would come within this
    for act in undos:
        (call,) = town.neighbours.calls(checkout_id, act)
        assert call.key == f"{checkout_id}:{act}"
    (cancel,) = town.neighbours.calls(checkout_id, "cancel")
    assert cancel.raw_path == "/orders/order_7732/cancel"
    assert set(cancel.body) == {"reason"}
    assert isinstance(cancel.body["reason"], str)
    assert town.neighbours.net(checkout_id) == 0
