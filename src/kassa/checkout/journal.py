"""One move of a checkout and its journal lines, written through and remembered."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kassa.checkout import store
from kassa.checkout.held import Held
from kassa.checkout.model import MOVES, STOCK, Refusal
from kassa.kit.database import Tx


async def advance(
    tx: Tx,
    held: Held,
    status: str,
    when: store.Next,
    notes: Sequence[store.Note] = (),
    *,
    refusal: Refusal | None = None,
    undo_stock: bool = False,
    tries: int = 0,
) -> None:
    """Move `held` to `status` (by the table; the same status only writes the journal) and refresh it.

    Raises `Overtaken` when somebody was first. `undo_stock` notes the own hold as undone if there is one.
    """
    check_move(held.checkout.status, status)
    written = [note for note in notes if note.step in held.checkout.acts]
    if undo_stock and held.status_of(STOCK) == "done":
        written.append(store.Note(STOCK, "undone"))
    before = time.monotonic()
    held.checkout = await store.advance(
        tx, held.checkout, status, when, written, lease_s=held.lease_s, refusal=refusal, tries=tries
    )
    if when.lease == "renew":
        held.leased_at = before
    if written and when.in_s is not None:
        steps = await store.steps_of(tx, held.checkout.merchant_id, held.checkout.checkout_id)
        held.steps = {step.step: step for step in steps}


def check_move(before: str, after: str) -> None:
    """Raise `IllegalMove` unless the table leads from `before` to `after`, in one move or through `paid` or `undoing`.

    A transaction that does both halves of such a pair writes only where it ends.
    """
    if before == after or any(
        MOVES.allows(before, between) and MOVES.allows(between, after) for between in ("paid", "undoing")
    ):
        return
    MOVES.after(before, after)
