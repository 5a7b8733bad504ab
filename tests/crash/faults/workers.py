"""Workers that sleep past their lease, whose clock is wrong, or who are two (F56, F58, F59)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import rig
from tests.crash.asking import Ask, Said
from tests.crash.fault import fault
from tests.crash.faults.callbacks import Street
from tests.crash.field import Field, Run
from tests.crash.heard import judge as judge_heard
from tests.crash.history import History
from tests.crash.merchants import KEY
from tests.crash.nursery import Born
from tests.crash.playing import LEASE_S, WEBHOOK_SECRET, Town
from tests.crash.stories import Buyer
from tests.crash.till import SECRET, Till, move_clock
from tests.crash.told import ENDPOINTS
from tests.crash.watch import known_as, put_watch, taken_early, written, written_by_losers

WITHIN_S = LEASE_S + 5


@dataclass
class Office:
    """A town whose tables are watched, and processes in it that are known by their names."""

    field: Field
    town: Town
    history: History = field(default_factory=History)

    def hires(self, name: str, word: str, **others: object) -> Born:
        """A process that is ready."""
        made = self.town.made(word, self.town.home / name, **{**known_as(self.town, name), "DATABASE_POOL_SIZE": 6, **others})
        made.start()
        assert made.alive(), made.log_text()[-2000:]
        return made

    def calls(self, service: str, act: str) -> Counter[str]:
        """How often a neighbour was called for this act, by the key of the call."""
        assert self.town.sandbox is not None
        found = self.town.sandbox.book(service=service, only="calls")["calls"]
        return Counter(str(each["key"]) for each in found if each["act"] == act)

    def wait(self, true: object, text: str, within_s: float = 20) -> None:
        """Wait until it is true. Raises AssertionError when it does not come true."""
        until = time.monotonic() + within_s
        while not true():  # type: ignore[operator]
            assert time.monotonic() < until, text
            time.sleep(0.03)

    def checkout_of(self, buyer: Buyer) -> str:
        """The id of a buyer's one checkout."""
        rows = rig.query(
            self.town.dsn, "SELECT checkout_id::text AS id FROM checkouts WHERE idempotency->>'key' = $1", buyer.key("checkout")
        )
        return str(rows[0]["id"]) if rows else ""


def open_office(field_: Field, *neighbours: str, **settings: object) -> Office:
    """A watched town in which nobody works yet."""
    town = field_.town(*neighbours, KASSA_SECRET=SECRET, **settings)
    put_watch(town)
    return Office(field_, town)


@dataclass
class Asking:
    """Buyers who ask one server at the same moment, each in a thread, and wait for the answer."""

    office: Office
    server: Born
    buyers: Sequence[Buyer]
    said: dict[int, Said | None] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> Asking:
        """Ask; nobody is waited for."""
        for buyer in self.buyers:
            self._threads.append(threading.Thread(target=self._ask, args=(buyer,)))
            self._threads[-1].start()
        return self

    def end(self) -> None:
        """Wait for all answers."""
        for thread in self._threads:
            thread.join()

    def _ask(self, buyer: Buyer) -> None:
        self.said[buyer.number] = self.office.history.ask(self.server, buyer.buys(), 40)


# ── a leader sleeps past its lease ───────────────────────────────────────────────────────────────────────────────────


@fault(
    "F56",
    "A process is frozen for longer than its lease, and wakes up while somebody else leads",
    holds="3 6",
    passes="it writes nothing and sends nothing any more: checkouts and deliveries",
    quick=6,
    p95_s=WITHIN_S,
)
def leader_sleeps(field: Field) -> None:
    """Purchases are asleep in the middle of a charge, or of the call after it. It wakes while the heir waits for its neighbour: nothing of the heir's is written yet."""
    office = open_office(field, "payment", "inventory", "order")
    assert office.town.sandbox is not None
    sleeper, heir = office.hires("sleeper", "serve"), office.hires("heir", "dev")
    deliverers = field.runs // 3 if field.runs >= 12 else 0  # the lease of a delivery takes its time
    first = (field.runs - deliverers) // 2
    _night(office, sleeper, heir, ("payment", "process", "by_key"), first)
    _night(office, sleeper, heir, ("inventory", "deduct", "deduct"), field.runs - deliverers - first)
    field.judge(office.town, heir, office.history)
    if deliverers:
        _night_of_a_deliverer(field, deliverers)


