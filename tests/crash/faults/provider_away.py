"""The payment provider is away for an hour (F07)."""

from __future__ import annotations

import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.stories import Buyer
from tests.crash.till import UNSENT, Till, move_clock, open_till, wait_until

OPENS_WITHIN_S, DRAINED_WITHIN_S, SLOWER_AT_MOST = 5.0, 60.0, 1.2
STEPS = 8
SAMPLES = 500


@fault(
    "F07",
    "The provider is down for five minutes, and for an hour",
    holds="5",
    passes="the breaker opens within 5 s; others' p99 ≤ 1.2 times; what waits is settled within 60 s of the return",
    p95_s=DRAINED_WITHIN_S,
    alone=True,
)
def provider_is_away(field: Field) -> None:
    """It stops with charges in flight whose outcome nobody knows; the clock goes on for five minutes or an hour, and it starts again.

    A run is one such charge. Others are buyers whose payment needs no provider, in the same process.
    """
    till = open_till(field)
    ratios = []
    for away_s, runs in ((300, field.runs // 2), (3600, field.runs - field.runs // 2)):
        calm = sampled(till)
        buyers = in_flight(till, runs)
        till.provider.kill()
        field.measure(f"breaker opened ({away_s} s away)", f"{opens(till):.2f} s")
        troubled = sampled(till)
        for _ in range(STEPS):
            move_clock(till.server, away_s / STEPS)
            time.sleep(0.7)
        comes_back(till)
        first = field.result.runs

        def settled(run: Run, buyers: list[Buyer] = buyers, first: int = first) -> None:
            buyer = buyers[run.number - first]
            final = ("completed", "undone")
            run.recovered(wait_until(lambda: till.row(buyer)["checkout"] in final, run, "settled", DRAINED_WITHIN_S + 30))

        field.each(settled, at_once=runs, runs=runs)
        till.calm()
        calm += sampled(till)
        ratios.append((p99(troubled) / p99(calm), f"{p99(calm) * 1000:.0f} → {p99(troubled) * 1000:.0f} ms"))
    field.measure("others' p99", ", ".join(text for _, text in ratios))
    field.check(min(ratios)[0] <= SLOWER_AT_MOST, f"others' p99: {ratios}")
    till.judge()


def in_flight(till: Till, how_many: int) -> list[Buyer]:
    """Charges that were booked, or not, and of which nobody knows."""
    till.provider.default(
        "payment", "by_key", "garbage", form="html"
    )  # an answer, so that the breaker stays closed, that tells nothing
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda n: till.silence(till.field.buyer(), ("book_then_cut", "cut")[n % 2]), range(how_many)))


def opens(till: Till) -> float:
    """The seconds until nobody is sent to the provider any more. Where it was now listens somebody who would see a call."""
    began = time.monotonic()
    refused = [till.asks(till.field.buyer().buys()) for _ in range(5)]
    till.field.check(all(UNSENT in each.raw for each in refused), f"refused as {refused}")
    took = time.monotonic() - began
    till.field.check(took <= OPENS_WITHIN_S, f"the breaker opened after {took:.1f} s")
    parts = urlsplit(till.provider.url)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((parts.hostname or "", parts.port or 0))
        listener.listen()
        said = till.asks(till.field.buyer().buys())
        called = bool(select.select([listener], [], [], 0)[0])
    till.field.check(UNSENT in said.raw and not called, f"the breaker is not open: {said}, called: {called}")
    return took


def comes_back(till: Till) -> None:
    """The provider starts again, with its book, and knows what it has charged."""
    till.provider.process = None
    till.provider.start()
    till.provider.desk("DELETE", "/defaults/payment")


def sampled(till: Till) -> list[float]:
    """How long orders take whose payment needs no provider, in seconds."""
    took = []
    for _ in range(SAMPLES):
        buyer = till.field.buyer()
        till.asks(buyer.puts("prod_001", 1))
        began = time.monotonic()
        said = till.asks(buyer.orders())
        took.append(time.monotonic() - began)
        till.field.check(said.status == 201, f"somebody else was answered {said.raw!r}")
    return took


def p99(took: list[float]) -> float:
    """Within so many seconds are 99 of a hundred."""
    return sorted(took)[round(0.99 * (len(took) - 1))]
