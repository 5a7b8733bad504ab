"""Go through a statement from end to end: read it, find the payment of each row, compare, and look for what it lacks.

Nothing is written but cases, a page at a time; a statement that cannot be read stops before the first of them. Payments whose end
nobody knows yet are counted and not judged. Safe to run beside a busy shop, and to run again.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kassa import ledger, merchants
from kassa.audit import Hand
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.payments import requests
from kassa.payments.model import Filter, Payment, Place
from kassa.payments.requests import overview
from kassa.payments.requests.overview import BookedRefund
from kassa.reconcile.compare import Compared, Look, compare, compare_unknown
from kassa.reconcile.model import CAPTURED, Difference, Judged, Period, Row, is_held_by
from kassa.reconcile.record import record
from kassa.reconcile.spool import Spool

HOUSE = "1"
"""Who is told of what nobody here knows, unless the statement is of one merchant."""
BORDER = timedelta(days=3)
"""How long before a statement's time a payment may have begun whose charge could still belong to it."""
SHOWN = 500
"""Differences that a report holds; of the others only the number by type is told."""
_PAGE = 500
_DAY = timedelta(days=1)
_LAST = uuid.UUID(int=2**128 - 1)

Tell = Callable[[str, int], None]
"""Is told how far it is: what is being done, and how many there were so far."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to compare with a statement.

    `provider` is how cases name it, `names` what it is called by payments. Without `since` and `until` the statement speaks of
    whole days (UTC), from its first row's to its last row's; a day that is not over ends with the last row. `live`: the rows are
    the provider's own book as it is now, so its time ends now. `hand`: who compares. `at_rest`: no process of ours runs, as after
    a restore: payments whose end is open here are judged, too.
    """

    provider: str
    names: frozenset[str]
    merchant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False
    hand: Hand | None = None
    at_rest: bool = False


@dataclass(slots=True)
class Report:
    """What came of it. `decided`: differences that a person had closed before; they are counted in `types`, too.

    `moving`, `border`, `elsewhere`: payments that were not judged, because their end is open, because the charge may lie outside
    the statement's time, or because they are another merchant's.
    """

    provider: str
    period: Period = field(default_factory=lambda: Period(None, None))
    rows: int = 0
    payments: int = 0
    types: Counter[str] = field(default_factory=Counter)
    differences: list[tuple[Difference, str]] = field(default_factory=list)
    opened: int = 0
    decided: int = 0
    closed: int = 0
    moving: int = 0
    border: int = 0
    elsewhere: int = 0

    @property
    def open_differences(self) -> int:
        """How many differences nobody has decided about."""
        return self.types.total() - self.decided


async def reconcile(ctx: Context, wish: Wish, rows: Iterable[Row], tell: Tell = lambda _what, _count: None) -> Report:
    """Compare `rows` with our books and keep each difference as a case. Raises what reading the rows raises, before any case."""
    report, now = Report(wish.provider), await clock.now(ctx.db)
    with Spool() as spool:
        for report.rows in spool.fill(rows):
            tell("rows read", report.rows)
        report.period = period_of(wish, spool.times(), now)
        run = _Run(ctx, wish, Look(wish.provider, wish.names, report.period, now, wish.at_rest), spool, report, tell)
        await run.find_payments()
        await run.compare_known()
        await run.list_unknown()
        await run.look_for_absent()
        await run.look_for_absent_refunds()
    return report


