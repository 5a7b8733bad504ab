"""`note` is the only way to write a line: it commits together with the act, or not at all.

The lines of a transaction are written at its very end, behind its events, under the lock of the merchant's head row. So that lock
is held for the shortest time, and places have no gaps.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from datetime import datetime

from kassa.audit import store
from kassa.audit.model import ACTS, LONGEST_WHY, Act, Hand, Head, Line, Plain, hash_of
from kassa.kit.context import request_id
from kassa.kit.database import Tx
from kassa.kit.own_keys import own_key

_KEY = "audit"
log = logging.getLogger("kassa.audit")


def note(tx: Tx, hand: Hand, merchant_id: str, act: str, subject: str, **what: Plain) -> None:
    """Write that `hand` did `act` to `subject`, when `tx` commits. Noted twice, it was done twice.

    The commit raises `WrongSecret`, and nothing is written, in a process whose secret is not that of this database.
    """
    assert act in ACTS, act
    asked_by = request_id.get() or None
    tx.notes.setdefault(_KEY, []).append(Act(hand, merchant_id, act, subject, what, asked_by))
    tx.at_commit(_KEY, _write, last=True)


async def _write(tx: Tx) -> None:
    acts: list[Act] = tx.notes[_KEY]
    key = await own_key(tx, acts[0].hand.keys)
    for merchant_id in sorted({act.merchant_id for act in acts}):
        head, now = await store.lock_head(tx, merchant_id)
        lines = _chained(key, head, [act for act in acts if act.merchant_id == merchant_id], now)
        await store.append(tx, lines)
        tx.after_commit((_KEY, merchant_id), functools.partial(_tell, lines))


def _chained(key: bytes, head: Head, acts: list[Act], now: datetime) -> list[Line]:
    lines: list[Line] = []
    for act in acts:
        by, why = act.hand.by, act.hand.why
        line = Line(
            merchant_id=act.merchant_id, place=head.last + 1, who_kind=by.kind, who_name=by.name, act=act.name,
            subject=act.subject, why=why[:LONGEST_WHY] if why else None, what=act.what, request_id=act.request_id, at=now,
            previous=head.hash, hash=b"",
        )  # fmt: skip
        line = dataclasses.replace(line, hash=hash_of(key, line))
        head = Head(line.place, line.hash)
        lines.append(line)
    return lines


def _tell(lines: list[Line]) -> None:
    """Say each line's place and hash in the log, which is kept elsewhere: what was said there cannot be taken back here."""
    for line in lines:
        log.info("audit: merchant %s, line %s, %s, %s", line.merchant_id, line.place, line.act, line.hash.hex())
