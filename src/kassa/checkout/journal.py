"""One move of a checkout and its journal lines, written through and remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kassa.checkout import store
from kassa.checkout.held import Held
from kassa.checkout.model import MOVES, STOCK, Checkout, Refusal, Step
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
    held.restore_if_undone(tx)
    written = _wanted(held, notes)
    if undo_stock and held.status_of(STOCK) == "done":
        written.append(store.Note(STOCK, "undone"))
    before, before_status = time.monotonic(), held.checkout.status
    move = store.Move(status, when, written, held.lease_s, refusal, tries)
    held.checkout = await store.advance(tx, held.checkout, move)
    if before_status == "parked" != status:
        await store.close_cases(tx, held.checkout, f"became {status}")
    if when.lease == "renew":
        held.leased_at = before
    held.steps = _noted(held.steps, written, held.checkout)


async def complete(tx: Tx, held: Held, when: store.Next, notes: Sequence[store.Note]) -> None:
    """Move `held` to `completed` together with what else the transaction leaves for later; times stay as they were read.

    `Overtaken` is raised when that is sent and somebody was first. `held` is then as it was before.
    """
    check_move(held.checkout.status, "completed")
    held.restore_if_undone(tx)
    written, was_parked = _wanted(held, notes), held.checkout.status == "parked"
    held.checkout = await store.complete_later(tx, held.checkout, store.Move("completed", when, written, held.lease_s))
    if was_parked:
        await store.close_cases(tx, held.checkout, "became completed")
    held.steps = _noted(held.steps, written, held.checkout)


def _wanted(held: Held, notes: Sequence[store.Note]) -> list[store.Note]:
    return [note for note in notes if note.step in held.checkout.acts]


def _noted(steps: Mapping[str, Step], notes: Sequence[store.Note], checkout: Checkout) -> dict[str, Step]:
    """The journal after `notes`, as `store.advance` has just written it: it need not be read again."""
    at, after = checkout.read_at, dict(steps)
    for note in notes:
        old = after.get(note.step) or Step(
            note.step, list(checkout.acts).index(note.step), note.status, None, 0, None, 0, None, at, at
        )
        after[note.step] = replace(
            old,
            status=note.status,
            ref=note.ref or old.ref,
            sends=old.sends + note.sent,
            first_sent_at=old.first_sent_at or (at if note.sent else None),
            undos=old.undos + note.undo,
            undo_since=old.undo_since or (at if note.undo else None),
            updated_at=at,
        )
    return dict(sorted(after.items(), key=lambda each: each[1].position))


def check_move(before: str, after: str) -> None:
    """Raise `IllegalMove` unless the table leads from `before` to `after`, in one move or through `paid` or `undoing`.

    A transaction that does both halves of such a pair writes only where it ends.
    """
    if before == after or any(MOVES.allows(before, between) and MOVES.allows(between, after) for between in ("paid", "undoing")):
        return
    MOVES.after(before, after)
