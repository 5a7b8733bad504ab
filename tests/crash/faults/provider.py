"""The payment provider is late, silent or says what nobody can read (F01 to F04, F08)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests import rig
from tests.crash.asking import Ask, Said
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.proxy import Weather
from tests.crash.stories import Buyer
from tests.crash.till import Till, open_till, wait_until

CHARGE_S, LINK_S = 10, 3
"""So long is waited for a charge, and for a link."""


def bought(run: Run, said: Said) -> None:
    """Whatever happened on the way, the purchase stands."""
    run.check(said.status == 200, f"answered {said.status} {said.raw[:300]!r}")


@fault(
    "F01",
    "The provider answers after our time-out, and the charge succeeded",
    holds="3 9",
    passes="no second charge; known within 15 s of the time-out",
    p95_s=15,
)
def provider_answers_after_our_time_out(field: Field) -> None:
    """A third of all charges are booked at once, a third when it is too late, and a third are requests for a link."""
    till = open_till(field)

    def one(run: Run) -> None:
        if run.number % 3 == 2:
            pays_by_link(till, run, "book_then_timeout", LINK_S + 2)
            return
        behaviour = ("book_then_timeout", "late")[run.number % 3]
        _, said, took = till.charge(behaviour, seconds=CHARGE_S + 2)
        bought(run, said)
        run.recovered(max(0.0, took - CHARGE_S))

    field.each(one, at_once=20)
    till.judge()


def pays_by_link(till: Till, run: Run, behaviour: str = "", seconds: float = 1) -> Buyer:
    """A buyer orders, gets a link in the end and pays; the recovery is the time from the order until there is a link."""
    buyer = till.field.buyer()
    order_id = till.order_with(buyer, behaviour, seconds=seconds) if behaviour else till.order_by_link(buyer)
    began = time.monotonic()
    link = till.link(buyer, order_id)
    run.recovered(time.monotonic() - began)
    till.pay(link)
    till.becomes(buyer, order_id, "paid")
    return buyer


@fault(
    "F02",
    "The provider books, then answers 500",
    holds="3 9",
    passes="no second charge, no second refund; known within 15 s",
    quick=6,
    p95_s=15,
    runs=40,
)
def provider_books_then_says_500(field: Field) -> None:
    """Charges one after the other and all at once, requests for a link, and refunds."""
    till = open_till(field)
    acts = (_charge_then_500, _link_then_500, _refund_then_500)

    def one(run: Run) -> None:
        acts[run.number % 3](till, run)

    field.each(one, at_once=4)

    def at_once(run: Run) -> None:
        """More than a breaker stands: who was charged is told so soon, and the others were not charged."""
        buyer = field.buyer()
        began = time.monotonic()
        said = till.asks(buyer.buys())
        if said.status == 200:
            run.recovered(time.monotonic() - began)
        else:
            run.check(b'"payment_unavailable"' in said.raw, f"answered {said.raw!r}")

    till.provider.default("payment", "process", "book_then_500")
    field.each(at_once, at_once=20, runs=min(20, field.runs))
    till.provider.desk("DELETE", "/defaults/payment")
    till.judge()


def _charge_then_500(till: Till, run: Run) -> None:
    _, said, took = till.charge("book_then_500")
    bought(run, said)
    run.recovered(took)
    till.calm()


def _link_then_500(till: Till, run: Run) -> None:
    pays_by_link(till, run, "book_then_500")


def _refund_then_500(till: Till, run: Run) -> None:
    """What is paid by card, or by link, is cancelled; the provider gives back and does not say so."""
    buyer = till.field.buyer()
    by_card = run.number % 2
    service = "payment" if by_card else "link"
    if by_card:
        bought(run, till.asks(buyer.buys(signed_in=True)))
        order_id = str(till.server.sql("SELECT order_id FROM orders WHERE buyer_id = $1", str(buyer.user))[0]["order_id"])
    else:
        order_id = till.order_by_link(buyer)
        till.pay(till.link(buyer, order_id))
        till.becomes(buyer, order_id, "paid")
    paid = till.row(buyer)
    match = {"key": str(paid["checkout_id"])} if by_card else {"payment_id": str(paid["payment_id"])}
    till.provider.script(service, "refund", "book_then_500", match=match)
    began = time.monotonic()
    said = till.asks(buyer.moves(order_id, "cancelled"))
    run.check(said.status == 200, f"answered {said.raw!r}")
    wait_until(lambda: till.row(buyer)["status"] == "refunded", run, "given back")
    run.recovered(time.monotonic() - began)
    till.calm()


@fault(
    "F03",
    "The connection is reset after the request was sent",
    holds="3 9",
    passes="no second charge; known within 15 s",
    p95_s=15,
)
def connection_is_reset_after_the_request(field: Field) -> None:
    """Reset in the middle of the request, or when the answer is on its way: the service has not seen it, or has booked it."""
    till = open_till(field)
    proxy = field.proxy(till.provider.url)
    till.server.kill()
    till.town.settings |= {
        "PAYMENT_SERVICE_URL": f"{proxy.url}/sandbox/payment",
        "PROVIDER_URL": f"{proxy.url}/sandbox/link",
    }
    till.town.neighbours = ()
    till.server = till.town.born("dev")
    booked = 0

    def one(run: Run) -> None:
        nonlocal booked
        proxy.cut()
        heard = run.number % 2
        charges = len(till.provider.book(only="charges")["charges"])
        at = run.chance.randrange(40 if heard else 400)
        proxy.weather = Weather(reset_down_after=at, once=True) if heard else Weather(reset_up_after=at, once=True)
        if run.number % 4 < 2:
            began = time.monotonic()
            bought(run, till.asks(field.buyer().buys()))
            run.recovered(time.monotonic() - began)
        else:
            pays_by_link(till, run)
        run.check(not proxy.weather.once, "no connection was reset")
        booked += len(till.provider.book(only="charges")["charges"]) - charges
        till.calm()

    field.each(one)
    field.check(booked == field.runs, f"{booked} charges in {field.runs} runs")
    till.judge()


@fault(
    "F04",
    "A 200 with JSON that is cut, of somebody else, or none",
    holds="3 6",
    passes="it is not known, and never called failed",
)
def answer_that_nobody_can_read(field: Field) -> None:
    """Of a charge, of the question about it, and of a request for a link. (Of a refund any 2xx is a yes, as the contract says.)"""
    till = open_till(field)
    forms: tuple[dict[str, Any], ...] = (
        {"behaviour": "garbage", "form": "cut"},
        {"behaviour": "garbage", "form": "foreign"},
        {"behaviour": "garbage", "form": "html"},
        {"behaviour": "huge"},
    )

    def one(run: Run) -> None:
        how = dict(forms[run.number % 4])
        behaviour = how.pop("behaviour")
        if run.number // 4 % 3 == 2:
            buyer = field.buyer()
            order_id = till.order_with(buyer, behaviour, **how)
            run.check(till.order(buyer, order_id)["status"] == "pending", "it did not wait for a link")
            till.pay(till.link(buyer, order_id))
            till.becomes(buyer, order_id, "paid")
        else:
            _charge_unread(till, run, behaviour, how)
        till.calm()

    field.each(one)
    failed = till.server.sql("SELECT count(*)::int AS n FROM events WHERE type IN ('payment.failed', 'order.payment_failed')")
    field.check(failed == [{"n": 0}], f"called failed: {failed}")
    till.judge()


def _charge_unread(till: Till, run: Run, behaviour: str, how: dict[str, Any]) -> None:
    """While the service cannot be asked either, the payment must be seen to be unknown."""
    buyer, statuses = till.field.buyer(), set[str]()
    till.fails(buyer, "process", behaviour, **how)
    till.provider.script("payment", "by_key", behaviour, **how)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(till.asks, buyer.buys())
        while not told.done():
            statuses.add(str(till.row(buyer).get("status")))
    bought(run, told.result())
    run.check("unknown" in statuses, f"it was never unknown, but {statuses}")
    run.check(not statuses & {"declined", "expired", "cancelled"}, f"it was {statuses}")


def _paid_by_card(till: Till) -> tuple[Buyer, str]:
    buyer = till.field.buyer()
    assert till.asks(buyer.buys(signed_in=True)).status == 200
    return buyer, str(till.server.sql("SELECT order_id FROM orders WHERE buyer_id = $1", str(buyer.user))[0]["order_id"])


@fault(
    "F08",
    "The provider trickles one byte a second",
    holds="5",
    passes="the total time-out is obeyed; nobody else waits",
)
def provider_trickles(field: Field) -> None:
    """Half of the buyers meet a service that answers so, half a line that is so both ways."""
    till = open_till(field)
    proxy = field.proxy(till.provider.url)
    narrow = till.town.made(
        "serve",
        till.town.home / "narrow",
        HTTP_PORT=rig.free_port(),
        PAYMENT_SERVICE_URL=f"{proxy.url}/sandbox/payment",
        PROVIDER_URL=f"{proxy.url}/sandbox/link",
    )
    narrow.start()
    proxy.weather = Weather(rate=1)
    waits: list[float] = []

    def one(run: Run) -> None:
        buyer = field.buyer()
        by_line = run.number % 2
        if not by_line:
            till.fails(buyer, "process", "trickle", seconds=1)
        began = time.monotonic()
        said = till.history.ask(narrow if by_line else till.server, buyer.buys(), timeout_s=20)
        took = time.monotonic() - began
        run.check(said is not None and took < CHARGE_S + 3, f"answered {said and said.status} after {took:.1f} s")
        waits.append(took)
        proxy.clear()
        end = till.asks(buyer.buys())
        run.check(end.status == 200 or b"payment_not_executed" in end.raw, f"ended {end.raw!r}")

    def others() -> None:
        for server in (till.server, narrow):
            buyer = field.buyer()
            for ask in (Ask("GET", "/api/products"), buyer.puts("prod_001", 1), buyer.orders()):
                began = time.monotonic()
                said = till.history.ask(server, ask)
                took = time.monotonic() - began
                field.check(said is not None and said.status < 300 and took < 2, f"{ask.path} took {took:.1f} s: {said}")
                slowest.append(took)

    slowest: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        meanwhile = pool.submit(lambda: [others() or time.sleep(0.5) for _ in range(10)])
        field.each(one, at_once=20)
        meanwhile.result()
    field.measure("longest charge", f"{max(waits):.1f} s")
    field.measure("slowest of others", f"{max(slowest) * 1000:.0f} ms")
    till.judge()
