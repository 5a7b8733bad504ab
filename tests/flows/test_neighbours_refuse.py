"""A neighbour says no, is broken, or is not there: what was done before is undone, once, and the buyer is told why.

Played with the sandbox's stand-ins, whose book says what really happened.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.checkout.journeys import (
    Json,
    Shop,
    buy,
    id_of,
    line,
    order_form,
    refusal,
    steps,
    stock_of,
    the_end,
    visitor,
)

if TYPE_CHECKING:
    from tests.conftest import StartKassa, StartSandbox
    from tests.rig import Sandbox


class Street:
    """A shop beside a sandbox, and how one guest fares there."""

    def __init__(self, shop: Shop, sandbox: Sandbox) -> None:
        self.shop, self.sandbox = shop, sandbox

    def buy(self, form: Json | None = None) -> tuple[Any, Json]:
        with visitor(self.shop) as guest:
            answer = buy(guest, form or order_form())
            return answer, the_end(guest, id_of(answer), within=40)

    def booked(self, checkout_id: str) -> dict[str, int]:
        """How many rows of each kind the book holds for a checkout; kinds without rows are left out."""
        book = self.sandbox.book()
        kinds = ("charges", "refunds", "deductions", "restocks", "orders", "cancels")
        found = {kind: [row for row in book[kind] if row["key"].startswith(checkout_id)] for kind in kinds}
        return {kind: len(rows) for kind, rows in found.items() if rows}

    def calls(self, checkout_id: str, act: str) -> list[Json]:
        book = self.sandbox.book()
        return [call for call in book["calls"] if call["act"] == act and call["key"].startswith(checkout_id)]


@pytest.fixture(scope="module")
def _street(start_kassa: StartKassa, start_sandbox: StartSandbox) -> Street:
    sandbox = start_sandbox()
    return Street(start_kassa(**sandbox.settings("payment", "inventory", "order")), sandbox)


@pytest.fixture
def street(_street: Street) -> Iterator[Street]:
    _street.sandbox.clear()
    yield _street
    _street.sandbox.clear()


def test_when_everybody_agrees_each_act_is_booked_once(street: Street) -> None:
    answer, end = street.buy()
    assert answer.status_code == 200, answer.text
    assert street.booked(id_of(answer)) == {"charges": 1, "deductions": 1, "orders": 1}
    assert steps(end) == {"payment": "done", "inventory": "done", "order": "done"}
    (charge,) = street.sandbox.book()["charges"]
    assert charge["key"] == f"{id_of(answer)}:payment"
    assert float(charge["amount"]) == 349.7
    keys = {call["act"]: call["key"].rsplit(":", 1)[1] for call in street.sandbox.book()["calls"]}
    assert keys == {"process": "payment", "deduct": "inventory", "create": "order"}


def test_a_declined_card_is_a_refusal_and_nothing_is_booked(street: Street) -> None:
    street.sandbox.script("payment", "process", "decline")
    answer, end = street.buy()
    refusal(answer, "Payment processing failed")
    assert (end["status"], street.booked(id_of(answer))) == ("failed", {})


def test_the_sandboxs_payment_service_declines_as_the_readmes_mock_does(street: Street) -> None:
    answer, _ = street.buy(order_form(line("prod_001", 11)))
    detail = refusal(answer, "Payment processing failed", "insufficient_funds")
    assert detail["message"] == "Insufficient funds in account"
    assert street.booked(id_of(answer)) == {}


def test_an_empty_warehouse_means_the_money_goes_back(street: Street) -> None:
    street.sandbox.script("inventory", "deduct", "decline")
    answer, end = street.buy()
    refusal(answer, "Inventory failed", "inventory_refused")
    assert street.booked(id_of(answer)) == {"charges": 1, "refunds": 1}
    assert (end["status"], steps(end)) == ("failed", {"payment": "undone", "inventory": "refused"})


def test_a_refused_order_means_stock_and_money_go_back(street: Street) -> None:
    street.sandbox.script("order", "create", "decline")
    answer, end = street.buy()
    refusal(answer, "Order failed", "order_refused")
    assert street.booked(id_of(answer)) == {"charges": 1, "refunds": 1, "deductions": 1, "restocks": 1}
    assert end["status"] == "failed"
    assert steps(end) == {"payment": "undone", "inventory": "undone", "order": "refused"}


@pytest.mark.parametrize(("service", "act"), [("inventory", "deduct"), ("order", "create")])
@pytest.mark.parametrize("behaviour", ["book_then_500", "book_then_cut"])
def test_an_act_that_was_done_in_silence_is_not_done_twice(street: Street, service: str, act: str, behaviour: str) -> None:
    street.sandbox.script(service, act, behaviour)
    answer, end = street.buy()
    assert end["status"] in {"completed", "parked"}, answer.text
    booked = street.booked(id_of(answer))
    assert (booked["charges"], booked["deductions"]) == (1, 1)
    keys = {call["key"] for call in street.calls(id_of(answer), act)}
    assert keys == {f"{id_of(answer)}:{service}"}


def test_a_service_without_a_refund_route_means_a_person_must_look(street: Street) -> None:
    street.sandbox.script("inventory", "deduct", "decline")
    street.sandbox.script("payment", "refund", "no_route")
    answer, end = street.buy()
    refusal(answer, "Inventory failed", "inventory_refused")
    assert (end["status"], steps(end)["payment"]) == ("parked", "stuck")
    assert street.booked(id_of(answer)) == {"charges": 1}


def test_a_warehouse_that_cannot_take_back_does_not_keep_the_money(street: Street) -> None:
    street.sandbox.script("order", "create", "decline")
    street.sandbox.script("inventory", "restock", "no_route")
    answer, end = street.buy()
    refusal(answer, "Order failed", "order_refused")
    assert (end["status"], steps(end)["inventory"]) == ("parked", "stuck")
    assert street.booked(id_of(answer)) == {"charges": 1, "deductions": 1, "refunds": 1}


def nobody_listens_at() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_payment_service_that_is_not_there_charges_nobody_and_holds_no_stock(start_kassa: StartKassa) -> None:
    shop = start_kassa(PAYMENT_SERVICE_URL=nobody_listens_at())
    with visitor(shop) as guest:
        for _ in range(8):  # also after the breaker has opened
            answer = buy(guest, order_form(line("prod_few", 5)))
            refusal(answer, "Payment processing failed", "payment_unavailable")
            end = the_end(guest, id_of(answer), within=2)
            assert (end["status"], steps(end)["stock"]) == ("failed", "undone")
            assert answer.elapsed.total_seconds() < 3
    assert stock_of(shop, "prod_few") == 5
