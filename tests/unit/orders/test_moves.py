"""How an order goes to the door, or is cancelled before it is shipped."""

from __future__ import annotations

import pytest

from kassa.kit.moves import IllegalMove
from kassa.orders import MOVES, illegal

STATUSES = ("pending", "paid", "processing", "shipped", "delivered", "cancelled")
EXPECTED = {
    "pending": {"paid", "processing", "cancelled"},
    "paid": {"processing", "cancelled"},
    "processing": {"shipped", "cancelled"},
    "shipped": {"delivered"},
    "delivered": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("to", STATUSES)
def test_every_pair_of_statuses(status: str, to: str) -> None:
    if to in EXPECTED[status]:
        assert MOVES.after(status, to) == to
    else:
        with pytest.raises(IllegalMove):
            MOVES.after(status, to)


def test_every_status_can_be_reached() -> None:
    assert MOVES.statuses() == MOVES.reachable() == set(STATUSES)


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ("pending", ["cancelled"]),  # `paid` is made by payments alone, `processing` by cash on delivery
        ("paid", ["cancelled", "processing"]),
        ("processing", ["cancelled", "shipped"]),
        ("shipped", ["delivered"]),
        ("delivered", []),
        ("cancelled", []),
    ],
)
def test_a_refused_move_names_what_a_person_may_do_instead(status: str, allowed: list[str]) -> None:
    refused = illegal(status, "paid")
    assert refused.code == "illegal_move"
    assert refused.details == {"from": status, "to": "paid", "allowed": allowed}


def test_the_diagram_draws_every_move() -> None:
    assert len(MOVES.diagram().splitlines()) == 2 + len(MOVES.table)
