"""The sandbox's product service is a neighbour like any other: the same journeys work beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.rig import Sandbox, Server

from .journeys import (
    SignIn,
    add,
    buy,
    buy_paid,
    eventually,
    look,
    moved,
    people,
    refusal,
    stock,
    wait_for,
)


@pytest.fixture(scope="module")
def stand_in(start_sandbox: Callable[[], Sandbox]) -> Sandbox:
    return start_sandbox()


@pytest.fixture(scope="module")
def beside(start_kassa: Callable[..., Server], stand_in: Sandbox) -> Server:
    return start_kassa(PRODUCT_SERVICE_URL=f"{stand_in.url}/sandbox/product")


@pytest.fixture
def sign_in(beside: Server, stand_in: Sandbox) -> Iterator[SignIn]:
    stand_in.clear()
    with people(beside) as sign_in:
        yield sign_in


def test_the_stand_in_sells_the_demo_products(sign_in: SignIn) -> None:
    buyer = sign_in()
    assert add(buyer, "prod_001", 2)["productName"] == "Wireless Mouse"
    assert str(look(buyer)["totalAmount"]) == "199.8"


def test_what_is_paid_leaves_its_stock_and_comes_back_once(sign_in: SignIn) -> None:
    buyer = sign_in()
    before = stock(buyer, "prod_001")
    order = buy_paid(buyer, "prod_001", 3)["id"]
    assert eventually(lambda: stock(buyer, "prod_001") == before - 3)
    moved(buyer, order, "cancelled")
    wait_for(buyer, order, "cancelled", "refunded")
    assert eventually(lambda: stock(buyer, "prod_001") == before)


def test_a_stand_in_that_declines_undoes_the_purchase(sign_in: SignIn, stand_in: Sandbox) -> None:
    buyer = sign_in()
    before = stock(buyer, "prod_001")
    stand_in.script("product", "stock", "decline")
    order = buy(buyer, "prod_001", 3)["id"]
    wait_for(buyer, order, "cancelled", "refunded")
    stand_in.clear()
    assert eventually(lambda: stock(buyer, "prod_001") == before)


def test_a_stand_in_that_is_down_sells_nothing(sign_in: SignIn, stand_in: Sandbox) -> None:
    buyer = sign_in()
    stand_in.script("product", "get", "down")
    answer = buyer.post("/api/cart/items", json={"productId": "prod_001"})
    refusal(answer, 503, "product_service_unavailable")
    stand_in.clear()
    assert look(buyer)["version"] == 0
