"""Buyers who keep buying while the ground shakes, and who write down what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests import rig

from .asking import Ask, Broken, Said, is_final, speak
from .stories import BASKET, Buyer

_numbers = itertools.count(50_000)


@dataclass
class Crowd:
    """`size` buyers, each in a thread: every second one buys in one call, the others fill a cart and order.

    A request whose outcome is not known is asked again, with its key, until there is an answer. `servers` are taken in turn.
    """

    servers: Sequence[rig.Server]
    size: int = 20
    patience_s: float = 40
    told: list[tuple[Ask, Said]] = field(default_factory=list)
    """Every final answer."""
    heard: Counter[int] = field(default_factory=Counter)
    """Every status, 0 for a connection that broke."""
    trouble: list[str] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Crowd:
        for place in range(self.size):
            self._threads.append(threading.Thread(target=self._shop, args=(place,)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_home()

    def go_home(self) -> None:
        """Let everybody finish what was begun."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    @property
    def bought(self) -> int:
        """How many purchases were confirmed."""
        return sum(said.status in {200, 201} and ask.path in {"/checkout/process", "/api/orders"} for ask, said in self.told)

    def _shop(self, place: int) -> None:
        turns = itertools.cycle(self.servers)
        while not self._enough.is_set():
            buyer = Buyer(next(_numbers))
            wishes: list[Callable[[], Ask]] = [buyer.buys]
            if place % 2:
                first, second = BASKET if place % 4 == 1 else BASKET[::-1]
                wishes = [lambda: buyer.puts(*first), lambda: buyer.puts(*second), buyer.orders]
            for wish in wishes:
                if not self._until_told(next(turns), wish()):
                    return

    def _until_told(self, server: rig.Server, ask: Ask) -> bool:
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            try:
                said = speak(server, ask, timeout_s=20)
            except (Broken, TimeoutError):
                self.heard[0] += 1
                time.sleep(0.05)
                continue
            self.heard[said.status] += 1
            if is_final(said):
                self.told.append((ask, said))
                if said.status not in {200, 201}:
                    self.trouble.append(f"{ask.path}: {said.status} {said.raw[:300]!r}")
                return True
            time.sleep(0.1)
        self.trouble.append(f"{ask.path} of {ask.key}: no answer within {self.patience_s} s")
        return False