def _night(office: Office, sleeper: Born, heir: Born, what: tuple[str, str, str], many: int) -> None:
    service, act, question = what
    sandbox = office.town.sandbox
    assert sandbox is not None
    before, asked = office.calls(service, act).total(), office.calls(service, question).total()
    sandbox.script(service, act, "late", seconds=1, times=many)
    sandbox.script(service, question, "late", seconds=3, times=many)
    buyers = [office.field.buyer() for _ in range(many)]
    asking = Asking(office, sleeper, buyers).begin()
    office.wait(lambda: office.calls(service, act).total() >= before + many, "not all have come so far")
    sleeper.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        slept = time.monotonic()
        already = many if act == question else 0
        office.wait(
            lambda: office.calls(service, question).total() >= asked + already + many, "the heir did not take all of them", 40
        )
        took = time.monotonic() - slept
    finally:
        sleeper.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    asking.end()
    office.field.rest(heir)
    begins = office.field.result.runs
    losers = written_by_losers(written(office.town))
    later = {"payment": (("inventory", "deduct"), ("order", "create")), "inventory": (("order", "create"),)}[service]
    calls = {each: office.calls(*each) for each in later}

    def one(run: Run) -> None:
        buyer = buyers[run.number - begins]
        checkout = office.checkout_of(buyer)
        run.recovered(took)
        run.wrong += [each for each in losers if checkout in each]
        for (neighbour, name), found in calls.items():
            times = sum(count for key, count in found.items() if key.startswith(checkout))
            run.check(times == 1, f"{neighbour} was called {times} times for {name} of {checkout}: two led it")

    office.field.each(one, runs=many)


def _night_of_a_deliverer(field: Field, many: int) -> None:
    """Merchants have been asked and think about it; the heir asks them again, and they think as long as before."""
    office = open_office(field, WEBHOOK_TIMEOUT_S=2)
    hooks = office.town.listen(many)
    sleeper = office.hires("sleeper", "dev")
    street = Street(field, office.town, sleeper, hooks)
    paths = [f"/slow/1.5/{number}" for number in range(many)]
    endpoints = [street.has_endpoint(number, path)[0] for number, path in enumerate(paths)]
    for number, endpoint in enumerate(endpoints):
        street.pings(endpoint, number)
    for path in paths:
        street.waits(path, 1, 20)
    sleeper.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        began = time.monotonic()
        heir = office.hires("heir", "dev", HTTP_PORT=rig.free_port())
        for path in paths:
            street.waits(path, 2, 30)
        took = time.monotonic() - began
    finally:
        sleeper.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    field.rest(heir)
    losers = written_by_losers(written(office.town), "deliveries")
    ids = {row["path"]: row["id"] for row in office.town.ask(_DELIVERIES)}
    begins = field.result.runs

    def one(run: Run) -> None:
        path = paths[run.number - begins]
        run.wrong += [each for each in losers if ids[path] in each]
        run.check(len(street.came(path)) == 2, f"{path} was asked {len(street.came(path))} times")

    field.each(one, runs=many)
    field.measure("deliveries of a sleeper are made again after", f"{took:.1f} s")
    field.check(took < 2 + 5 + 5, f"deliveries were made again only after {took:.1f} s")
    street.judge()


_DELIVERIES = """
    SELECT regexp_replace(p.url, '^http://[^/]*', '') AS path, d.delivery_id::text AS id FROM deliveries d JOIN endpoints p USING (merchant_id, endpoint_id)
"""


# ── the clock of a worker is wrong ───────────────────────────────────────────────────────────────────────────────────

