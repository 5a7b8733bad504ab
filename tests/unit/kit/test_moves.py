"""A state machine is one table: what it does not name does not happen."""

from __future__ import annotations

import pytest

from kassa.kit.moves import IllegalMove, Moves

DOOR = Moves(
    "shut", {("shut", "open"): "open", ("open", "close"): "shut", ("shut", "lock"): "locked", ("locked", "unlock"): "shut"}
)


def test_a_move_of_the_table_leads_where_the_table_says() -> None:
    assert DOOR.after("shut", "open") == "open"
    assert DOOR.allows("shut", "lock")


def test_a_move_that_is_not_in_the_table_says_what_would_be_allowed() -> None:
    with pytest.raises(IllegalMove) as refused:
        DOOR.after("shut", "unlock")
    assert refused.value.details == {"from": "shut", "to": "unlock", "allowed": ["lock", "open"]}
    assert not DOOR.allows("shut", "unlock")


def test_every_other_pair_is_refused() -> None:
    happenings = {what for _, what in DOOR.table}
    for status in DOOR.statuses():
        for what in happenings:
            if (status, what) in DOOR.table:
                assert DOOR.after(status, what) == DOOR.table[status, what]
            else:
                with pytest.raises(IllegalMove):
                    DOOR.after(status, what)


def test_a_status_that_nobody_knows_allows_nothing() -> None:
    with pytest.raises(IllegalMove) as refused:
        DOOR.after("gone", "open")
    assert refused.value.details["allowed"] == []


def test_what_cannot_be_reached_is_seen() -> None:
    moves = Moves("a", {("a", "x"): "b", ("c", "x"): "a"})
    assert moves.reachable() == {"a", "b"}
    assert moves.statuses() == {"a", "b", "c"}


def test_a_table_that_is_changed_afterwards_changes_nothing() -> None:
    table = {("a", "x"): "b"}
    moves = Moves("a", table)
    table["a", "y"] = "c"
    assert not moves.allows("a", "y")


def test_the_diagram_has_a_line_a_move_and_leaves_out_what_is_hidden() -> None:
    lines = DOOR.diagram(hidden=["lock", "unlock"]).splitlines()
    assert lines == ["stateDiagram-v2", "    [*] --> shut", "    shut --> open: open", "    open --> shut: close"]
