"""A small share of the catalogue of faults, in every run of the tests; `make crash` plays all of it, many times."""

from __future__ import annotations

import pytest
from tests import rig
from tests.crash import faults, mutants
from tests.crash.fault import FAULTS, IMPOSSIBLE, NUMBERS
from tests.crash.field import play
from tests.crash.nursery import Nursery

assert faults


def test_every_fault_of_the_catalogue_is_played_or_said_to_be_impossible() -> None:
    assert sorted({*FAULTS, *IMPOSSIBLE}) == list(NUMBERS)
    assert not FAULTS.keys() & IMPOSSIBLE.keys()


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_a_guard_that_can_be_broken_stands_where_it_is_said_to(mutant: mutants.Mutant) -> None:
    assert mutant.edits
    for edit in mutant.edits:
        assert mutants.changed(mutant, edit, (rig.ROOT / "src" / "kassa" / edit.file).read_text())


@pytest.mark.parametrize("number", [each.number for each in FAULTS.values() if each.quick])
def test_a_fault(number: str, nursery: Nursery, database_server: rig.DatabaseServer) -> None:
    result = play(
        FAULTS[number], FAULTS[number].quick, 1, nursery, database_server, timed=False
    )  # beside other tests no time is told
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.wrong, "\n".join(result.wrong)
