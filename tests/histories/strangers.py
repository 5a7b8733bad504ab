"""The neighbours: one book that outlives every crash, and services that answer late, twice, wrongly or not at all.

A charge moves money when it arrives, whether or not anybody hears the answer. A key is honoured for a minute: whoever sends a charge again
after that has charged twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import aiohttp

from kassa.kit.breaker import Breaker
from kassa.kit.jsontext import parse
from kassa.kit.neighbour import Answer, Neighbour

if TYPE_CHECKING:
    from tests.histories.town import Process, Town

KEY_IS_HONOURED_S = 60.0
_act: ContextVar[str] = ContextVar("the act of the call that is being made")
WORDS = ("late", "lost", "silent", "error", "away", "slow", "refuse", "no_route")
"""`late`: done after the caller has gone · `lost`: never arrives · `silent`: done, unheard · `error`: done, 500 · `away`: not sent ·
`slow`: done and told, in the last moment · `refuse`: a clear no · `no_route`: 404."""
_ASKED_OR_UNDONE = frozenset({"payment.ask", "refund", "restock", "cancel", "return"})
ACTS = ("payment", "payment.ask", "refund", "inventory", "restock", "order_service", "cancel", "link", "take", "return")


def words_for(act: str) -> tuple[str, ...]:
    """How a call of this act may go wrong. A service that honours keys has a route for what it does; for an undo it may have none."""
    return WORDS if act in _ASKED_OR_UNDONE else WORDS[:-1]


@dataclass
class Charge:
    """Money taken under a key; `times` is how often."""

    amount: int
    ok: bool
    at: float
    times: int = 1


@dataclass
class Book:
    """What the strangers know for certain. Amounts are minor units."""

    charges: dict[str, Charge] = field(default_factory=dict)
    returned: dict[str, dict[str, int]] = field(default_factory=dict)
    """By charge: what went back, under which key."""
    taken: dict[str, Counter[str]] = field(default_factory=dict)
    """By checkout: pieces that the inventory has given."""
    done: dict[str, Answer] = field(default_factory=dict)
    """By key: what was answered. The same key gets the same answer."""
    orders: dict[str, str] = field(default_factory=dict)
    """By the order service's own name: the checkout."""
    cancelled: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    """Payments whose buyers have been shown a link."""
    paid_by_link: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def net(self, key: str) -> int:
        """What is left of a charge that was made."""
        charge = self.charges.get(key)
        taken = charge.amount * charge.times if charge is not None and charge.ok else 0
        return taken - sum(self.returned.get(key, {}).values())

    def net_of_link(self, payment_id: str) -> int:
        return self.paid_by_link.get(payment_id, 0) - sum(self.returned.get(payment_id, {}).values())


class Stranger(Neighbour):
    """A neighbour service as one process sees it: the real door, with its breaker, and a world of our own behind it."""

    def __init__(self, town: Town, process: Process, name: str) -> None:
        super().__init__(name, "http://stranger", None, breaker=Breaker(clock=town.loop.time))  # type: ignore[arg-type]
        self._town, self._process = town, process

    def apart(self, name: str) -> Stranger:
        del name  # one service behind two breakers
        return Stranger(self._town, self._process, self.name)

    async def call(self, method: str, path: str, *, act: str, **how: Any) -> Answer:
        await self._process.moment(f"calls {act}")
        _act.set(act)
        answer = await super().call(method, path, act=act, **how)
        await self._process.moment(f"has the answer of {act}")
        return answer

    async def _exchange(
        self, method: str, path: str, timeout_s: float, data: bytes | None, kind: str, headers: dict[str, str], at_most: int
    ) -> Answer:
        del kind, at_most
        town, act = self._town, _act.get()
        word = town.word_for(act)
        said = parse(data) if data is not None else {}

        def arrive() -> Answer:
            town.count[act] += 1
            return town.services[self.name](method, path, said, headers.get("Idempotency-Key"), refuse=word == "refuse")

        async with asyncio.timeout(timeout_s):
            return await self._carry(word, arrive, timeout_s)

    async def _carry(self, word: str, arrive: Callable[[], Answer], timeout_s: float) -> Answer:
        """What was sent arrives, though its sender may be dead by then."""
        town, travel_s = self._town, self._town.random.uniform(0.01, 0.08)
        match word:
            case "away":
                raise aiohttp.ConnectionTimeoutError
            case "no_route":
                return Answer(404, {"error": "no such route"}, {})
            case "late":
                town.loop.call_later(timeout_s + town.random.uniform(0.1, 6), arrive)
                await asyncio.sleep(timeout_s * 2)
            case "lost":
                await asyncio.sleep(timeout_s * 2)
            case "slow":
                travel_s = timeout_s * 0.45
        arrived: asyncio.Future[Answer] = town.loop.create_future()
        town.loop.call_later(travel_s, lambda: _tell(arrived, arrive()))
        answer = await arrived
        await asyncio.sleep(timeout_s * 2 if word == "silent" else travel_s)
        return Answer(500, None, {}) if word == "error" else answer


