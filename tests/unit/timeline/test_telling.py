"""How facts become a story: one order, whatever order they were found in, and no fact lost."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.factories import NOON

from kassa.checkout import Journal
from kassa.checkout.model import Step
from kassa.events import Told
from kassa.events.catalogue import TYPES
from kassa.orders import Happening
from kassa.timeline.model import Facts, NoticeSent
from kassa.timeline.tell import tell
from kassa.webhooks.model import LOG_STATUS, Delivery

CHECKOUT, ORDER, PAYMENT, ENDPOINT = (uuid.UUID(int=number) for number in range(1, 5))
DATA = {
    "payment": {"payment_id": str(PAYMENT), "state": "paid", "price": "9.99", "currency": "USD", "reason": None},
    "refund": {"refund": {"refund_id": "r", "amount": "9.99", "currency": "USD", "status": "pending", "reason": "Ana broke it"}},
    "order": {
        "order_number": "ORD-1",
        "status": "paid",
        "payment_status": "paid",
        "user_id": "7",
        "total": "9.99",
        "currency": "USD",
    },
    "checkout": {"status": "completed", "error": None},
}


def told(type_: str, sequence: int, at: datetime = NOON) -> Told:
    family = type_.partition(".")[0]
    about = {"checkout": CHECKOUT, "order": ORDER}.get(family, PAYMENT)
    subject = f"{'payment' if family == 'refund' else family}:{about}"
    return Told(uuid.uuid5(about, type_), subject, sequence, type_, at, DATA[family])


def step(name: str, position: int, status: str = "done", at: datetime = NOON) -> Step:
    return Step(name, position, status, None, 1, at, 0, None, at, at)


def delivery(event: Told, endpoint: uuid.UUID = ENDPOINT, status: str = "success") -> Delivery:
    return Delivery(
        "1", endpoint, uuid.uuid5(endpoint, str(event.event_id)), event.event_id, event.type, event.subject, event.sequence, status,
        replayed=False, attempts=1, next_at=None, last_status_code=200, last_error=None, created_at=event.occurred_at, ended_at=None,
    )  # fmt: skip


def happening(sequence: int, **changed: str) -> Happening:
    first = Happening(sequence, "paid", "paid", moved=False, note=None, tracking_number=None, carrier=None, at=NOON)
    return replace(first, **changed)  # type: ignore[arg-type]


def a_purchase() -> Facts:
    """A purchase that was over in one moment: only subject and number can order it."""
    events = [
        told("checkout.started", 1), told("checkout.completed", 2), told("order.created", 1), told("order.paid", 2),
        told("payment.created", 1), told("payment.paid", 2),
    ]  # fmt: skip
    notice = NoticeSent(uuid.UUID(int=9), ORDER, events[2].event_id, "order_confirmation", "sent", 1, NOON)
    return Facts(
        events,
        Journal(CHECKOUT, ORDER, PAYMENT, [step("stock", 0), step("payment", 1), step("order", 2)]),
        [happening(1), happening(2)],
        [delivery(events[5]), delivery(events[5], uuid.UUID(int=8)), delivery(events[1])],
        [notice],
    )


def test_one_moment_is_told_in_a_sensible_order() -> None:
    assert [(entry.kind, entry.title) for entry in tell(a_purchase())] == [
        ("checkout", "The purchase began"),
        ("step", "Stock: done"),
        ("step", "Payment: done"),
        ("step", "Order: done"),
        ("checkout", "The purchase ended with an order"),
        ("delivery", "checkout.completed was delivered to the merchant"),
        ("order", "Order ORD-1 was placed"),
        ("notice", "Order confirmation was sent to the buyer"),
        ("order", "The order is paid"),
        ("payment", "9.99 USD was asked for"),
        ("payment", "9.99 USD was paid"),
        ("delivery", "payment.paid was delivered to the merchant"),
        ("delivery", "payment.paid was delivered to the merchant"),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_order_in_which_facts_are_found_does_not_matter(seed: int) -> None:
    facts, mixed = a_purchase(), random.Random(seed)

    def shuffled(rows: list[Any]) -> list[Any]:
        return mixed.sample(rows, len(rows))

    found = replace(facts, told=shuffled([*facts.told]), deliveries=shuffled([*facts.deliveries]), moves=shuffled([*facts.moves]))
    assert tell(found) == tell(facts)
    assert [entry.number for entry in tell(found)] == list(range(1, 14))


def test_time_comes_before_everything() -> None:
    late, early = told("checkout.started", 1, NOON + timedelta(seconds=1)), told("payment.created", 1)
    assert [entry.subject for entry in tell(Facts([late, early]))] == [early.subject, late.subject]


def test_no_act_is_told_before_the_purchase_began() -> None:
    began = told("checkout.started", 1, NOON + timedelta(milliseconds=4))
    journal = Journal(CHECKOUT, ORDER, PAYMENT, [step("stock", 0), step("order", 1, at=NOON + timedelta(seconds=1))])
    assert [entry.kind for entry in tell(Facts([began], journal))] == ["checkout", "step", "step"]
    assert [entry.at for entry in tell(Facts([began], journal))] == [
        began.occurred_at,
        began.occurred_at,
        NOON + timedelta(seconds=1),
    ]


@pytest.mark.parametrize("type_", [name for name in TYPES if name.partition(".")[0] in DATA])
def test_every_event_of_a_story_has_a_sentence(type_: str) -> None:
    [entry] = tell(Facts([told(type_, 1)]))
    assert "." not in entry.title.replace("9.99", "")
    assert entry.kind == type_.partition(".")[0]
    assert entry.details["type"] == type_


@pytest.mark.parametrize("status", LOG_STATUS)
def test_every_state_of_a_delivery_has_a_sentence(status: str) -> None:
    event = told("payment.paid", 1)
    _, entry = tell(Facts([event], deliveries=[delivery(event, status=status)]))
    assert entry.title.endswith(("the merchant", "it is sent again"))
    assert entry.details["status"] == status


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ({}, {"tracking_number": "T-1"}, "The order's tracking data changed"),
        ({"carrier": "A"}, {"carrier": "B"}, "The order's tracking data changed"),
        ({}, {"payment_status": "refunded"}, "The order shows its payment as refunded"),
        ({}, {"note": "Ana is at home"}, "A note was left on the order"),
    ],
)
def test_an_update_says_what_changed(before: dict[str, str], after: dict[str, str], title: str) -> None:
    [entry] = tell(Facts([told("order.updated", 2)], moves=[happening(1, **before), happening(2, **after)]))
    assert entry.title == title
    assert "Ana" not in str(entry)


def test_words_and_ids_of_people_are_left_out() -> None:
    lines = tell(Facts([told("refund.created", 3), told("order.paid", 1)]))
    assert "Ana" not in str(lines)
    assert all("user_id" not in entry.details and "reason" not in entry.details for entry in lines)


def test_the_stock_of_a_product_service_is_named_by_its_product() -> None:
    journal = Journal(CHECKOUT, ORDER, PAYMENT, [step("take:mouse", 0, "stuck"), step("something new", 1, "done")])
    titles = [entry.title for entry in tell(Facts([], journal))]
    assert titles == ["Stock of mouse at the product service: waits for a person", "something new: done"]
