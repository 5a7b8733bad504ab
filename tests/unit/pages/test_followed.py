"""What a buyer is shown of an order: how far it is, what becomes of the money, what happened. Without a database."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.notices.orders_to_write_of import NOON, order

from kassa.events import Told
from kassa.kit.money import Money
from kassa.orders import MOVES, Happening
from kassa.pages.buyer.followed import Followed, followed, stamp_of
from kassa.pages.language import LANGUAGES, Speech
from kassa.payments import MOVES as PAYMENT_MOVES
from kassa.payments import Payment, Refund
from kassa.timeline.model import Entry, Facts
from kassa.timeline.tell import tell

USUAL = ("pending", "paid", "processing", "shipped", "delivered")


def payment(status: str, **other: Any) -> Payment:
    given: dict[str, Any] = {
        **dict.fromkeys(Payment.__dataclass_fields__),
        "merchant_id": "1",
        "payment_id": uuid.UUID(int=3),
        "ref_kind": "order",
        "ref": str(uuid.UUID(int=1)),
        "provider": "simulated",
        "method": "credit_card",
        "status": status,
        "currency": "INR",
        "amount_minor": 24970,
        "captured_minor": 24970 if status in {"paid", "refunding", "refunded", "reversed"} else 0,
        "refunded_minor": 0,
        "refunding_minor": 0,
        "quantity": "1",
        "ref_is_number": False,
    }
    return Payment(**(given | other))


def refund(status: str, minor: int = 1000) -> Refund:
    given: dict[str, Any] = {**dict.fromkeys(Refund.__dataclass_fields__), "status": status, "amount_minor": minor, "lines": ()}
    return Refund(**given | {"currency": "INR", "reason": "the customer is difficult", "created_at": NOON})


def moves(*statuses: str, **last: Any) -> list[Happening]:
    """The timeline of an order that went through these statuses, an hour apart; `last` is said with the last one."""
    made = [
        Happening(
            place, status, "pending", place == 1 or status != statuses[place - 2], None, None, None, NOON + timedelta(hours=place)
        )
        for place, status in enumerate(statuses, 1)
    ]
    return [*made[:-1], replace(made[-1], **last)]


def told(*types: str) -> list[Told]:
    """Events of the payment, ten minutes apart, after three hours."""
    data = {"price": "249.70", "currency": "INR", "refund": {"amount": "10.00", "currency": "INR"}, "order_number": "ORD-1"}
    return [
        Told(uuid.uuid4(), f"payment:{uuid.UUID(int=3)}", place, kind, NOON + timedelta(hours=3, minutes=10 * place), data)
        for place, kind in enumerate(types, 1)
    ]


def entries(steps: list[Happening], *payment_types: str) -> list[Entry]:
    words = {1: "order.created"}
    own = [
        Told(
            uuid.uuid4(), f"order:{uuid.UUID(int=1)}", each.sequence,
            words.get(each.sequence, f"order.{each.status}" if each.moved else "order.updated"), each.at, {"order_number": "ORD-1"},
        )
        for each in steps
    ]  # fmt: skip
    return tell(Facts(told=[*own, *told(*payment_types)], moves=steps))


def shown(status: str, of_payment: Payment, *statuses: str, **other: Any) -> Followed:
    steps = moves(*(statuses or USUAL[: USUAL.index(status) + 1]))
    return followed(order(status=status, **other), of_payment, (), steps, entries(steps))


def steps_of(found: Followed) -> list[tuple[str, str]]:
    return [(step.name, step.state) for step in found.steps]


@pytest.mark.parametrize("place", range(5))
def test_an_order_goes_step_by_step_to_the_door(place: int) -> None:
    found = shown(USUAL[place], payment("paid" if place else "opened"))
    names = ["ordered", "paid", "preparing", "on_its_way", "delivered"]
    states = ["done"] * place + ["now"] + ["ahead"] * (4 - place)
    assert steps_of(found) == list(zip(names, states, strict=True))
    assert [step.at for step in found.steps] == [NOON + timedelta(hours=n + 1) if n <= place else None for n in range(5)]


def test_cash_is_no_step_of_its_own() -> None:
    cash = {"payment_method": "cash_on_delivery"}
    waiting = payment("opened", provider="cash_on_delivery")
    found = shown("processing", waiting, "pending", "processing", **cash)
    assert steps_of(found) == [("ordered", "done"), ("preparing", "now"), ("on_its_way", "ahead"), ("delivered", "ahead")]
    assert (found.money_state, found.to_pay, found.state) == ("cash", False, "preparing")


def test_ambassadors_are_not_carried_anywhere() -> None:
    found = shown("paid", payment("paid", provider="payme"), "pending", "paid", channel="ambassadors", payment_method="payme")
    assert steps_of(found) == [("ordered", "done"), ("paid", "now")]
    assert found.expected is None
    assert found.over


@pytest.mark.parametrize(
    ("status", "before", "steps", "state"),
    [
        ("cancelled", ("pending",), [("ordered", "done"), ("cancelled", "now")], "cancelled"),
        ("expired", ("pending",), [("ordered", "done"), ("cancelled", "now")], "cancelled"),
        ("unknown", ("pending",), [("ordered", "done"), ("cancelled", "now")], "cancelled_asking"),
        (
            "refunding",
            ("pending", "paid"),
            [("ordered", "done"), ("paid", "done"), ("cancelled", "done"), ("refunding", "now")],
            "cancelled_refunding",
        ),
        (
            "refunded",
            ("pending", "paid", "processing"),
            [("ordered", "done"), ("paid", "done"), ("preparing", "done"), ("cancelled", "done"), ("refunded", "now")],
            "cancelled_refunded",
        ),
    ],
)
def test_a_cancelled_order_shows_how_far_it_came_and_where_the_money_is(
    status: str, before: tuple[str, ...], steps: list[tuple[str, str]], state: str
) -> None:
    found = shown("cancelled", payment(status), *before, "cancelled")
    assert steps_of(found) == steps
    assert found.state == state
    assert found.expected is None
    assert not found.to_pay or found.money_state == "asking"
    assert found.over == (status not in {"unknown", "refunding"})


@pytest.mark.parametrize(
    ("status", "provider", "state", "to_pay"),
    [
        ("opened", "simulated", "paying", True),
        ("opened", "link", "to_pay", True),
        ("waiting", "link", "to_pay", True),
        ("waiting", "payme", "to_pay", True),
        ("unknown", "card", "asking", True),
        ("parked", "card", "asking", True),
        ("paid", "card", "finishing", False),
        ("declined", "card", "ordered", False),
    ],
)
def test_an_order_that_waits_says_for_what(status: str, provider: str, state: str, to_pay: bool) -> None:
    found = shown("pending", payment(status, provider=provider))
    assert (found.state, found.to_pay) == (state, to_pay)
    assert not found.over


def test_every_state_has_words_in_every_language() -> None:
    """Whatever an order and its payment are, and however it is paid, each word that the page asks for is there."""
    for status in MOVES.statuses():
        for state in PAYMENT_MOVES.statuses():
            for provider in ("simulated", "card", "link", "payme", "cash_on_delivery"):
                found = followed(order(status=status), payment(state, provider=provider), (), moves("pending", status), ())
                keys = [f"state_{found.state}", f"money_{found.money_state}", *(f"step_{step.name}" for step in found.steps)]
                keys += [f"pay_{found.money_state}"] if found.to_pay else []
                for code in LANGUAGES:
                    assert all(Speech(code).say(f"track.{key}", amount="1", number="1") for key in keys)


def test_the_story_is_told_from_the_last_to_the_first_and_nothing_twice() -> None:
    steps = moves("pending", "paid", "processing")
    found = followed(order(status="processing"), payment("paid"), (), steps, entries(steps, "payment.created", "payment.paid"))
    assert [each.key for each in found.said] == ["payment_paid", "order_processing", "order_created"]
    assert found.said[0].amount == Money(24970, "INR")
    assert [each.amount for each in found.said[1:]] == [None, None]


def test_refunds_are_told_one_by_one_with_their_amounts() -> None:
    steps = moves("pending", "paid")
    happened = ("refund.created", "refund.failed", "refund.created", "refund.succeeded", "payment.refunded")
    found = followed(order(status="paid"), payment("refunded"), (), steps, entries(steps, *happened))
    assert [each.key for each in found.said] == ["refund_succeeded", "refund_created", "refund_created", "order_created"]
    assert [each.amount for each in found.said[:3]] == [Money(1000, "INR")] * 3


def test_a_parcel_is_named_where_it_was_given_and_where_it_changed() -> None:
    first = moves("pending", "paid", "processing", "shipped", tracking_number="T1", carrier="Post")
    last = first[-1]
    changed = replace(last, sequence=5, moved=False, tracking_number="T2", at=last.at + timedelta(hours=1))
    noted = replace(changed, sequence=6, note="Left with the neighbour", at=changed.at + timedelta(hours=1))
    silent = replace(noted, sequence=7, note=None, payment_status="refunded", at=noted.at + timedelta(hours=1))
    steps = [*first, changed, noted, silent]
    found = followed(order(status="shipped"), payment("paid"), (), steps, entries(steps))
    assert [(each.key, each.tracking, each.note) for each in found.said[:3]] == [
        ("note", None, "Left with the neighbour"),
        ("tracking", "Post T2", None),
        ("order_shipped", "Post T1", None),
    ]


def test_only_as_much_of_an_address_as_tells_which_one_it_is() -> None:
    found = shown("paid", payment("paid"))
    assert list(found.address) == ["Mumbai, MH", "India"]
    assert list(shown("paid", payment("paid"), shipping_address=None).address) == []
    assert list(shown("paid", payment("paid"), shipping_address={"city": "Pune", "number": 7}).address) == ["Pune"]


def test_a_refund_that_failed_is_the_shops_affair() -> None:
    refunds = [refund("succeeded", 100), refund("failed", 200), refund("parked", 300), refund("pending", 400)]
    found = followed(order(status="paid"), payment("paid"), refunds, moves("pending", "paid"), ())
    assert [each.amount_minor for each in found.refunds] == [100, 300, 400]


def test_the_mark_changes_with_whatever_the_page_shows() -> None:
    before = stamp_of(3, payment("paid"))
    others = [stamp_of(4, payment("paid")), stamp_of(3, payment("refunding")), stamp_of(3, payment("paid", refunding_minor=5))]
    assert len({before, *others, stamp_of(3, payment("paid", refunded_minor=5))}) == 5
    assert before == stamp_of(3, payment("paid", message="something else", asks=7))
