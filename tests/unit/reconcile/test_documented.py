"""Every kind of case that the code opens stands in the operator's document, with what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kassa.cli.cases import next_step
from kassa.reconcile import TYPES

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()
ID = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"


def kinds_in_source() -> set[str]:
    """Words that stand where a kind is expected: after the merchant or the checkout in calls of `open_case`, and of what hands it on."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "kassa").rglob("*.py"))
    opened = re.findall(r"open_case\(\s*[^\"()]*?\"([a-z_]+)\"", source)
    handed_on = re.findall(r"_list\([^)]*\"([a-z_]+)\"\)", source)
    return {*opened, *handed_on}


def test_the_source_opens_the_kinds_that_are_known_here() -> None:
    assert kinds_in_source() >= {"payment_unknown", "act_unknown", "undo_stuck", "undo_failing", "refund_parked", "amount_mismatch"}


@pytest.mark.parametrize("kind", sorted(kinds_in_source() - {"other provider"}))
def test_every_kind_says_what_to_do(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \| .+ \| .+ \| .+ \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_every_difference_says_what_to_do(type_: str) -> None:
    assert re.search(rf"^\| `{type_}` \| .+ \| .+ \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize(
    ("kind", "subject", "step"),
    [
        ("refund_parked", f"refund:{ID}", f'kassa payments refund-done {ID} --reason "…"'),
        ("amount_mismatch", f"payment:{ID}", f"kassa payments show {ID}"),
        ("reconcile_status_differs", f"payment:{ID}", f"kassa payments show {ID}"),
        ("reconcile_missing_here", f"payment:{ID}", 'kassa payments close a-case --reason "…"'),
        ("report_unmatched", f"payment:{ID}", 'kassa payments close a-case --reason "…"'),
        ("undo_stuck", f"checkout:{ID}", 'kassa payments close a-case --reason "…"'),
    ],
)
def test_the_next_step_looks_before_it_acts(kind: str, subject: str, step: str) -> None:
    assert next_step(kind, subject, "a-case") == step
