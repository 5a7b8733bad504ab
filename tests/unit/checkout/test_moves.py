"""The saga's table (rulings, 10), and which shortcuts one transaction may write."""

from __future__ import annotations

import pytest

from kassa.checkout.journal import check_move
from kassa.checkout.model import MOVES
from kassa.kit.moves import IllegalMove

EXPECTED = {
    "started": {"reserved", "undone"},
    "reserved": {"paying", "completed", "undoing"},
    "paying": {"paid", "undoing", "parked"},
    "paid": {"completed", "undoing", "parked"},
    "undoing": {"undone", "parked"},
    "undone": {"returning"},
    "returning": {"undone", "parked"},
    "parked": {"completed", "undoing", "undone"},
    "completed": set(),
}
BOTH_HALVES = {
    ("reserved", "undone"), ("reserved", "parked"), ("paying", "completed"), ("paying", "undone"), ("paying", "parked"),
    ("paid", "undone"), ("paid", "parked"), ("parked", "undone"), ("parked", "parked"),
}  # fmt: skip
"""Pairs whose middle (`paid` or `undoing`) is passed within one transaction."""
PAIRS = [(before, after) for before in EXPECTED for after in EXPECTED]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_every_pair_of_statuses(before: str, after: str) -> None:
    if after in EXPECTED[before]:
        assert MOVES.after(before, after) == after
    else:
        with pytest.raises(IllegalMove):
            MOVES.after(before, after)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_one_transaction_makes_one_move_or_two_through_paid_or_undoing(before: str, after: str) -> None:
    if before == after or after in EXPECTED[before] or (before, after) in BOTH_HALVES:
        check_move(before, after)
    else:
        with pytest.raises(IllegalMove):
            check_move(before, after)


def test_every_status_can_be_reached_and_only_completed_is_final() -> None:
    assert MOVES.statuses() == MOVES.reachable() == set(EXPECTED)
    assert {status for status in EXPECTED if not EXPECTED[status]} == {"completed"}


def test_nothing_leads_out_of_completed() -> None:
    for after in set(EXPECTED) - {"completed"}:
        with pytest.raises(IllegalMove):
            check_move("completed", after)


def test_whatever_is_not_at_rest_can_come_to_rest() -> None:
    for status in ("started", "reserved", "paying", "paid", "undoing", "returning"):
        reached, todo = set(), [status]
        while todo:
            here = todo.pop()
            reached.add(here)
            todo += [after for after in EXPECTED[here] if after not in reached]
        assert reached & {"completed", "undone", "parked"}


def test_the_diagram_draws_every_move() -> None:
    assert len(MOVES.diagram().splitlines()) == 2 + sum(map(len, EXPECTED.values()))
