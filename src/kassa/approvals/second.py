"""Acts above a limit need a second person: kept as they were asked for, approved or rejected by another admin, then done.

The yes is committed before the act, and the act carries a key of its own: so a crash in between loses nothing, and two admins who
approve at once, or a repetition, are one effect.
"""

from __future__ import annotations

from kassa import audit
from kassa.approvals import store
from kassa.approvals.model import MOVES, Approval, ApprovalOver, OwnApproval, Wish
from kassa.audit import Hand
from kassa.kit.context import Context
from kassa.kit.once import KeyReused

_SAYS = {"approve": "approval.approve", "reject": "approval.reject"}


async def ask(ctx: Context, hand: Hand, merchant_id: str, wish: Wish) -> Approval:
    """Keep an act for a second person, for seven days. The same form sent twice is one approval.

    Raises `KeyReused` for a form that was sent before with other values.
    """
    async with ctx.db.transaction("approvals.ask") as tx:
        made = await store.insert(tx, merchant_id, wish)
        if made is None:
            before = await store.find_asked(tx, merchant_id, wish.asked_by, wish.once_key)
            assert before is not None
            if (before.act, before.subject, before.asked, before.why) != (wish.act, wish.subject, dict(wish.asked), wish.why):
                raise KeyReused
            return before
        audit.note(
            tx, hand, merchant_id, "approval.ask", made.subject, approval_id=str(made.approval_id), wanted=made.act,
            amount_minor=made.amount_minor, currency=made.currency,
        )  # fmt: skip
        return made


async def decide(ctx: Context, hand: Hand, found: Approval, word: str) -> Approval:
    """Another person's `approve` or `reject`, with the hand's reason.

    Raises `OwnApproval`, and `ApprovalOver` when somebody was first or nobody came in time.
    """
    if hand.by.name == found.asked_by:
        raise OwnApproval
    if found.status != "pending":
        raise ApprovalOver
    after = MOVES.after(found.status, word)
    async with ctx.db.transaction("approvals.decide") as tx:
        decided = await store.write_decision(tx, found, after, hand.by.name, hand.why or "")
        if decided is None:
            raise ApprovalOver
        facts = {"approval_id": str(found.approval_id), "wanted": found.act, "asked_by": found.asked_by}
        audit.note(tx, hand, found.merchant_id, _SAYS[word], found.subject, **facts)
    return decided


async def note_outcome(ctx: Context, found: Approval, word: str, outcome: str) -> Approval:
    """What came of an approved act: `done` or `failed`, with a stable word. Noted twice, the first stays."""
    async with ctx.db.transaction("approvals.outcome") as tx:
        noted = await store.write_outcome(tx, found, MOVES.after("approved", word), outcome)
    return noted or await store.find(ctx.db, found.merchant_id, found.approval_id) or found
