"""One history: steps are taken one after another while everybody goes on, then all is quiet, and then it is judged."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.factories import ADDRESS, render_order
from tests.histories.judging import judge, watch_out
from tests.histories.steps import BASKETS, METHODS, Step
from tests.histories.town import KINDS, Process, Town
from tests.histories.watching import Watch

from kassa import carts, checkout
from kassa.checkout.wishes import CartWish, MoveWish
from kassa.collect import LineAsked
from kassa.kit.errors import KassaError
from kassa.payments import Verdict
from kassa.payments.model import CardTrace

REST_S = 4 * 3600
"""Seconds of the virtual clock after which nothing may be open any more, once everybody behaves."""
QUIET_S = 20.0


@dataclass
class Asked:
    """What somebody asked of a process, and what was answered; None: nothing was."""

    what: str
    process: Process
    task: asyncio.Task[Any]
    key: str | None = None
    about: Any = None

    def answer(self) -> Any:
        """The answer, an error that is one (`KassaError`), or None when nobody answered or it is not known."""
        if not self.task.done() or self.task.cancelled():
            return None
        error = self.task.exception()
        return self.task.result() if error is None else error


@dataclass
class History:
    """A history while it happens, in a town that is open."""

    town: Town
    asked: list[Asked] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    reports: list[tuple[uuid.UUID, str]] = field(default_factory=list)
    """What the provider of links has to report until it is heard."""
    _keys: int = 0

    def __post_init__(self) -> None:
        self.town.server.watch = self.watch = Watch(self.town.count)

    def take(self, step: Step) -> None:
        """Take one step, and let a moment pass."""
        self.steps.append(step)
        self.town.say(str(step))
        self.town.count[f"step {step.what}"] += 1
        getattr(self, f"_{step.what}")(step)
        self.town.pass_time(self.town.random.choice((0.0, 0.001, 0.01, 0.1)))

    def wrong(self) -> list[str]:
        """What may not be, as far as it can be seen at any moment."""
        found = self.watch.wrong + watch_out(self.town) + self._unforeseen()
        if self.town.server.unplayable:
            found.append(f"unplayable: {self.town.server.unplayable[0]}")
        return found

    def rest(self) -> list[str]:
        """Everybody behaves from now on; when all has come to rest, what is wrong."""
        town = self.town
        town.say("everybody behaves")
        town.everybody_behaves()
        town.pass_time(QUIET_S)
        for payment_id, status in self.reports:
            self._tell(self._process(Step("report", "api1")), payment_id, status)
        town.pass_time(REST_S / 2)
        for which, row in enumerate(town.server.of("payments")):
            if row["status"] == "parked":
                self.take(Step("person", "api1", which))
        town.pass_time(REST_S / 2)
        return self.wrong() + judge(town, self.asked)

    # what buyers do

    def _buy(self, step: Step) -> None:
        process = self._process(step)
        keys = [self._key(), self._key()] if step.how == "twice two keys" else [self._key()] * (2 if step.how else 1)
        for key in keys:
            basket = BASKETS[step.which % len(BASKETS)]
            self._ask("buy", process, process.till.shop.buy(basket, key=key), key, basket)

    def _again(self, step: Step) -> None:
        if (first := self._one([each for each in self.asked if each.what == "buy"], step)) is not None:
            process = self._process(step)
            self._ask("buy", process, process.till.shop.buy(first.about, key=first.key), first.key, first.about)

    def _order(self, step: Step) -> None:
        method, _, how = step.how.partition(" ")
        buyer, process = f"buyer{step.which % 2}", self._process(step)
        shop, key = process.till.shop, self._key() if how == "key" else None

        async def order() -> Any:
            cart = await carts.open_cart(shop.db, shop.merchant_id, "shop", buyer)
            if not cart.lines:
                await shop.add(buyer, "mouse")
            given = process.till.key(key, operation="POST /api/orders") if key else None
            wish = CartWish(shop.channel, buyer, None, ADDRESS, method, CardTrace(last4="1111"), (b"asked",), key=given)
            return await checkout.order_from_cart(process.ctx, wish, render_order)

        assert method in METHODS
        for _ in range(2 if how == "tab" else 1):
            self._ask("order", process, order(), key)

    def _cancel(self, step: Step) -> None:
        process = self._process(step)
        if (order := self._one(self.town.server.of("orders"), step)) is not None:
            wish = MoveWish(order["merchant_id"], order["order_id"], "cancelled", step.how == "staff")
            self._ask("cancel", process, checkout.move_order(process.ctx, wish, render_order), about=order["order_id"])

    def _refund(self, step: Step) -> None:
        process = self._process(step)
        paid = [row for row in self.town.server.of("payments") if row["captured_minor"]]
        if (row := self._one(paid, step)) is None:
            return
        for _ in range(2 if "twice" in step.how else 1):
            self._ask("refund", process, self._give_back(process, row["payment_id"], step.how, self._key()))

    async def _give_back(self, process: Process, payment_id: uuid.UUID, how: str, key: str) -> Any:
        payment = await process.till.payment(payment_id)
        if how.startswith("line"):
            order = await process.till.shop.order_of(uuid.UUID(payment.ref))
            line = LineAsked(order.lines[0].product_id, 1, restock=True)
            return await process.till.give_back(payment, key=key, lines=[line])
        return await process.till.give_back(payment, payment.amount_minor // 3 if how.startswith("part") else None, key)

    # what the provider of links and a person do

    def _report(self, step: Step) -> None:
        town = self.town
        links = [row for row in town.server.of("payments") if str(row["payment_id"]) in town.book.links]
        if (row := self._one(links, step)) is None:
            return
        name = str(row["payment_id"])
        paid = "paid" in step.how or name in town.book.paid_by_link
        if paid:
            town.book.paid_by_link.setdefault(name, row["amount_minor"])
        if step.how.startswith("failed") and (step.how != "failed" or not paid):
            self._tell(self._process(step), row["payment_id"], "failed")
        if paid:
            self.reports.append((row["payment_id"], "finished"))
            for number in range(3 if "thrice" in step.how else 1):
                self._tell(self._process(step, number), row["payment_id"], "finished")

    def _tell(self, process: Process, payment_id: uuid.UUID, status: str) -> None:
        self._ask("report", process, process.till.report(payment_id, status))

    def _person(self, step: Step) -> None:
        """Somebody looks into the provider's cabinet and says what became of a payment that cannot be asked about."""
        if (row := self._one(self.town.server.of("payments"), step)) is None or row["status"] not in {"unknown", "parked"}:
            return
        charge = self.town.book.charges.get(row["provider_key"])
        kind = "paid" if charge is not None and charge.ok else "declined"
        process = self._process(step)
        if kind == "declined" and row["status"] == "unknown":
            return  # it may still be on its way: nobody knows yet
        verdict = Verdict(kind, ref=f"t-{row['provider_key']}" if kind == "paid" else None)
        self._ask("person", process, checkout.bring_verdict(process.ctx, row["merchant_id"], row["payment_id"], verdict))

    # what fails

    def _pass(self, step: Step) -> None:
        self.town.pass_time(step.seconds)

    def _crash(self, step: Step) -> None:
        self.town.processes[step.who].crash_in = step.which

    def _freeze(self, step: Step) -> None:
        self.town.count["freeze"] += 1
        self.town.processes[step.who].frozen_until = self.town.loop.time() + step.seconds

    def _cut(self, step: Step) -> None:
        self.town.processes[step.who].cut_in = (step.which, step.how == "after")

    def _word(self, step: Step) -> None:
        act, _, word = step.how.partition(" ")
        self.town.words.setdefault(act, []).append(word)

    def _weather(self, step: Step) -> None:
        """So many calls of a hundred go wrong from now on."""
        self.town.weather = step.which

    # small things

    def _ask(self, what: str, process: Process, work: Coroutine[Any, Any, Any], key: str | None = None, about: Any = None) -> None:
        self.asked.append(Asked(what, process, process.run(work), key, about))

    def _key(self) -> str:
        self._keys += 1
        return f"key-{self._keys:08d}"

    def _process(self, step: Step, further: int = 0) -> Process:
        """The process that is named, or another one while that one is down."""
        named = list(self.town.processes)
        first = named.index(step.who)
        order = [*named[first:], *named[:first]]
        alive = [name for name in order if self.town.processes[name].alive] or order
        return self.town.processes[alive[further % len(alive)]]

    def _one(self, many: Sequence[Any], step: Step) -> Any:
        return many[step.which % len(many)] if many else None

    def _unforeseen(self) -> list[str]:
        """Errors that are none of ours: whoever asks is to be answered, refused or told to come again."""
        found = list(self.town.log.unforeseen)
        for each in self.asked:
            error = each.answer()
            if isinstance(error, BaseException) and not isinstance(error, KassaError | ConnectionError):
                found.append(f"{each.what}: {type(error).__name__}: {error}")
        return found


@dataclass(frozen=True)
class Outcome:
    """What came of a history."""

    seed: str
    kind: str
    steps: tuple[Step, ...]
    wrong: tuple[str, ...]
    told: tuple[str, ...]
    count: Counter[str]


@contextlib.contextmanager
def beginning(seed: str, kind: str) -> Iterator[History]:
    """A history that has just begun."""
    town = Town(seed, kind)
    with town.open():
        yield History(town)


def play(seed: str, kind: str, steps: Sequence[Step]) -> Outcome:
    """Play these steps to the end, or until something is wrong. The same arguments give the same outcome, line by line."""
    assert kind in KINDS
    with beginning(seed, kind) as history:
        for step in steps:
            history.take(step)
            if history.wrong():
                break
        wrong = history.wrong() or history.rest()
        return Outcome(seed, kind, tuple(steps), tuple(dict.fromkeys(wrong)), tuple(history.town.told), history.town.count)
