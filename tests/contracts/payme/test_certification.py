"""Payme's sandbox, step by step: both scenarios that a cashbox must pass before it goes live (section 11)."""

from __future__ import annotations

from typing import Any

from .booking import Booking
from .paycom import METHODS, UNKNOWN_ORDER, Cashbox, Purchase, a_tx, basic, fiscal, refused, result
from .texts import AMOUNT, BUSY, CLOSED, DENIED, NO_ORDER, PAID


def twice(payme: Cashbox, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The sandbox sends Create, Perform and Cancel twice and requires equal answers."""
    first, second = result(payme.ask(method, params)), result(payme.ask(method, params))
    assert first == second
    return first


def check_perform_and_create(payme: Cashbox, purchase: Purchase) -> dict[str, Any]:
    params = {"id": a_tx(), "time": payme.now(), "amount": purchase.amount, "account": purchase.account}
    question = {"amount": purchase.amount, "account": purchase.account}
    assert result(payme.ask("CheckPerformTransaction", question)) == {"allow": True}
    created = twice(payme, "CreateTransaction", params)
    assert created["state"] == 1
    seen = result(payme.ask("CheckTransaction", {"id": params["id"]}))
    assert seen == {**created, "perform_time": 0, "cancel_time": 0, "reason": None}
    refused(payme.ask("CreateTransaction", {**params, "id": a_tx()}), BUSY)
    return {**params, **created, "tx": params["id"]}


def test_scenario_1_create_and_cancel_an_unconfirmed_transaction(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    everything = {
        "id": a_tx(),
        "time": payme.now(),
        "amount": purchase.amount,
        "account": purchase.account,
        "reason": 3,
        "from": 0,
        "to": 1,
    }
    for method in METHODS:
        params = fiscal(a_tx())[1] if method == "SetFiscalData" else everything
        for wrong in ("", "Basic", basic("Paycom", "wrong")):
            refused(payme.send({"id": 1, "method": method, "params": params}, Authorization=wrong), DENIED)
    for method in METHODS[:2]:
        refused(payme.ask(method, {**everything, "amount": 1}), AMOUNT)
        for account in ({"order_id": UNKNOWN_ORDER}, {"order_id": ""}, {"order_id": " "}, {}, {"order_id": "nobody"}):
            refused(payme.ask(method, {**everything, "account": account}), NO_ORDER)
    live = check_perform_and_create(payme, purchase)
    cancelled = twice(payme, "CancelTransaction", {"id": live["tx"], "reason": 3})
    assert cancelled["state"] == -1
    assert result(payme.ask("CheckTransaction", {"id": live["tx"]})) == {
        "create_time": live["create_time"],
        "perform_time": 0,
        "reason": 3,
        **cancelled,
    }


def test_scenario_2_create_perform_and_cancel_a_confirmed_transaction(booking: Booking, payme: Cashbox) -> None:
    live = check_perform_and_create(payme, booking.buy())
    performed = twice(payme, "PerformTransaction", {"id": live["tx"]})
    assert performed["state"] == 2
    seen = {"create_time": live["create_time"], "cancel_time": 0, "reason": None, **performed}
    assert result(payme.ask("CheckTransaction", {"id": live["tx"]})) == seen
    cancelled = twice(payme, "CancelTransaction", {"id": live["tx"], "reason": 5})
    assert cancelled["state"] == -2
    assert result(payme.ask("CheckTransaction", {"id": live["tx"]})) == {**seen, **cancelled, "reason": 5}


def test_the_statuses_of_an_account(booking: Booking, payme: Cashbox) -> None:
    """Awaiting payment, being processed, blocked, does not exist."""
    waiting, busy, paid, cancelled = (booking.buy() for _ in range(4))
    payme.created(busy)
    payme.paid(paid)
    payme.refunded(cancelled)
    for purchase, code in ((busy, BUSY), (paid, PAID), (cancelled, CLOSED)):
        assert -31099 <= code <= -31050
        refused(payme.check_perform(purchase), code)
        refused(payme.create(purchase, a_tx()), code)
    payme.allowed(waiting)
    payme.created(waiting)
