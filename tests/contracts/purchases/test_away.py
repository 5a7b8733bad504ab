"""The ambassadors service goes away and comes back by itself, and so does the database (sections 2 and 3)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import httpx2
from tests.contracts.orders.test_away import without_its_database

from .ambassadors import fails
from .journeys import Shop, eventually, good, refusal, unavailable

OPEN_S = 10


def timed(act: Callable[[], httpx2.Response]) -> float:
    """How long a refusal took, in seconds."""
    began = time.monotonic()
    unavailable(act())
    return time.monotonic() - began


def test_five_failures_in_a_row_open_the_breaker_and_it_closes_by_itself(market: Shop) -> None:
    agency = market.agency
    [ambassador, bought, wanted] = agency.hire(100, 200, 300)
    buyer, owner = market.buyer(), market.buyer()
    buyer.add(ambassador)
    purchase = owner.buy(bought)
    with agency.misbehaving(fails()):
        with agency.watched() as calls:
            for _ in range(4):
                unavailable(buyer.put(wanted))
        assert len(calls) == 4
        agency.will(lambda _ids, _context: b"")  # an answer without the asked one is the fifth
        unavailable(buyer.put(wanted))
        opened = time.monotonic()
        with agency.watched() as calls:
            waits = [timed(act) for _ in range(3) for act in (lambda: buyer.put(wanted), buyer.check_out)]
            assert statistics.median(waits) < 0.3
            assert good(owner.check_out(), 201) == purchase  # this version has its purchase
            assert buyer.drop(ambassador).status_code == 204
            market.payme.pay(purchase)
        assert calls == []
        assert owner.owns() == [bought]
        time.sleep(max(0.0, opened + OPEN_S + 0.5 - time.monotonic()))
        with agency.watched() as calls:
            for _ in range(3):
                unavailable(buyer.put(wanted))
        assert len(calls) == 1  # one probe decides
        opened = time.monotonic()
    time.sleep(max(0.0, opened + OPEN_S - 1.5 - time.monotonic()))
    with agency.watched() as calls:
        unavailable(buyer.put(wanted))
    assert calls == []
    time.sleep(max(0.0, opened + OPEN_S + 0.5 - time.monotonic()))
    good(buyer.put(wanted), 201)
    assert buyer.in_cart() == [wanted]


def test_four_failures_and_a_success_leave_it_closed(market: Shop) -> None:
    [ambassador] = market.agency.hire(100)
    buyer = market.buyer()
    for _ in range(2):
        market.agency.will(*[fails()] * 4)
        for _ in range(4):
            unavailable(buyer.put(ambassador))
        assert buyer.put(ambassador).status_code in {200, 201}


def test_a_service_that_hung_up_is_found_again(market: Shop) -> None:
    [ambassador, other] = market.agency.hire(100, 200)
    buyer = market.buyer()
    purchase = buyer.buy(ambassador)
    market.agency.close()
    try:
        assert timed(lambda: buyer.put(other)) < 1
        assert good(market.http.get("/ready")) == {"message": "ready"}
        assert good(buyer.check_out(), 201) == purchase
        market.payme.pay(purchase)
    finally:
        market.agency.open()
    assert eventually(market.is_served, within=30)
    assert buyer.owns() == [ambassador]
    assert buyer.in_cart() == []


def test_a_database_that_is_away_is_unavailable_until_it_is_back(market: Shop) -> None:
    [ambassador, other] = market.agency.hire(100, 200)
    buyer = market.buyer()
    buyer.add(ambassador)
    acts: list[Callable[[], httpx2.Response]] = [
        lambda: buyer.send("GET", "/cart"),
        lambda: buyer.put(other),
        lambda: buyer.drop(ambassador),
        buyer.check_out,
        lambda: buyer.send("GET", "/purchases"),
    ]
    with without_its_database(market.server):
        assert eventually(lambda: market.http.get("/ready").status_code == 503)
        ready = market.http.get("/ready")
        assert ready.json() == {"message": "not ready", "code": "unavailable"}
        assert int(ready.headers["Retry-After"]) >= 1
        assert good(market.http.get("/health"))["message"] == "ok"
        for act in acts:
            answer = act()
            refusal(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
    assert eventually(lambda: market.http.get("/ready").status_code == 200, within=15)
    assert buyer.in_cart() == [ambassador]
    assert good(buyer.check_out(), 201)["amount"] == 100