WRONG_CLOCK = '''
"""Shifts this process's clock by the seconds that stand in a file, which may change at any time."""
import datetime, os, time
_file, _time, _time_ns, _real = os.open(os.environ["CLOCK_FILE"], os.O_RDONLY), time.time, time.time_ns, datetime.datetime
def _shift():
    return int(os.pread(_file, 32, 0))
time.time = lambda: _time() + _shift()
time.time_ns = lambda: _time_ns() + _shift() * 10**9
class _Kind(type(_real)):
    def __instancecheck__(cls, each):
        return isinstance(each, _real)
class datetime_of_it(_real, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _real.now(tz) + datetime.timedelta(seconds=_shift())
    @classmethod
    def utcnow(cls):
        return _real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_shift())
datetime.datetime = datetime_of_it
'''


def with_wrong_clock(office: Office, name: str, shift_s: int) -> tuple[Born, Path]:
    """A process whose own clock is wrong by so many seconds, started from its front door; and the file where the shift stands."""
    folder = office.town.home / f"clock-of-{name}"
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    shift = folder / "shift"
    shift.write_text(f"{shift_s:<31}")
    made = office.town.made("dev", office.town.home / name, HTTP_PORT=rig.free_port(), **known_as(office.town, name))
    path = [str(folder), *filter(None, [made.environment.get("PYTHONPATH")])]
    made.environment |= {"PYTHONPATH": os.pathsep.join(path), "CLOCK_FILE": str(shift)}
    rig.Running.start(made)
    return made, shift


