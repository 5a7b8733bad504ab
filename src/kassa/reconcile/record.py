"""Keep differences as cases: listed once while they are open, closed by the run that does not find them any more.

A difference that a person closed by its case stays closed for as long as it is the very same one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kassa import cases
from kassa.audit import EVERYBODY, Hand, note
from kassa.kit.context import Context
from kassa.reconcile.model import TYPES, Difference, Judged

RECONCILED = "reconciled by a later statement"
_BY_VERDICT = "by hand: "
"""How a decision begins that was about the payment and not about this difference."""
_KINDS = [f"reconcile_{type_}" for type_ in TYPES]

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """How a page of differences was kept: `states` (`new`, `known` or `decided`) in their order, and how many cases are over."""

    states: tuple[str, ...]
    closed: int


async def record(
    ctx: Context,
    merchant_ids: Collection[str],
    found: Sequence[Difference],
    judged: Sequence[Judged],
    hand: Hand | None = None,
    statement: str = "",
) -> Recorded:
    """List what was found and close what was judged and not found, in one transaction. Done twice, the second changes nothing.

    `hand` is whose `statement` it is that is compared.
    """
    subjects = {each.subject for each in found} | {each.subject for each in judged}
    listed = await cases.cases_about(ctx.db, sorted(merchant_ids), sorted(subjects), _KINDS, open_only=not found)
    still_open = [case for case in listed if case.closed_at is None]
    states = tuple(_state(each, listed) for each in found)
    standing = {(each.kind, each.subject, each.act) for each in found}
    may_end = {(f"reconcile_{type_}", each.subject, each.act) for each in judged for type_ in each.types} - standing
    over = [case for case in still_open if (case.kind, case.subject, case.act) in may_end]
    new = [each for each, state in zip(found, states, strict=True) if state == "new"]
    if not new and not over:
        return Recorded(states, 0)
    closed = 0
    async with ctx.db.transaction("reconcile.note") as tx:
        for each in new:
            await cases.open_case(
                tx, each.merchant_id, each.kind, each.subject, act=each.act, last_answer=each.text,
                amount_minor=each.amount_minor, currency=each.currency,
            )  # fmt: skip
        for case in over:
            closed += await cases.close_case(tx, case.merchant_id, case.case_id, RECONCILED) is not None
        if hand is not None:
            mine = merchant_ids if len(merchant_ids) == 1 else (EVERYBODY,)
            note(tx, hand, next(iter(mine)), "reconcile.note", f"statement:{statement}", opened=len(new), closed=closed)
    return Recorded(states, closed)


def _state(difference: Difference, listed: Sequence[cases.Case]) -> str:
    """`known`: its case is open and says the same; `decided`: a person closed just this; else `new`. `listed`: newest first."""
    mine = [
        case
        for case in listed
        if (case.merchant_id, case.kind, case.subject, case.act)
        == (difference.merchant_id, difference.kind, difference.subject, difference.act)
    ]
    still_open = next((case for case in mine if case.closed_at is None), None)
    if still_open is not None:
        return "known" if still_open.last_answer == difference.text else "new"
    same = next((case for case in mine if case.last_answer == difference.text), None)
    decision = (same.decision or "") if same else RECONCILED
    return "new" if decision == RECONCILED or decision.startswith(_BY_VERDICT) else "decided"
