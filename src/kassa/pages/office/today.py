"""`/office`: today's money against yesterday's, by hour and by provider, for each currency."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from kassa import desk
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.desk.model import CAPTURED, DECLINED, KINDS, TODAY, YESTERDAY, Count, Day, Total
from kassa.kit.money import Money
from kassa.pages import show
from kassa.pages.frame import Speech
from kassa.pages.office import charts
from kassa.pages.office.look import look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions

_ENGLISH = Speech("en")
_NAMES = {"captured": "Captured", "refunded": "Refunded", "declined": "Declined"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of movement in one currency: today, yesterday until this time, yesterday in all, and its chart."""

    kind: str
    name: str
    today: Total
    by_now: Total
    yesterday: Total
    change: int | None
    chart: charts.Chart


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider in one currency, by kind, with the length of its bar in percent."""

    name: str
    totals: dict[str, Total]
    yesterday: Total
    share: int
    share_before: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is shown of one currency."""

    currency: str
    kinds: list[Kind]
    providers: list[Provider]
    hours: list[tuple[int, list[Total], list[Total]]]


def router(options: PageOptions) -> APIRouter:
    """The front of the back office."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office", response_model=None)
    async def today(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        day = await desk.read_day(look.reader, look.merchant_id)
        counts = await desk.count_waiting(look.reader, look.who.reach)
        return await look.page(
            "office/today.html", day=day, sheets=[_sheet(day, each) for each in day.currencies], doubts=_doubts(counts)
        )

    return made


def _doubts(counts: list[Count]) -> list[Count]:
    """The money that waits, the largest first within its currency."""
    return sorted((each for each in counts if each.currency), key=lambda each: (each.currency or "", -each.amount_minor))


def _sheet(day: Day, currency: str) -> Sheet:
    kinds = [_kind(day, currency, kind) for kind in KINDS]
    names = day.providers(currency)
    captured = {name: day.total(CAPTURED, currency, provider=name) for name in names}
    before = {name: day.total(CAPTURED, currency, YESTERDAY, provider=name, by_now=True) for name in names}
    most = max((each.amount_minor for each in (*captured.values(), *before.values())), default=0)
    providers = [
        Provider(
            name,
            {kind: day.total(kind, currency, provider=name) for kind in KINDS},
            before[name],
            charts.share(captured[name].amount_minor, most),
            charts.share(before[name].amount_minor, most),
        )
        for name in names
    ]
    now, then = ([day.hours(kind, currency, which) for kind in KINDS] for which in (TODAY, YESTERDAY))
    rows = [(hour, [each[hour] for each in now], [each[hour] for each in then]) for hour in range(24)]
    return Sheet(currency, kinds, providers, [row for row in rows if any(each.count for each in (*row[1], *row[2]))])


def _kind(day: Day, currency: str, kind: str) -> Kind:
    today, by_now = day.total(kind, currency), day.total(kind, currency, YESTERDAY, by_now=True)
    now, before = (
        [_value(each, kind, currency, hour, which) for hour, each in enumerate(day.hours(kind, currency, which))]
        for which in (TODAY, YESTERDAY)
    )
    change = (today.amount_minor - by_now.amount_minor) * 100 // by_now.amount_minor if by_now.amount_minor else None
    return Kind(kind, _NAMES[kind], today, by_now, day.total(kind, currency, YESTERDAY), change, charts.hours(now, before))


def _value(total: Total, kind: str, currency: str, hour: int, day: str) -> tuple[int, str]:
    """How high a bar is and what is said of it: declines are counted, all else is money."""
    if not total.count:
        return 0, ""
    sum_ = show.money(Money(total.amount_minor, currency), _ENGLISH)
    value = total.count if kind == DECLINED else total.amount_minor
    return value, f"{hour:02}:00 {day}: {sum_}, {total.count}"