@fault(
    "F58",
    "Workers' clocks are ten minutes ahead and behind, and jump back",
    holds="5 8",
    passes="no lease is taken before its end by the database's clock, and none later than promised",
    p95_s=WITHIN_S,
)
def clocks_are_wrong(field: Field) -> None:
    """Two workers, one of each kind, whose clocks change places in the middle. Half of the leaders live and are slow, the others are killed."""
    office = open_office(field, "payment", WEBHOOK_TIMEOUT_S=2)
    assert office.town.sandbox is not None
    hooks = office.town.listen(1)
    ahead, ahead_by = with_wrong_clock(office, "ahead", 600)
    behind, behind_by = with_wrong_clock(office, "behind", -600)
    living = office.hires("living", "serve", HTTP_PORT=rig.free_port())
    half = field.runs // 2
    for jumps, many in ((False, half), (True, field.runs - half)):
        if jumps:
            ahead_by.write_text(f"{-600:<31}")
            behind_by.write_text(f"{600:<31}")
        _shift_of_work(office, living, (ahead, behind), many)
    del hooks
    writes = written(office.town)
    field.result.wrong += taken_early(writes)
    leaders = Counter(each.who for each in writes if each.takes and each.before)
    field.measure("leases taken by", dict(leaders))
    field.check(leaders["ahead"] + leaders["behind"] >= field.runs // 2, f"leases were taken by {dict(leaders)}")
    field.judge(office.town, living, office.history)


def _shift_of_work(office: Office, living: Born, wrong: Sequence[Born], many: int) -> None:
    sandbox = office.town.sandbox
    assert sandbox is not None
    mortal = office.hires(f"mortal-{many}-{office.field.result.runs}", "serve", HTTP_PORT=rig.free_port())
    before = office.calls("payment", "process").total()
    sandbox.script("payment", "process", "late", seconds=LEASE_S * 2, times=many)
    buyers = [office.field.buyer() for _ in range(many)]
    slow, dying = Asking(office, living, buyers[::2]).begin(), Asking(office, mortal, buyers[1::2]).begin()
    office.wait(lambda: office.calls("payment", "process").total() >= before + many, "not all have come so far")
    mortal.kill()
    died = time.monotonic()
    slow.end()
    dying.end()
    office.field.rest(living)
    begins = office.field.result.runs

    def one(run: Run) -> None:
        """Whoever is told of a purchase by one process is told the same by all others, whatever their clocks say."""
        place = run.number - begins
        buyer = buyers[place]
        said = [office.history.insist([each], buyer.buys(), 30) for each in (living, *wrong)]
        run.check(None not in said and len({each.raw for each in said if each}) == 1, f"told otherwise: {said}")
        if place % 2:
            run.recovered(_seconds_without_leader(office, buyer))
        else:
            taken = [each.who for each in written(office.town) if each.takes and each.id == office.checkout_of(buyer)]
            run.check(set(taken) == {"living"}, f"a slow leader that lived was replaced: {taken}")

    office.field.each(one, runs=many)
    assert time.monotonic() > died


def _seconds_without_leader(office: Office, buyer: Buyer) -> float:
    """From the last write of the one who died until another took the lease, by the database's clock."""
    mine = [each for each in written(office.town) if each.id == office.checkout_of(buyer)]
    heirs = [each for each in mine if each.takes and each.before is not None]
    assert heirs, f"nobody took up {mine}"
    last = max(each.at for each in mine if each.at < heirs[0].at)
    return float((heirs[0].at - last).total_seconds())


# ── two who do the same ──────────────────────────────────────────────────────────────────────────────────────────────


@fault("F59", "Three processes do what is due, at the same ticks", holds="7", passes="each thing that is due is done once")
def three_schedulers(field: Field) -> None:
    """Links that nobody pays fall due together, money that could not be given back is due again, and a merchant is told of all of it."""
    office = open_office(field, "payment", "link", WEBHOOK_TIMEOUT_S=5, PROVIDER_WEBHOOK_SECRET=WEBHOOK_SECRET)
    hooks = office.town.listen(1)
    till = Till(field, office.town, office.hires("first", "dev"), office.history)
    others = [office.hires(name, "work", HTTP_PORT=rig.free_port()) for name in ("second", "third")]
    said = till.asks(Ask("POST", ENDPOINTS, {"url": f"{hooks.url}/ok/0", "events": ["*"]}, api_key=KEY))
    assert said.status == 201, said.raw
    buyers = [field.buyer() for _ in range(field.runs)]
    orders = [till.order_by_link(buyer) for buyer in buyers]
    links = [till.link(buyer, order) for buyer, order in zip(buyers, orders, strict=True)]
    for buyer, order, link in list(zip(buyers, orders, links, strict=True))[::2]:
        till.pay(link)
        till.becomes(buyer, order, "paid")
    till.provider.script("link", "refund", "error", times=len(orders[::2]))
    for buyer, order in list(zip(buyers, orders, strict=True))[::2]:
        assert till.asks(buyer.moves(order, "cancelled")).status == 200
    move_clock(till.server, 31 * 60)

    def one(run: Run) -> None:
        run.recovered(till.becomes(buyers[run.number], orders[run.number], "cancelled", 40))

    field.each(one, at_once=10)
    till.judge()
    field.result.wrong += [*judge_heard(till.server, hooks), *taken_early(written(office.town))]
    _each_once(office, Counter(each.webhook_id for each in hooks.heard), orders)
    assert all(each.alive() for each in others)


def _each_once(office: Office, heard: Counter[str], orders: Sequence[str]) -> None:
    """What was counted as sent is what the neighbours and the merchant saw, and each order was cancelled once."""
    field, ask = office.field, office.town.ask
    sent = sorted(row["sends"] for row in ask("SELECT sends FROM refunds"))
    came = sorted(office.calls("link", "refund").values())
    field.check(
        sent == came and sum(sent) > len(sent) > 0,
        f"refunds were sent {sent} times by our count, and {came} times by the provider's",
    )
    links = office.calls("link", "create")
    field.check(set(links.values()) <= {1}, f"links were asked for {dict(links)}")
    twice = {event_id: times for event_id, times in heard.items() if times > 1}
    field.check(not twice, f"the merchant was told twice: {twice}")
    ends = Counter(row["subject"] for row in ask("SELECT subject FROM events WHERE type = 'order.cancelled'"))
    wanted = Counter(f"order:{order}" for order in orders)
    field.check(ends == wanted, f"orders were cancelled {(ends - wanted) + (wanted - ends)}")
    took = Counter((each.what, each.who) for each in written(office.town) if each.takes and each.before is not None)
    field.measure("leases taken by", ", ".join(f"{who} {times} {what}" for (what, who), times in sorted(took.items())))
