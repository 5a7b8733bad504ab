"""The process dies beside the call to the provider (F05, F06)."""

from __future__ import annotations

import subprocess
import time

from tests.crash.asking import Ask, Said
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.playing import WITHIN_S
from tests.crash.stories import Buyer
from tests.crash.till import Till, move_clock, open_till, wait_until

SETTLING_S = 16
"""After so long a charge that was never seen is believed to be none."""


def dies_on(till: Till, run: Run, ask: Ask, point: str) -> float:
    """Ask a process that dies at this point; when it died, by the clock that never jumps."""
    victim = till.another("serve", crash_at=point)
    said = till.history.ask(victim, ask)
    run.check(said is None, f"it did not die at {point}: {said}")
    code = victim.wait(10)
    run.check(code == -9, f"exit code {code}")
    return time.monotonic()


def dies_while_it_gives_back(till: Till) -> tuple[Buyer, float]:
    """A buyer cancels what is paid, and the process dies after the refund: the answer may have been given before.

    A worker of another process may be first with the refund; then somebody else tries.
    """
    while True:
        buyer = till.field.buyer()
        till.asks(buyer.buys(signed_in=True))
        order_id = str(till.server.sql("SELECT order_id FROM orders WHERE buyer_id = $1", str(buyer.user))[0]["order_id"])
        victim = till.another("serve", crash_at="refund:after_call")
        till.history.ask(victim, buyer.moves(order_id, "cancelled"))
        try:
            victim.wait(2)
        except subprocess.TimeoutExpired:
            victim.kill()
        else:
            return buyer, time.monotonic()


@fault(
    "F05",
    "The process is killed between the provider's success and our commit",
    holds="3 9",
    passes="one charge; taken up within lease + 5 s",
    quick=3,
    p95_s=WITHIN_S,
)
def killed_after_the_charge(field: Field) -> None:
    """After a charge, after a link was made, and after a refund: another process takes it up."""
    till = open_till(field)
    longest = {"charge": 0.0, "link": 0.0, "refund": 0.0}

    def one(run: Run) -> None:
        buyer = field.buyer()
        if run.number % 3 == 0:
            died = dies_on(till, run, buyer.buys(), "payment:after_call")
            said = till.asks(buyer.buys())
            run.check(said.status == 200, f"answered {said.raw!r}")
            wait_until(lambda: till.row(buyer)["checkout"] == "completed", run, "completed")
        elif run.number % 3 == 1:
            till.asks(buyer.puts("prod_002", 1))
            died = dies_on(till, run, buyer.orders("link:stripe"), "link:after_call")
            order_id = till.asks(buyer.orders("link:stripe")).json["data"]["id"]
            link = till.link(buyer, order_id)
            run.recovered(time.monotonic() - died)
            longest["link"] = max(longest["link"], run.recovered_s[-1])
            till.pay(link)
            till.becomes(buyer, order_id, "paid")
            return
        else:
            buyer, died = dies_while_it_gives_back(till)
            wait_until(lambda: till.row(buyer)["status"] == "refunded", run, "refunded")
        run.recovered(time.monotonic() - died)
        kind = "refund" if run.number % 3 == 2 else "charge"
        longest[kind] = max(longest[kind], run.recovered_s[-1])

    field.each(one, at_once=2)
    field.measure("longest", ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in longest.items()))
    till.judge()


@fault(
    "F06",
    "The process is killed between the commit of the intent and the call",
    holds="3 5",
    passes="nothing lost; one charge, by whoever asks again",
    quick=2,
)
def killed_before_the_charge(field: Field) -> None:
    """The card is gone with the process, so nothing was charged: it is said so, and the buyer pays under another key."""
    till = open_till(field)
    told: dict[int, Said] = {}
    buyers = {number: field.buyer() for number in range(field.runs)}

    def dies(run: Run) -> None:
        dies_on(till, run, buyers[run.number].buys(), "payment:before_call")

    def asks_again(run: Run) -> None:
        buyer = buyers[run.number - field.runs]
        told[run.number] = said = till.asks(buyer.buys())
        run.check(said.status == 422 and b"payment_not_executed" in said.raw, f"answered {said.raw!r}")
        second = field.buyer()
        again = Ask("POST", "/checkout/process", {**(buyer.buys().body or {})}, second.key("checkout"))
        run.check(till.asks(again).status == 200, "the second try was refused")
        keys = till.provider.summary()["keys"]
        first = [row for row in keys if row["key"].startswith(str(till.row(buyer)["checkout_id"]))]
        run.check(not first, f"the first try was charged: {first}")

    field.each(dies, at_once=4)
    wait_until(
        lambda: not till.server.sql("SELECT 1 FROM checkouts WHERE status = 'paying' AND lease_until > now()"), None, "taken up"
    )
    move_clock(till.server, SETTLING_S)
    field.each(asks_again, at_once=4)
    field.result.runs = field.runs
    till.judge()
