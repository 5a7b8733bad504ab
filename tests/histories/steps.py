"""What can happen in a history: steps that are drawn from a seed, or by Hypothesis, and written in one line each."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.histories.strangers import words_for

PROCESSES = ("api1", "api2", "worker")
BASKETS: tuple[dict[str, int], ...] = ({"mouse": 1}, {"mouse": 2}, {"lamp": 1}, {"mouse": 1, "lamp": 1}, {"lamp": 2}, {"mouse": 5})
METHODS = ("credit_card", "link:stripe", "link:stripe", "cash_on_delivery")
PASSES_S = (0.05, 0.3, 1.0, 3.0, 9.0, 16.0, 130.0, 1900.0, 7300.0)
MISFORTUNES = ("crash", "crash", "freeze", "cut", "word", "word", "word", "weather")
ACTS = {
    "own": ("payment", "payment.ask", "refund", "link"),
    "services": ("payment", "payment.ask", "refund", "link", "inventory", "restock", "order_service", "cancel"),
    "products": ("payment", "payment.ask", "refund", "link", "take", "return"),
}


@dataclass(frozen=True)
class Step:
    """One thing that happens. `who` is a process, `which` counts among what there is by then, `how` says more."""

    what: str
    who: str = ""
    which: int = 0
    how: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        parts = [self.what, self.who, f"#{self.which}" if self.what in _COUNTED else "", self.how]
        parts.append(f"{self.seconds:g} s" if self.seconds else "")
        return " ".join(part for part in parts if part)


_COUNTED = {"buy", "again", "order", "cancel", "refund", "report", "person", "crash", "cut", "weather"}


def deal(chance: random.Random, kind: str, length: int) -> list[Step]:
    """So many steps: first the weather, then a purchase, then anything."""
    weather = Step("weather", which=chance.choice((0, 0, 10, 30)))
    return [weather, buy(chance), *(any_step(chance, kind) for _ in range(length - 2))]


def any_step(chance: random.Random, kind: str) -> Step:
    """One step."""
    draw = chance.random()
    if draw < 0.20:
        return buy(chance)
    if draw < 0.38:
        return misfortune(chance, kind)
    if draw < 0.60:
        return Step("pass", seconds=chance.choice(PASSES_S))
    which, who = chance.randrange(8), chance.choice(PROCESSES)
    if draw < 0.68:
        return Step("again", who, which)
    if draw < 0.77:
        return Step("order", who, chance.randrange(2), f"{chance.choice(METHODS)} {chance.choice(('key', 'tab'))}")
    if draw < 0.84:
        return Step("cancel", who, which, chance.choice(("staff", "owner")))
    if draw < 0.90:
        return Step("refund", who, which, chance.choice(("whole", "whole twice", "part", "part twice", "line restocked")))
    if draw < 0.97:
        return Step("report", who, which, chance.choice(("paid", "paid", "paid thrice", "failed", "failed then paid")))
    return Step("person", who, which)


def buy(chance: random.Random) -> Step:
    """Somebody buys with a card, once or twice at the same moment, under one key or two."""
    how = chance.choice(("", "", "", "twice one key", "twice two keys"))
    return Step("buy", chance.choice(PROCESSES[:2]), chance.randrange(len(BASKETS)), how)


def misfortune(chance: random.Random, kind: str) -> Step:
    """Something fails."""
    what, who = chance.choice(MISFORTUNES), chance.choice(PROCESSES)
    if what == "crash":
        return Step("crash", who, chance.randrange(1, 60))
    if what == "freeze":
        return Step("freeze", who, seconds=chance.choice((2.0, 9.0, 15.0)))
    if what == "cut":
        return Step("cut", who, chance.randrange(1, 20), chance.choice(("before", "after")))
    if what == "weather":
        return Step("weather", which=chance.choice((0, 10, 30, 60)))
    act = chance.choice(ACTS[kind])
    return Step("word", how=f"{act} {chance.choice(words_for(act))}")
