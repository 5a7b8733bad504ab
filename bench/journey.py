"""The load of row 3: two cart calls and an order, again and again, each journey by one buyer over one connection.

The order comes under an idempotency key, the cart calls without, as in the README.

Run as `python -m bench.journey`: reads a plan as JSON from standard input, writes what happened as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.load import Caller, Crowd, Happened, Plan, happened, template, with_key

ADDRESS = {"street": "1 Hill Road", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}
CARD = {"cardNumber": "4111111111111111", "expiryDate": "12/30", "cvv": "123", "cardholderName": "A Buyer"}
ORDER = json.dumps({"shippingAddress": ADDRESS, "paymentMethod": "credit_card", "paymentDetails": CARD})


@dataclass(frozen=True, slots=True)
class Journeys:
    """Journeys of the buyers with these `tokens`, `at_once` at a time for `seconds`; a journey that was begun is ended."""

    port: int
    tokens: list[str]
    products: int
    at_once: int
    seconds: float


def travel(plan: Journeys) -> Happened:
    """Run the plan in a process of its own. An order is a 201 too: a journey is three of them."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.journey"], input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True
    )
    return Happened(**json.loads(done.stdout))


class Shopper(Caller):
    """One connection: a buyer after the other, never the same as at another connection."""

    def __init__(self, crowd: Crowd, journeys: Iterator[list[bytes]]) -> None:
        super().__init__(crowd)
        self.journeys = journeys
        self.rest: list[bytes] = []

    def next_request(self) -> bytes | None:
        """The rest of the journey; then, while there is time, the next one."""
        if not self.rest:
            if super().next_request() is None:
                return None
            self.rest = list(next(self.journeys))
        return with_key(self.rest.pop(0))


def _journeys(plan: Journeys, first: int) -> Iterator[list[bytes]]:
    adding = "/api/cart/items"
    made = []
    for place in range(first, len(plan.tokens), plan.at_once):
        token = plan.tokens[place]
        lines = [json.dumps({"productId": f"p{(place * 7 + n * 13) % plan.products + 1}", "quantity": 1}) for n in range(2)]
        made.append([*(template(adding, token, line, keyed=False) for line in lines), template("/api/orders", token, ORDER)])
    return itertools.cycle(made)


async def run(plan: Journeys) -> Happened:
    """Run the plan here."""
    crowd = Crowd(Plan(plan.port, "", "", [""], plan.at_once, plan.seconds))
    loop = asyncio.get_running_loop()

    def shopper(first: int) -> Any:
        return lambda: Shopper(crowd, _journeys(plan, first))

    await asyncio.gather(*(loop.create_connection(shopper(first), "127.0.0.1", plan.port) for first in range(plan.at_once)))
    await crowd.done.wait()
    return happened(crowd)


if __name__ == "__main__":
    plan = Journeys(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(uvloop.run(run(plan)))))
