"""Buyers who keep buying while the ground shakes, and who write down what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx2
from tests import rig

from . import merchants
from .asking import Ask, Broken, Calls, Said, call, is_final
from .history import History
from .stories import BASKET, Buyer

PLENTY = (("prod_005", 1), ("prod_gift", 1))
"""Things that do not run out, however fast a machine sells them."""


class _Unanswered(Exception):
    """Somebody's patience has ended."""


_numbers = itertools.count(50_000)


@dataclass
class Crowd:
    """`size` buyers, each in a thread: every second one buys in one call, the others fill a cart and order.

    A request whose outcome is not known is asked again, with its key, until there is an answer. `servers` are taken in turn.
    """

    servers: Sequence[rig.Server]
    size: int = 20
    patience_s: float = 40
    mixed: bool = False
    """Some also cancel, some are merchants whose buyers pay by link and get money back, some are services over gRPC."""
    rpc: rig.Server | None = None
    basket: tuple[tuple[str, int], ...] = BASKET
    """What everybody buys; of some things there are enough for a crowd that buys for minutes."""
    pause_s: float = 0
    """How long a buyer rests between two purchases."""
    told: list[tuple[Ask, Said]] = field(default_factory=list)
    """Every final answer."""
    history: History = field(default_factory=History)
    """Every question, and every answer that there was."""
    trouble: list[str] = field(default_factory=list)
    _turns: Iterator[rig.Server] = field(init=False)
    _forgotten: int = 0
    _enough: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.servers)

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
    def heard(self) -> Counter[int]:
        """How often each status was heard; 0 for no answer."""
        return self.history.heard

    @property
    def bought(self) -> int:
        """How many purchases were confirmed."""
        return self._forgotten + sum(
            said.status in {200, 201} and ask.path in {"/checkout/process", "/api/orders"} for ask, said in self.told
        )

    def forget(self) -> None:
        """Keep the number of purchases only: for crowds that buy for hours."""
        self._forgotten = self.bought
        self.told.clear()
        self.history.ops.clear()

    def _shop(self, place: int) -> None:
        while not self._enough.is_set():
            try:
                self._habit(place)(Buyer(next(_numbers)))
            except _Unanswered:
                return
            self._enough.wait(self.pause_s)

    def _habit(self, place: int) -> Callable[[Buyer], None]:
        usual = (self._buys_at_once, self._fills_a_cart, self._buys_at_once, self._fills_a_cart_backwards)
        others = (self._thinks_better, self._is_a_merchant, self._is_a_service) if self.mixed else ()
        habits = (*usual, *others)
        return habits[place % len(habits)]

    def _buys_at_once(self, buyer: Buyer) -> None:
        self._until_told(buyer.buys(*self.basket))

    def _fills_a_cart(self, buyer: Buyer, *basket: tuple[str, int]) -> Said:
        for item in basket or self.basket:
            self._until_told(buyer.puts(*item))
        return self._until_told(buyer.orders())

    def _fills_a_cart_backwards(self, buyer: Buyer) -> None:
        self._fills_a_cart(buyer, *self.basket[::-1])

    def _thinks_better(self, buyer: Buyer) -> None:
        """Orders, and cancels what is paid."""
        said = self._fills_a_cart(buyer)
        if said.status == 201:
            self._until_told(buyer.moves(said.json["data"]["id"], "cancelled"))

    def _is_a_merchant(self, buyer: Buyer) -> None:
        """Asks for money by link; its buyer pays; a part goes back."""
        said = self._until_told(merchants.asks(buyer))
        if said.status != 200:
            return
        payment = said.json["payment_id"]
        until = time.monotonic() + self.patience_s
        while not _accepts(said.json["payment_url"]) and time.monotonic() < until:
            time.sleep(0.2)
        while time.monotonic() < until:
            seen = self.history.ask(next(self._turns), merchants.shown(payment))
            if seen is not None and seen.status == 200 and seen.json["status"] == 2:
                self._until_told(merchants.gives_back(buyer, payment, "part", amount="30.00"))
                return
            time.sleep(0.2)
        self.trouble.append(f"payment {payment}: not paid within {self.patience_s} s, though its buyer has paid")

    def _is_a_service(self, buyer: Buyer) -> None:
        """Asks for money over gRPC, as often as it takes."""
        if self.rpc is None:
            return
        fields = {"amount_minor": 1250, "currency": "usd", "order_id": f"S-{buyer.number}", "idempotency_key": buyer.key("grpc")}
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            try:
                call(self.rpc, Calls(fields, merchants.KEY), until)
            except (Broken, AssertionError):
                time.sleep(0.1)
            else:
                return
        self.trouble.append(f"gRPC {buyer.key('grpc')}: no answer within {self.patience_s} s")

    def _until_told(self, ask: Ask) -> Said:
        """Ask until there is a final answer. Raises `_Unanswered` when patience ends."""
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            said = self.history.ask(next(self._turns), ask, timeout_s=20)
            if said is None:
                time.sleep(0.05)
                continue
            if is_final(said):
                self.told.append((ask, said))
                if said.status not in {200, 201}:
                    self.trouble.append(f"{ask.path}: {said.status} {said.raw[:300]!r}")
                return said
            time.sleep(0.1)
        self.trouble.append(f"{ask.path} of {ask.key}: no answer within {self.patience_s} s")
        raise _Unanswered


def _accepts(payment_url: str) -> bool:
    """Pay at the sandbox, which may be dying with the process that it is in; paying twice is paying once."""
    try:
        return httpx2.post(payment_url.replace("/pay/", "/payments/") + "/accept", trust_env=False, timeout=30).status_code < 500
    except httpx2.HTTPError:
        return False