def period_of(wish: Wish, times: tuple[datetime, datetime] | None, now: datetime) -> Period:
    """The time that a statement speaks of; `times` are its first and last row's. It never reaches beyond `now`."""
    since, until = wish.since, wish.until
    if wish.live:
        return Period(since, now)
    if times is not None:
        since = since or _midnight(times[0])
        end = _midnight(times[1]) + _DAY
        until = until or (end if end <= now else times[1])
    return Period(since, None if until is None else min(until, now))


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(slots=True)
class _Run:
    ctx: Context
    wish: Wish
    look: Look
    spool: Spool
    report: Report
    tell: Tell

    async def find_payments(self) -> None:
        """Find whose payment each row is about: by our id, which keys often hold too, else by going through our payments."""
        after = ""
        while names := self.spool.names(after):
            after = names[-1]
            wanted = {name: payment_id for name in names if (payment_id := _id_in(name)) is not None}
            known = {payment.payment_id: payment for payment in await overview.of_ids(self.ctx.db, list(wanted.values()))}
            self.spool.resolve(
                [
                    (name, payment_id)
                    for name, payment_id in wanted.items()
                    if payment_id in known and (name.startswith("id:") or name == f"key:{known[payment_id].provider_key}")
                ]
            )
        if left := self.spool.unknown():
            await self.search(left)

    async def search(self, left: int) -> None:
        """Go through our payments, newest first, for keys and the provider's own ids, until none is left to find."""
        looked = 0
        async for page in self.pages(await self.merchant_ids(everybody=True), Filter(), self.look.now):
            looked += len(page)
            names = [(f"key:{payment.provider_key}", payment.payment_id) for payment in page]
            names += [(f"ref:{payment.provider_ref}", payment.payment_id) for payment in page if self.may_be_named(payment)]
            left -= self.spool.resolve(names)
            self.tell("payments searched", looked)
            if left <= 0:
                return

    def may_be_named(self, payment: Payment) -> bool:
        """Another provider's id of a charge may look the same."""
        return payment.provider_ref is not None and is_held_by(payment, self.look.names)

    async def compare_known(self) -> None:
        """Compare every payment that rows are about."""
        after, compared = "", 0
        while page := self.spool.payments(after, _PAGE):
            after, compared = str(page[-1]), compared + len(page)
            found = await overview.of_ids(self.ctx.db, page)
            mine = [payment for payment in found if self.wish.merchant_id in {None, payment.merchant_id}]
            self.report.elsewhere += len(found) - len(mine)
            await self.judge(mine)
            self.tell("payments compared", compared)

    async def list_unknown(self) -> None:
        """List the rows whose payment nobody here knows."""
        after, told = "", self.wish.merchant_id or HOUSE
        while names := self.spool.names(after, _PAGE):
            after = names[-1]
            found = [each for name in names for each in compare_unknown(self.look, told, name, self.spool.rows_named(name))]
            await self.note(found, [], {told})

    async def look_for_absent(self) -> None:
        """Look for payments of the statement's time that it has no row of."""
        period, looked = self.look.period, 0
        if period.since is None or period.until is None:
            return
        wanted = Filter(statuses=sorted(CAPTURED), created_from=period.since - BORDER)
        async for page in self.pages(await self.merchant_ids(), wanted, period.until):
            looked += len(page)
            await self.judge(await self.unseen([payment for payment in page if payment.amount_minor]))
            self.tell("payments looked for", looked)

    async def look_for_absent_refunds(self) -> None:
        """The same for refunds of payments that are older than that."""
        period = self.look.period
        if period.since is None or period.until is None:
            return
        for merchant_id in await self.merchant_ids():
            after = uuid.UUID(int=0)
            while page := await overview.refunds_between(self.ctx.db, merchant_id, period.since, period.until, after, _PAGE):
                after = page[-1].refund_id
                paid = await overview.of_ids(self.ctx.db, list({refund.payment_id for refund in page}))
                older = [payment for payment in paid if payment.created_at < period.since - BORDER]
                await self.judge(await self.unseen(older))

    async def judge(self, payments: Sequence[Payment]) -> None:
        """Compare payments with their rows, and keep what differs."""
        refunds = await self.refunds_of(payments)
        results: list[Compared] = []
        for payment in payments:
            rows = self.spool.rows_of(payment.payment_id)
            absent = payment.status in CAPTURED and not any(row.kind != "refund" for row in rows)
            captured_at = await self.captured_at(payment) if absent else None
            results.append(compare(self.look, payment, refunds[payment.payment_id], rows, captured_at))
            self.report.payments += bool(rows)
        self.report.moving += sum(each.moving for each in results)
        self.report.border += sum(each.border for each in results)
        told = {payment.merchant_id for payment in payments}
        await self.note([each for one in results for each in one.found], [each for one in results for each in one.judged], told)

    async def note(self, found: Sequence[Difference], judged: Sequence[Judged], merchant_ids: set[str]) -> None:
        """Keep differences, each once, and count them."""
        once = {(each.merchant_id, each.kind, each.subject, each.act): each for each in reversed(found)}
        unique = list(reversed(once.values()))
        if not unique and not judged:
            return
        everybody = merchant_ids | {self.wish.merchant_id or HOUSE}
        kept = await record(self.ctx, everybody, unique, judged, self.wish.hand, self.wish.provider)
        report = self.report
        report.types.update(each.type for each in unique)
        report.opened += kept.states.count("new")
        report.decided += kept.states.count("decided")
        report.closed += kept.closed
        report.differences += list(zip(unique, kept.states, strict=True))[: max(0, SHOWN - len(report.differences))]

    async def unseen(self, payments: Sequence[Payment]) -> list[Payment]:
        """Those that this provider holds and that no row is about."""
        mine = [payment for payment in payments if is_held_by(payment, self.look.names)]
        seen = self.spool.seen(payment.payment_id for payment in mine)
        return [payment for payment in mine if payment.payment_id not in seen]

    async def refunds_of(self, payments: Sequence[Payment]) -> dict[uuid.UUID, list[BookedRefund]]:
        found: dict[uuid.UUID, list[BookedRefund]] = defaultdict(list)
        for merchant_id in sorted({payment.merchant_id for payment in payments}):
            ids = [payment.payment_id for payment in payments if payment.merchant_id == merchant_id]
            for refund in await overview.refunds_of_payments(self.ctx.db, merchant_id, ids):
                found[refund.payment_id].append(refund)
        return found

    async def captured_at(self, payment: Payment) -> datetime | None:
        """When the capture was booked."""
        lines = await ledger.lines_of_payment(self.ctx.db, payment.merchant_id, payment.payment_id)
        return next((line.occurred_at for line in lines if line.kind == "capture"), None)

    async def merchant_ids(self, *, everybody: bool = False) -> list[str]:
        if self.wish.merchant_id is not None and not everybody:
            return [self.wish.merchant_id]
        return [merchant.merchant_id for merchant in await merchants.find_all(self.ctx.db)]

    async def pages(self, merchant_ids: Sequence[str], wanted: Filter, until: datetime) -> AsyncIterator[list[Payment]]:
        """Payments that were made before `until`, merchant by merchant, newest first."""
        for merchant_id in merchant_ids:
            after = Place(until, _LAST)
            while page := await requests.page_after(self.ctx.db, merchant_id, wanted, after, _PAGE):
                yield page
                after = Place(page[-1].created_at, page[-1].payment_id)


def _id_in(name: str) -> uuid.UUID | None:
    """The id of ours that a name may hold: `id:<id>`, or a key `key:<id>:payment`."""
    kind, _, text = name.partition(":")
    try:
        return None if kind == "ref" else uuid.UUID(text.removesuffix(":payment"))
    except ValueError:
        return None
