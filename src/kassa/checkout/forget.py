"""Forget a buyer: erase what names a person, keep the books (product, section 5; rulings, 25).

Erased are addresses, e-mail addresses, names, what is left of cards, free text, stored answers, messages and the cart; ids,
amounts, statuses and events stay. All of it is one transaction a merchant. Nothing is erased while something of the buyer is under
way or still needs the address: what stands in the way is told, to be asked again later. What the buyer does afterwards is new.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa import approvals, audit, cardwatch, carts, cases, notices, orders, payments
from kassa.checkout import store
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Invalid
from kassa.kit.secrets import Keys

_MOVING = frozenset({"opened", "waiting", "unknown", "parked", "refunding"})
_AT_THE_DOOR = frozenset({"pending", "paid", "processing", "shipped"})


class NobodyNamed(Invalid):
    """Name the buyer by id, or the guest by e-mail address."""

    code = "nobody_named"


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be forgotten: a buyer by the id of the token, or guests by the e-mail address that they gave."""

    buyer_id: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What must end first, and why."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased of one merchant's rows, how many of each; `in_the_way` not empty: nothing was."""

    merchant_id: str
    orders: int = 0
    checkouts: int = 0
    payments: int = 0
    messages: int = 0
    answers: int = 0
    cart_lines: int = 0
    in_the_way: tuple[Hindrance, ...] = ()

    @property
    def total(self) -> int:
        """How many rows were changed in all."""
        return self.orders + self.checkouts + self.payments + self.messages + self.answers + self.cart_lines


class _NotNow(Exception):
    """Rolls everything back; carries what would have been said."""

    def __init__(self, forgotten: Forgotten) -> None:
        super().__init__()
        self.forgotten = forgotten


async def forget_buyer(ctx: Context, merchant_id: str, person: Person, hand: audit.Hand, *, dry: bool = False) -> Forgotten:
    """Erase what is personal of a buyer at one merchant, or only count it (`dry`). Done twice, the second finds nothing.

    Raises `NobodyNamed`.
    """
    if bool(person.buyer_id) == bool(person.email):
        raise NobodyNamed
    try:
        async with ctx.db.transaction("checkout.forget") as tx:
            # No index leads from a buyer to checkouts: they are asked for once in a while, and written all the time.
            await tx.execute("SET LOCAL statement_timeout = 0")
            await tx.execute("SET LOCAL enable_seqscan = on")
            forgotten = await _forget(tx, ctx.keys, merchant_id, person)
            if dry or forgotten.in_the_way:
                raise _NotNow(forgotten)
            if forgotten.total:
                _note(tx, hand, person, forgotten)
    except _NotNow as later:
        return later.forgotten
    return forgotten


async def _forget(tx: Tx, keys: Keys, merchant_id: str, person: Person) -> Forgotten:
    """What there is is found first; then, in the order of locks: answers under keys, cart, checkouts, orders, payments, tries."""
    emails = await store.guest_emails(tx, merchant_id, person.email) if person.email else []
    found = await store.of_person(tx, merchant_id, person.buyer_id, person.email)
    buyer_ids = sorted({person.buyer_id} if person.buyer_id else {each.buyer_id for each in found if each.buyer_id})
    order_ids = [each.order_id for each in found if each.order_id is not None]
    payment_ids = [each.payment_id for each in found if each.payment_id is not None]
    subjects = await _subjects(tx, merchant_id, found)
    # Staff and merchants were answered about the buyer's orders, too.
    answers = await once.forget(
        tx, keys, merchant_id, _callers(keys, buyer_ids, emails), [each.partition(":")[2] for each in subjects]
    )
    lines = sum([await carts.forget(tx, merchant_id, buyer_id) for buyer_id in buyer_ids])
    found = await store.lock_of_person(tx, merchant_id, [each.checkout_id for each in found])
    waiting = [_of_checkout(each) for each in found if each.status not in {"completed", "undone"} or each.next_at is not None]
    waiting += await _orders_in_the_way(tx, merchant_id, order_ids)
    waiting += await _payments_in_the_way(tx, merchant_id, payment_ids)
    waiting += await _cases_in_the_way(tx, merchant_id, subjects)
    if waiting:
        return Forgotten(merchant_id, in_the_way=tuple(waiting))
    await cases.forget(tx, merchant_id, subjects)
    await approvals.forget(tx, merchant_id, subjects)
    forgotten = Forgotten(
        merchant_id,
        checkouts=await store.forget(tx, merchant_id, [each.checkout_id for each in found]),
        orders=await orders.forget(tx, merchant_id, order_ids),
        payments=await payments.forget(tx, merchant_id, payment_ids),
        messages=await notices.forget(tx, merchant_id, order_ids),
        answers=answers,
        cart_lines=lines,
    )
    await cardwatch.forget(tx, keys, merchant_id, person.buyer_id or person.email or "", is_guest=person.buyer_id is None)
    return forgotten


