"""Prices and validity come from the ambassadors service, in one call per request; a bad answer is no answer (section 3)."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import httpx2
import pytest
from tests.rig import Server

from .ambassadors import METHOD, Behaviour, answer, fails, message, says, sleeps
from .journeys import DEMO_PRICES, Shop, eventually, good, refusal, unavailable

NO_ANSWER: dict[str, Behaviour] = {
    "in neither list": says(lambda ids: answer([])),
    "in both lists": says(lambda ids: answer([(one, 1000) for one in ids], ids)),
    "another id": says(lambda ids: answer([(one + 1, 1000) for one in ids])),
    "another id is invalid": says(lambda ids: answer([], [one + 1 for one in ids])),
    "price 0": says(lambda ids: answer([(one, 0) for one in ids])),
    "price -1": says(lambda ids: answer([(one, -1) for one in ids])),
    "price over 10^13": says(lambda ids: answer([(one, 10**13 + 1) for one in ids])),
    "the greatest price": says(lambda ids: answer([(one, 2**63 - 1) for one in ids])),
    "two prices": says(lambda ids: answer([pair for one in ids for pair in ((one, 1000), (one, 2000))])),
    "no message": says(lambda ids: b"\xff\xff\xff\xff"),
    "UNAVAILABLE": fails(grpc.StatusCode.UNAVAILABLE),
    "NOT_FOUND": fails(grpc.StatusCode.NOT_FOUND),
    "INTERNAL": fails(grpc.StatusCode.INTERNAL),
    "too late": sleeps(0.8),
}


def trusted_again(market: Shop) -> None:
    """An honest answer, so that no test leaves failures in a row behind."""
    market.buyer().add(*market.agency.hire(100))


@pytest.mark.parametrize("behaviour", NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_a_bad_answer_is_a_failed_call_and_nothing_is_written(market: Shop, behaviour: Behaviour) -> None:
    ambassador, wanted = market.agency.hire(100, 200)
    buyer = market.buyer()
    buyer.add(ambassador)
    payments = "SELECT count(*) AS n FROM purchases.payments"
    before = market.server.sql(payments)
    try:
        acts: list[Callable[[], httpx2.Response]] = [lambda: buyer.put(wanted), buyer.check_out]
        for act in acts:
            market.agency.will(behaviour)
            began = time.monotonic()
            with market.agency.watched() as calls:
                unavailable(act())
            assert time.monotonic() - began < 1
            assert len(calls) == 1  # asked once, not again
    finally:
        market.agency.will()
        trusted_again(market)
    assert buyer.in_cart() == [ambassador]
    assert market.server.sql(payments) == before
    assert good(buyer.check_out(), 201)["amount"] == 100


def test_a_failed_call_removes_nobody(market: Shop) -> None:
    buyer = market.buyer()
    [ambassador] = market.agency.hire(100)
    buyer.add(ambassador)
    for behaviour in (NO_ANSWER["in neither list"], NO_ANSWER["in both lists"]):
        market.agency.will(behaviour)
        unavailable(buyer.check_out())
    trusted_again(market)
    assert (buyer.in_cart(), buyer.cart()["invalid_ids"]) == ([ambassador], [])


def test_the_limits_of_a_price_are_prices(market: Shop) -> None:
    cheap, dear = market.agency.hire(1, 10**13)
    buyer = market.buyer()
    assert [item["price"] for item in buyer.add(cheap, dear)] == [1, 10**13]


def test_one_call_per_request_with_all_distinct_ids(market: Shop) -> None:
    hired = market.agency.hire(*range(100, 110))
    buyer = market.buyer()
    with market.agency.watched() as calls:
        for one in hired:
            buyer.add(one)
    assert len(calls) == len(hired)
    assert all(one in call.ids for one, call in zip(hired, calls, strict=True))
    with market.agency.watched() as calls:
        good(buyer.check_out(), 201)
    assert [sorted(call.ids) for call in calls] == [sorted(hired)]
    with market.agency.watched() as calls:
        buyer.cart()
    assert len(calls) <= 1


def test_all_calls_come_over_one_channel_and_end_after_300_ms(market: Shop) -> None:
    hired = market.agency.hire(*range(100, 106))
    with market.agency.watched() as calls:
        for one in hired:
            market.buyer().buy(one)
    assert len({call.peer for call in calls}) == 1
    assert all(0 < call.patience_s <= 0.31 for call in calls)


def test_no_call_is_made_inside_a_transaction(market: Shop) -> None:
    [ambassador, other] = market.agency.hire(100, 100)
    buyer = market.buyer()
    buyer.add(ambassador)
    open_then: list[int] = []

    def look(ids: list[int], context: grpc.ServicerContext) -> bytes:
        """Who of this database stands in a transaction while we think?"""
        idle = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        open_then.append(market.server.sql(idle)[0]["n"])
        return answer([(one, 100) for one in ids])

    market.agency.will(look, look)
    good(buyer.put(other), 201)
    good(buyer.check_out(), 201)
    assert open_then == [0, 0]


def test_a_price_is_at_most_five_seconds_old_in_the_cart_and_never_old_elsewhere(market: Shop) -> None:
    ambassador, leaver, stayer = market.agency.hire(100, 30, 7)
    buyer, other = market.buyer(), market.buyer()
    buyer.add(ambassador, stayer)
    other.add(leaver, stayer)
    assert (buyer.cart()["total"], other.cart()["total"]) == (107, 37)
    market.agency.prices[ambassador] = 250
    market.agency.fire(leaver)
    with market.agency.misbehaving(fails()):
        assert buyer.cart()["total"] == 107  # up to 5 s old, also while the service is down
    assert good(buyer.put(ambassador))["price"] == 250
    assert good(buyer.check_out(), 201)["amount"] == 257
    refusal(other.check_out(), 409, "ambassadors_invalid", "invalid_ids")
    time.sleep(5.1)
    with market.agency.misbehaving(fails()):
        unavailable(buyer.send("GET", "/cart"))
    assert buyer.cart()["total"] == 257
    cart = other.cart()
    assert ([item["ambassador_id"] for item in cart["items"]], cart["total"], cart["invalid_ids"]) == ([stayer], 7, [leaver])
    assert other.send("DELETE", "/cart/items", json={"ambassador_id": leaver}).status_code == 204
    assert other.cart()["invalid_ids"] == []
    assert good(other.check_out(), 201)["amount"] == 7


def test_invalid_ids_ascend_and_stay_until_deleted(market: Shop) -> None:
    hired = market.agency.hire(1, 2, 3, 4)
    buyer = market.buyer()
    buyer.add(*reversed(hired))
    market.agency.fire(hired[3], hired[1])
    for _ in range(2):
        body = refusal(buyer.check_out(), 409, "ambassadors_invalid", "invalid_ids")
        assert body["invalid_ids"] == [hired[1], hired[3]]
    assert eventually(lambda: buyer.cart()["invalid_ids"] == [hired[1], hired[3]], within=7)
    assert buyer.in_cart() == [hired[2], hired[0]]
    refusal(buyer.put(hired[1]), 404, "ambassador_not_found")
    for gone in (hired[1], hired[3]):
        assert buyer.drop(gone).status_code == 204
    assert good(buyer.check_out(), 201)["amount"] == 4


def test_an_empty_cart_asks_nobody(market: Shop) -> None:
    with market.agency.watched() as calls:
        buyer = market.buyer()
        buyer.cart()
        refusal(buyer.check_out(), 400, "cart_empty")
    assert calls == []


def test_the_sweep_finds_who_left_and_the_first_one_comes_with_the_start(market: Shop) -> None:
    """The next ones come every five minutes of the process, which no test waits for."""
    leaves, held_one, stays = market.agency.hire(100, 50, 20)
    buyer, holder, owner, other = (market.buyer() for _ in range(4))
    market.payme.pay(owner.buy(leaves))
    held = holder.buy(held_one)
    transaction = market.payme.create(held)
    unpaid = buyer.buy(leaves, stays)
    other.add(leaves)
    market.agency.fire(leaves, held_one)
    market.server.kill()
    market.server.start()

    def swept() -> bool:
        cart = buyer.cart()
        return (buyer.in_cart(), cart["invalid_ids"]) == ([stays], []) and other.cart()["invalid_ids"] == []

    assert eventually(swept, within=10)
    assert eventually(lambda: market.is_over(unpaid), within=1)
    refusal(other.check_out(), 400, "cart_empty")
    assert market.status(held) == "pending"
    market.payme.perform(transaction)
    assert (owner.owns(), holder.owns()) == ([leaves], [held_one])
    assert good(buyer.check_out(), 201)["amount"] == 20


def test_in_development_the_sandbox_speaks_the_same_proto(server: Server) -> None:
    with grpc.insecure_channel(server.grpc, (("grpc.enable_http_proxy", 0),)) as channel:
        ask: Callable[..., bytes] = channel.unary_unary(METHOD)
        request = message("ValidateRequest")(ambassador_ids=[1, 2, 3, 4, 5, 6, 99])
        said = message("ValidateResponse").FromString(ask(request.SerializeToString(), timeout=10))
    assert {one.ambassador_id: one.price for one in said.valid_ambassadors} == DEMO_PRICES
    assert sorted(said.invalid_ids) == [6, 99]
