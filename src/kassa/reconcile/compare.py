"""One payment, its refunds and the rows of a statement about it: what differs. No I/O here.

A refund is recognised by its id (ours, the key that we sent, or the provider's). A row without an id, or with one that we
have never heard, is taken for a refund of the same amount: partial refunds of one payment often differ by nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from kassa.kit.money import InvalidMoney, fixed_text, from_major
from kassa.payments.model import Payment
from kassa.payments.requests.overview import BookedRefund
from kassa.reconcile.model import (
    CAPTURED,
    CHARGE_TYPES,
    MOVING,
    REFUND_TYPES,
    Difference,
    Judged,
    Period,
    Row,
    is_held_by,
    subject_of,
)

QUIET = timedelta(minutes=10)
"""How long a refund that is still under way is left alone."""
_UNDER_WAY = frozenset({"pending", "parked"})


@dataclass(frozen=True, slots=True)
class Look:
    """How a statement is looked at: whose it is (`provider` as the operator named it, its `names` here), of what time, and when.

    `at_rest`: nothing of ours runs, so what the statement says of a payment whose end is open here is a difference, too.
    """

    provider: str
    names: frozenset[str]
    period: Period
    now: datetime
    at_rest: bool = False


@dataclass(slots=True)
class Compared:
    """What came of one payment. `border`: it may belong to the time before or after the statement, so its absence says nothing."""

    found: list[Difference] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    moving: bool = False
    border: bool = False


def compare(
    look: Look, payment: Payment, refunds: Sequence[BookedRefund], rows: Sequence[Row], captured_at: datetime | None = None
) -> Compared:
    """Compare a payment with the rows about it. `captured_at`: when we booked its capture, if there is no charge row."""
    if not look.at_rest and is_moving(payment, refunds, look.now):
        return Compared(moving=True)
    this = _Comparing(look, payment, Compared())
    charges = [row for row in rows if row.kind != "refund"]
    returned = [row for row in rows if row.kind == "refund"]
    if not is_held_by(payment, look.names):
        this.elsewhere(charges, returned)
        return this.out
    if charges:
        this.charges(charges)
    elif payment.status in CAPTURED and payment.amount_minor and captured_at is not None:
        this.absent(captured_at)
    this.refunds(returned, refunds)
    return this.out


def is_moving(payment: Payment, refunds: Sequence[BookedRefund], now: datetime) -> bool:
    """Whether nobody can say yet what is true of a payment."""
    return payment.status in MOVING or any(refund.status == "pending" and now - refund.created_at < QUIET for refund in refunds)


def compare_unknown(look: Look, merchant_id: str, name: str, rows: Sequence[Row]) -> list[Difference]:
    """What rows mean whose payment nobody here knows; `merchant_id` is who is told."""
    found = []
    for row in rows:
        told = f"{_amount(row)} {'charged' if row.kind == 'charge' else 'given back'} there; unknown here"
        act = look.provider if row.kind == "charge" else f"{look.provider} refund {row.refund_id or _amount(row)}"
        types = {"charge": ["missing_here"], "refund": ["refund_missing_here"]}.get(row.kind, [])
        if types and row.times > 1:
            types.append("duplicate_row")
            told = f"{told}, {row.times} times there"
        minor = _minor(row, row.currency)
        found += [
            Difference(type_, merchant_id, subject_of(name), act, told, minor, None if minor is None else row.currency, row.line)
            for type_ in types
        ]
    return found


@dataclass(slots=True)
class _Comparing:
    look: Look
    payment: Payment
    out: Compared

    def differs(self, type_: str, text: str, row: Row | None = None, *, act: str = "", minor: int | None = None) -> None:
        payment = self.payment
        subject = f"payment:{payment.payment_id}"
        self.out.found.append(
            Difference(
                type_, payment.merchant_id, subject, act or self.look.provider, text,
                payment.amount_minor if minor is None else minor, payment.currency, row.line if row else None,
            )
        )  # fmt: skip

    def judged(self, types: tuple[str, ...], act: str, names: Sequence[str] = ()) -> None:
        subjects = [f"payment:{self.payment.payment_id}", *(f"reference:{name}" for name in names)]
        self.out.judged += [Judged(subject, act, types) for subject in dict.fromkeys(subjects)]

    def elsewhere(self, charges: Sequence[Row], returned: Sequence[Row]) -> None:
        """Somebody else holds this payment's money, as far as we know."""
        where = f"here the payment is booked at {self.payment.account}"
        for row in charges:
            if row.kind == "charge":
                self.differs("missing_here", f"{_amount(row)} charged there; {where}", row)
        for row in returned:
            self.differs("refund_missing_here", f"{_amount(row)} given back there; {where}", row, act=self.act(row))

    def charges(self, rows: Sequence[Row]) -> None:
        payment, ours = self.payment, self.shown(self.payment.amount_minor)
        paid_there = [row for row in rows if row.kind == "charge"]
        self.judged(CHARGE_TYPES, self.look.provider, _references(rows))
        if not paid_there:
            if payment.status in CAPTURED and payment.amount_minor:
                self.differs("status_differs", f"declined there; here it is {payment.status} with {ours}", rows[0])
            return
        row = next((each for each in paid_there if self.is_ours(each, payment.amount_minor)), paid_there[0])
        times = sum(each.times for each in paid_there)
        if times > 1:
            self.differs("duplicate_row", f"charged {times} times there, {_sum(paid_there)}; here once, {ours}", row)
        if payment.status not in CAPTURED:
            self.differs("status_differs", f"{_amount(row)} charged there; here it is {payment.status}", row)
        if row.currency not in {None, payment.currency}:
            self.differs("currency_differs", f"{_amount(row)} there; {ours} here", row)
        elif not self.is_ours(row, payment.amount_minor):
            self.differs("amount_differs", f"{_amount(row)} there; {ours} here", row)

    def absent(self, captured_at: datetime) -> None:
        """We took the money, and there is no row. That says something only if the charge certainly belongs to this time."""
        payment, period = self.payment, self.look.period
        if period.covers(payment.created_at, captured_at):
            self.differs("missing_there", f"{self.shown(payment.amount_minor)} captured here; no row there")
        else:
            self.out.border = period.touches(payment.created_at, captured_at)

    def refunds(self, rows: Sequence[Row], refunds: Sequence[BookedRefund]) -> None:
        singles = [replace(row, times=1) for row in rows for _ in range(min(row.times, len(refunds) + 2))]
        left = list(refunds)
        unmatched, matched = [], []
        for row in singles:
            refund = next((each for each in refunds if _is_named(row, each)), None)
            if refund is None:
                unmatched.append(row)
            elif refund in left:
                left.remove(refund)
                matched.append((row, refund))
            else:
                self.differs("duplicate_row", f"{_amount(row)} given back there more than once", row, act=self.act(refund),
                             minor=refund.amount_minor)  # fmt: skip
        unknown = []
        for row in sorted(unmatched, key=_is_our_id):
            refund = None if _is_our_id(row) else self.of_same_amount(row, left)
            if refund is None:
                unknown.append(row)
            else:
                left.remove(refund)
                matched.append((row, refund))
        for row, refund in matched:
            self.pair(row, refund)
        self.leftovers(unknown, left, [row for row, _ in matched])

    def of_same_amount(self, row: Row, left: Sequence[BookedRefund]) -> BookedRefund | None:
        fits = [refund for refund in left if self.is_ours(row, refund.amount_minor) and refund.status != "failed"]
        return min(fits, key=lambda refund: refund.status in _UNDER_WAY, default=None)

    def pair(self, row: Row, refund: BookedRefund) -> None:
        """The same refund in both books."""
        act, ours = self.act(refund), self.shown(refund.amount_minor)
        for each in {act, self.act(row)}:
            self.judged(REFUND_TYPES, each)
        if refund.status != "succeeded":
            text = f"{_amount(row)} given back there; here the refund is {refund.status}"
            self.differs("refund_missing_here", text, row, act=act, minor=refund.amount_minor)
        if row.currency not in {None, refund.currency}:
            self.differs(
                "currency_differs", f"{_amount(row)} given back there; {ours} here", row, act=act, minor=refund.amount_minor
            )
        elif not self.is_ours(row, refund.amount_minor):
            text = f"{_amount(row)} given back there; {ours} here"
            self.differs("refund_amount_differs", text, row, act=act, minor=refund.amount_minor)

    def leftovers(self, rows: Sequence[Row], refunds: Sequence[BookedRefund], matched: Sequence[Row]) -> None:
        """What only one of the two books has. One of each, where the row names no refund of ours, are taken for the same one."""
        absent = [
            refund
            for refund in refunds
            if refund.status == "succeeded" and self.look.period.covers(refund.created_at, refund.updated_at)
        ]
        for row in rows:
            if row in matched:
                self.differs("duplicate_row", f"{_amount(row)} given back there more than once", row, act=self.act(row),
                             minor=self.minor(row))  # fmt: skip
            elif absent and not _is_our_id(row):
                self.pair(row, absent.pop(0))
            elif self.payment.status != "reversed":  # what a provider takes back by itself is a row there, and no refund here
                self.differs("refund_missing_here", f"{_amount(row)} given back there; unknown here", row, act=self.act(row),
                             minor=self.minor(row))  # fmt: skip
        for refund in absent:
            text = f"{self.shown(refund.amount_minor)} given back here; no row there"
            self.differs("refund_missing_there", text, act=self.act(refund), minor=refund.amount_minor)

    def act(self, what: Row | BookedRefund) -> str:
        """How the case of a refund is told from another one of the same payment."""
        named = str(what.refund_id) if what.refund_id else _amount(what) if isinstance(what, Row) else ""
        return f"{self.look.provider} refund {named}"

    def is_ours(self, row: Row, minor: int) -> bool:
        """Whether a row is of this sum; one without an amount or a currency is taken for ours."""
        return row.amount is None or (row.currency in {None, self.payment.currency} and self.minor(row) == minor)

    def minor(self, row: Row) -> int | None:
        """The row's amount in minor units; None when it is none of the payment's currency."""
        return _minor(row, self.payment.currency)

    def shown(self, minor: int) -> str:
        return f"{fixed_text(minor, self.payment.currency)} {self.payment.currency}"