async def _subjects(tx: Tx, merchant_id: str, found: Sequence[store.OfPerson]) -> list[str]:
    """What keys and cases may be about: the person's checkouts, orders, payments and refunds."""
    subjects = [f"checkout:{each.checkout_id}" for each in found]
    subjects += [f"order:{each.order_id}" for each in found if each.order_id is not None]
    for each in found:
        if each.payment_id is not None:
            subjects.append(f"payment:{each.payment_id}")
            subjects += [f"refund:{refund.refund_id}" for refund in await payments.refunds_of(tx, merchant_id, each.payment_id)]
    return subjects


def _callers(keys: Keys, buyer_ids: Sequence[str], emails: Sequence[str]) -> list[str]:
    """In whose name keys were claimed; a guest's is a keyed hash of the address, under either secret of a rotation."""
    known = [each for each in (keys, keys.before) if each is not None]
    buyers = [f"user:{each}" for each in buyer_ids]
    return [*buyers, *(f"guest:{each.fingerprint(email.encode()).hex()}" for email in emails for each in known)]


def _of_checkout(found: store.OfPerson) -> Hindrance:
    over = found.status in {"completed", "undone"}
    return Hindrance(f"checkout:{found.checkout_id}", "an undo is not done yet" if over else f"the purchase is {found.status}")


async def _orders_in_the_way(tx: Tx, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> list[Hindrance]:
    """Orders that must still be brought to somebody. One that an order service has taken over is brought by that one."""
    found = [await orders.lock(tx, merchant_id, order_id) for order_id in sorted(order_ids)]
    return [
        Hindrance(f"order:{order.order_id}", f"it is {order.status}, and its delivery needs the address")
        for order in found
        if order.status in _AT_THE_DOOR and order.shipping_address and order.external_id is None
    ]


async def _payments_in_the_way(tx: Tx, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[Hindrance]:
    waiting: list[Hindrance] = []
    for payment_id in sorted(payment_ids):
        payment = await payments.find(tx, merchant_id, payment_id)
        if payment is not None and (payment.status in _MOVING or payment.refunding_minor):
            why = f"it is {payment.status}" if payment.status in _MOVING else "a refund is under way"
            waiting.append(Hindrance(f"payment:{payment_id}", why))
    return waiting


async def _cases_in_the_way(tx: Tx, merchant_id: str, subjects: Sequence[str]) -> list[Hindrance]:
    """Open cases: whoever works on one may have to write to the buyer."""
    listed = await cases.cases_about(tx, [merchant_id], subjects, open_only=True)
    return [Hindrance(f"case:{case.case_id}", f"{case.kind} about {case.subject} is open") for case in listed]


def guest_in_the_log(keys: Keys, email: str) -> str:
    """How the audit log names a guest: by a keyed hash of the address."""
    return f"guest:{keys.fingerprint(email.lower().encode()).hex()[:32]}"


def _note(tx: Tx, hand: audit.Hand, person: Person, done: Forgotten) -> None:
    """The log keeps the id of a buyer, as the books do; of a guest it keeps a keyed hash of the address."""
    subject = guest_in_the_log(hand.keys, person.email) if person.email else f"buyer:{person.buyer_id}"
    audit.note(
        tx, hand, done.merchant_id, "buyer.forget", subject,
        orders=done.orders, checkouts=done.checkouts, payments=done.payments, messages=done.messages, answers=done.answers,
        cart_lines=done.cart_lines,
    )  # fmt: skip
