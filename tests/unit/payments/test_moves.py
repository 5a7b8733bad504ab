"""What may happen to a payment. The table stands here once more, as the texts say it: status, then what happened, then status."""

from __future__ import annotations

import pytest

from kassa.kit.moves import IllegalMove
from kassa.payments import MOVES, shown_status
from kassa.payments.model import HOLDS

OPEN = {"paid": "paid", "declined": "declined", "waiting": "waiting", "closed": "expired"}
EXPECTED = {
    "opened": {**OPEN, "unknown": "unknown", "cancelled": "cancelled"},
    "waiting": {"paid": "paid", "declined": "declined", "closed": "expired", "cancelled": "cancelled"},
    "unknown": {**OPEN, "unknown": "unknown", "parked": "parked"},
    "parked": {"paid": "paid", "declined": "declined", "closed": "expired"},
    "paid": {"refund_begun": "refunding", "reversed": "reversed"},
    # Late facts win.
    "declined": {"paid": "paid"},
    "expired": {"paid": "paid"},
    "cancelled": {"paid": "paid"},
    "refunding": {"refunded": "refunded", "refund_failed": "paid"},
    "refunded": {},
    "reversed": {},
}
HAPPENINGS = sorted({what for moves in EXPECTED.values() for what in moves})


@pytest.mark.parametrize("status", EXPECTED)
@pytest.mark.parametrize("what", HAPPENINGS)
def test_every_pair_of_status_and_happening(status: str, what: str) -> None:
    if what in EXPECTED[status]:
        assert MOVES.after(status, what) == EXPECTED[status][what]
    else:
        with pytest.raises(IllegalMove) as refused:
            MOVES.after(status, what)
        assert refused.value.details["allowed"] == sorted(EXPECTED[status])


def test_there_are_no_other_states_and_each_can_be_reached() -> None:
    assert MOVES.statuses() == MOVES.reachable() == set(EXPECTED)


def test_money_that_moved_is_never_called_declined_expired_or_cancelled() -> None:
    """From `paid` nothing leads back to a state that says no money moved."""
    seen, todo = set(), ["paid"]
    while todo:
        here = todo.pop()
        seen.add(here)
        todo += [there for (at, _), there in MOVES.table.items() if at == here and there not in seen]
    assert seen == {"paid", "refunding", "refunded", "reversed"}


def test_every_state_that_is_not_final_has_a_way_to_paid() -> None:
    for status in ("opened", "waiting", "unknown", "parked", "declined", "expired", "cancelled"):
        assert MOVES.after(status, "paid") == "paid"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("opened", "pending"), ("waiting", "pending"), ("unknown", "pending"), ("parked", "pending"), ("paid", "paid"),
        ("declined", "failed"), ("expired", "failed"), ("cancelled", "failed"), ("refunding", "refunded"),
        ("refunded", "refunded"), ("reversed", "refunded"),
    ],
)  # fmt: skip
def test_an_order_shows_one_of_four_words(status: str, shown: str) -> None:
    assert shown_status(status) == shown


def test_only_what_is_still_alive_or_paid_holds_its_reference() -> None:
    assert set(EXPECTED) - HOLDS == {"declined", "expired", "cancelled", "refunded", "reversed"}


def test_the_diagram_draws_every_move() -> None:
    lines = MOVES.diagram().splitlines()
    assert len(lines) == 2 + len(MOVES.table)
    assert "    [*] --> opened" in lines
    assert "    unknown --> parked: parked" in lines
