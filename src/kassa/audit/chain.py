"""Walk the chains and find the first line that is not as it was written, or is missing, added or moved.

A page of lines is in memory at a time. Each hash is keyed, so whoever can write the table but does not have `KASSA_SECRET` cannot
make a line that passes. What a chain cannot tell by itself is that its newest lines were cut off together with its head: for that
a head is given that was noted elsewhere (by an earlier check, or by the log of the process that wrote it).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kassa.audit import store
from kassa.audit.model import BEGIN, Head, Line, hash_of
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.own_keys import own_key

_PAGE = 1000
_FIRST_PLACE = -(2**63)
Tell = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Broken:
    """The first link of a chain that does not hold, and why."""

    place: int
    why: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A merchant's chain: its last line, how many there are, and what is broken in it, if anything."""

    merchant_id: str
    place: int
    hash: bytes
    lines: int
    broken: Broken | None


async def check_chains(
    ctx: Context,
    merchant_id: str | None = None,
    *,
    known: Mapping[str, Head] | None = None,
    tell: Tell = lambda _merchant, _count: None,
) -> list[Chain]:
    """Every chain, or that of one merchant, at one moment. `known`: heads that were noted earlier and elsewhere.

    Raises `WrongSecret`, and `DatabaseAway`.
    """
    key = await own_key(ctx.db, ctx.keys)
    async with ctx.db.snapshot("audit.check") as tx:
        wanted = sorted({*await store.chains(tx), *(known or {})}) if merchant_id is None else [merchant_id]
        return [await _walk(tx, key, each, (known or {}).get(each), tell) for each in wanted]


async def _walk(tx: Tx, key: bytes, merchant_id: str, known: Head | None, tell: Tell) -> Chain:
    end, place, count = Head(0, BEGIN), _FIRST_PLACE, 0
    broken: Broken | None = None
    while lines := await store.lines_behind(tx, merchant_id, place, _PAGE):
        for line in lines:
            broken = broken or _judge(key, end, line) or _as_known(known, line)
            end = Head(line.place, line.hash)
        place, count = lines[-1].place, count + len(lines)
        tell(merchant_id, count)
    broken = broken or _judge_end(await store.head_of(tx, merchant_id), end, known)
    return Chain(merchant_id, end.last, end.hash, count, broken)


def _judge(key: bytes, before: Head, line: Line) -> Broken | None:
    if line.place != before.last + 1:
        missing = f"line {before.last + 1} is missing" if line.place > before.last + 1 else "there is no such place"
        return Broken(line.place, missing)
    if not hmac.compare_digest(line.hash, hash_of(key, line)):
        return Broken(line.place, "it is not as it was written")
    if not hmac.compare_digest(line.previous, before.hash):
        return Broken(line.place, "it does not follow the line before it")
    return None


def _as_known(known: Head | None, line: Line) -> Broken | None:
    if known is None or line.place != known.last or hmac.compare_digest(known.hash, line.hash):
        return None
    return Broken(line.place, "it is not the line that was noted elsewhere")


def _judge_end(head: Head | None, end: Head, known: Head | None) -> Broken | None:
    if known is not None and known.last > end.last:
        return Broken(end.last, f"the chain ends here, and line {known.last} was noted elsewhere")
    if head is None:
        return Broken(end.last, "the head is missing") if end.last else None
    if head.last != end.last or not hmac.compare_digest(head.hash, end.hash):
        return Broken(end.last, f"the chain ends here, and its head says {head.last}")
    return None