def _tell(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _minor(amount: Any) -> int:
    return int((Decimal(str(amount)) * 100).to_integral_value())


class Services:
    """What the strangers do when a request has arrived."""

    def __init__(self, book: Book, town: Town) -> None:
        self._book, self._town = book, town

    def payment(self, method: str, path: str, body: Mapping[str, Any], key: str | None, *, refuse: bool) -> Answer:
        book = self._book
        if method == "GET":
            asked = unquote(path.removeprefix("/payments/by-key/"))
            charge = book.charges.get(asked)
            if charge is None:
                return Answer(404, {"status": "never_seen", "key": asked}, {})
            return self._charged(asked, charge)
        if path.endswith("/refund"):
            return self._give_back(unquote(path.split("/")[2]).removeprefix("t-"), _minor(body["amount"]), key or "", refuse=refuse)
        assert key is not None
        charge = book.charges.get(key)
        if charge is None:
            charge = book.charges[key] = Charge(_minor(body["amount"]), not refuse, self._town.loop.time())
        elif self._town.loop.time() - charge.at > KEY_IS_HONOURED_S:
            charge.times += 1
        return self._charged(key, charge)

    def _charged(self, key: str, charge: Charge) -> Answer:
        if charge.ok:
            return Answer(200, {"status": "success", "transactionId": f"t-{key}"}, {})
        return Answer(200, {"status": "failed", "error": "card_declined", "message": "The card was declined."}, {})

    def _give_back(self, key: str, amount: int, refund_key: str, *, refuse: bool) -> Answer:
        book = self._book
        given = book.returned.setdefault(key, {})
        if refund_key in given:
            return Answer(200, {"status": "refunded", "refundId": f"r-{refund_key}"}, {})
        if refuse:
            return Answer(422, {"error": "not now"}, {})
        charge = book.charges.get(key)
        held = charge.amount * charge.times if charge is not None and charge.ok else book.paid_by_link.get(key, 0)
        if sum(given.values()) + amount > held:
            book.faults.append(f"asked to give back {amount} of {key}, more than is left of {held}")
            return Answer(422, {"error": "too much"}, {})
        given[refund_key] = amount
        return Answer(200, {"status": "refunded", "refundId": f"r-{refund_key}"}, {})

    def link(self, method: str, path: str, body: Mapping[str, Any], key: str | None, *, refuse: bool) -> Answer:
        del method, key
        if path == "/refunds":
            return self._give_back(body["payment_id"], _minor(body["amount"]), body["refund_id"], refuse=refuse)
        if refuse:
            return Answer(400, {"error": "no"}, {})
        self._book.links.add(body["payment_id"])
        return Answer(201, {"payment_url": f"https://pay.example/{body['payment_id']}"}, {})

    def inventory(self, method: str, path: str, body: Mapping[str, Any], key: str | None, *, refuse: bool) -> Answer:
        del method
        assert key is not None
        if key in self._book.done:
            return self._book.done[key]
        if refuse:
            answer = Answer(422, {"success": False, "message": "No."}, {})
        else:
            sign = 1 if path.endswith("/deduct") else -1
            count = self._book.taken.setdefault(key.partition(":")[0], Counter())
            for item in body["items"]:
                count[item["product_id"]] += sign * item["quantity"]
            answer = Answer(200, {"success": True}, {})
        return self._remember(key, answer, undo="restock" in key)

    def order(self, method: str, path: str, body: Mapping[str, Any], key: str | None, *, refuse: bool) -> Answer:
        del method
        assert key is not None
        book = self._book
        if key in book.done:
            return book.done[key]
        if refuse:
            return self._remember(key, Answer(422, {"message": "No."}, {}), undo=path != "/orders")
        if path == "/orders":
            name = f"o-{len(book.orders) + 1}"
            book.orders[name] = body["checkout_id"]
            return self._remember(key, Answer(201, {"orderId": name}, {}), undo=False)
        book.cancelled.add(unquote(path.split("/")[2]))
        return self._remember(key, Answer(200, {}, {}), undo=True)

    def product(self, method: str, path: str, body: Mapping[str, Any], key: str | None, *, refuse: bool) -> Answer:
        del method
        assert key is not None
        if key in self._book.done:
            return self._book.done[key]
        if refuse:
            return self._remember(key, Answer(409, {"message": "No."}, {}), undo=":return:" in key)
        count = self._book.taken.setdefault(key.partition(":")[0], Counter())
        count[unquote(path.split("/")[3])] -= body["quantity"]
        return self._remember(key, Answer(200, {}, {}), undo=False)

    def _remember(self, key: str, answer: Answer, *, undo: bool) -> Answer:
        """The same key gets the same answer; whoever refused to take something back may be talked round."""
        if not (undo and not answer.ok):
            self._book.done[key] = answer
        return answer
