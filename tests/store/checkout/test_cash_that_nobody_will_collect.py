"""Cash on delivery among neighbours: an order that is cancelled before it is on its way leaves nothing to collect."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.factories import RemoteShelf, ScriptedNeighbour, Shop, open_shop, world

from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules


async def shop_with(shop: Shop, kind: str, script: dict[str, list[str]]) -> Shop:
    stranger = ScriptedNeighbour(script)
    if kind == "products":
        rules, near, source = Rules(product_service=True), Neighbours(None, None, stranger), RemoteShelf({"mouse": 9})  # type: ignore[arg-type]
    else:
        rules, near, source = Rules(inventory_service=True), Neighbours(stranger, None, None), OwnSource(counted=False)  # type: ignore[arg-type,assignment]
    opened = await open_shop(world(shop.db, rules=rules, neighbours=near, source=source), mouse=9)
    return replace(opened)


@pytest.mark.parametrize(
    ("kind", "script", "cancelled_by_hand"),
    [
        ("products", {"take": ["no"]}, False),
        ("products", {"take": ["silent"]}, True),
        ("services", {"inventory": ["no"]}, False),
        ("services", {"inventory": ["silent"]}, True),
    ],
)
async def test_an_order_that_the_neighbour_refuses_or_the_buyer_cancels_closes_its_payment(
    shop: Shop, kind: str, script: dict[str, list[str]], cancelled_by_hand: bool
) -> None:
    shop = await shop_with(shop, kind, script)
    order = await shop.order("ann", {"mouse": 1}, method="cash_on_delivery")
    if cancelled_by_hand:
        assert order.status == "pending"
        order = await shop.move(order, "cancelled")
    payment = await shop.payment_of(order.payment_id)
    assert (order.status, order.payment_status, payment.status) == ("cancelled", "failed", "cancelled")
