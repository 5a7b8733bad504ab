"""Forget again whom a backup has brought back: the erasures are read from lines of the audit log that were kept elsewhere.

The log names a buyer by id, as the books do, and a guest by a keyed hash of the address: it is found by hashing the addresses that
guests have given. Whoever is not there any more needs no erasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kassa import audit
from kassa.checkout import store
from kassa.checkout.forget import Forgotten, Person, forget_buyer, guest_in_the_log
from kassa.kit.context import Context


@dataclass(frozen=True, slots=True)
class Erasure:
    """A line of the audit log: at this merchant this one was forgotten (`buyer:<id>` or `guest:<keyed hash>`)."""

    merchant_id: str
    subject: str


async def forget_again(ctx: Context, erasures: Sequence[Erasure], hand: audit.Hand, *, dry: bool = False) -> list[Forgotten]:
    """Repeat these erasures, or only count (`dry`); what was done for each who was there. Done twice, the second finds nothing."""
    done: list[Forgotten] = []
    for merchant_id in sorted({each.merchant_id for each in erasures}):
        wanted = {each.subject for each in erasures if each.merchant_id == merchant_id}
        done += [await forget_buyer(ctx, merchant_id, each, hand, dry=dry) for each in await _persons(ctx, merchant_id, wanted)]
    return [each for each in done if each.total or each.in_the_way]


async def _persons(ctx: Context, merchant_id: str, subjects: set[str]) -> list[Person]:
    buyers = sorted(each.removeprefix("buyer:") for each in subjects if each.startswith("buyer:"))
    guests: list[str] = []
    if any(each.startswith("guest:") for each in subjects):
        known = [each for each in (ctx.keys, ctx.keys.before) if each is not None]
        async with ctx.db.snapshot("checkout.guests") as tx:
            # No index leads to guests: they are looked through once after a restore.
            await tx.execute("SET LOCAL enable_seqscan = on")
            addresses = sorted({each.lower() for each in await store.guest_emails(tx, merchant_id)})
        guests = [each for each in addresses if not subjects.isdisjoint(guest_in_the_log(keys, each) for keys in known)]
    return [*(Person(buyer_id=each) for each in buyers), *(Person(email=each) for each in guests)]