def _minor(row: Row, currency: str | None) -> int | None:
    try:
        return None if row.amount is None or currency is None else from_major(row.amount, currency).minor
    except InvalidMoney:
        return None


def _is_named(row: Row, refund: BookedRefund) -> bool:
    return row.refund_id is not None and row.refund_id in {str(refund.refund_id), refund.provider_key, refund.provider_ref}


def _is_our_id(row: Row) -> bool:
    """Whether a row names its refund as only we do: then it is that one, or one that we do not have."""
    try:
        return row.refund_id is not None and str(uuid.UUID(row.refund_id)) == row.refund_id
    except ValueError:
        return False


def _references(rows: Sequence[Row]) -> list[str]:
    """The provider's words for the payment: an earlier run, which did not know it, may have used one of them."""
    return [text for row in rows for text in (row.provider_key, row.provider_ref) if text is not None]


def _amount(row: Row) -> str:
    return f"{'a sum' if row.amount is None else format(row.amount, 'f')} {row.currency or ''}".strip()


def _sum(rows: Sequence[Row]) -> str:
    currencies = {row.currency for row in rows}
    if len(currencies) > 1 or any(row.amount is None for row in rows):
        return "in different currencies" if len(currencies) > 1 else "without amounts"
    total = sum((row.amount * row.times for row in rows if row.amount is not None), Decimal(0))
    return f"{format(total, 'f')} {currencies.pop() or ''}".strip() + " in all"
